"""The folder that interpreters have on their path which a patched program starts. It is no package for anybody else.

sitecustomize.py  patches what the environment says, after the ``sitecustomize`` that it hides has run
"""
