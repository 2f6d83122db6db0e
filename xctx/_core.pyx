# cython: language_level=3, freethreading_compatible=True, binding=True
# cython: embedsignature=True, embedsignature.format=python
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""placeholder"""
