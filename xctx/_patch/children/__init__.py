"""The folder that is on the path of interpreters that a patched program starts. Nothing imports it as a package.

sitecustomize.py  patches what the environment says, after the ``sitecustomize`` that it hides has run
"""
