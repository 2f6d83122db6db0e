"""What the classes of other libraries are exchanged for, in programs that nobody rewrites.

From the ground up; each file uses only those before it:

importing.py         runs functions when modules are imported, as soon as they have run
exchange.py          names in modules, led to something else and back
restoring.pyx .pyi   what asgiref does in Python wherever it moves work between threads
stores.py            what stands in for the stores of other libraries
proxies.py           what stands in for werkzeug's proxies, also those that exist already
carrying.py          what starts threads and hands work to pools, made to take bindings along
parts.py             the parts of a patch: which there are, how often each was asked for
handles.py           handles by which patches are undone
environment.py       what tells interpreters that a program starts what to patch
program.py           runs a program or module as the interpreter does, patched
"""
