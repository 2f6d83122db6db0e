"""Replaces classes of other libraries by xctx's, in programs that are not rewritten for it.

From the ground up; each file uses only those before it:

importing.py           runs functions when modules are imported, as soon as they have run
exchange.py            exchanges what names in modules refer to, and takes that back
restoring.pyx .pyi     does what asgiref does in Python wherever it moves work between threads
thread_store.pyx .pyi  the store by which asgiref finds the thread that waits for a task, read in C
stores.py              stand-ins for the stores of other libraries
proxies.py             stand-ins for werkzeug's proxies, also for those that exist already
carrying.py            makes what starts threads or hands work to pools take bindings along
parts.py               the parts of a patch: which there are, how often each was asked for
handles.py             handles by which patches are undone
environment.py         tells the interpreters that a program starts what to patch
program.py             runs a program or module as the interpreter does, patched
"""
