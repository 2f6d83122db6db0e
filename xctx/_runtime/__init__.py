"""Under all rooms: what they need of the platform and of CPython, which unit runs, how units wait, how functions run.

From the ground up; each file uses only those before it:

platform.h                the compiler, the processor, the operating system: atomics, thread-local storage, small locks
cpython.h                 CPython's internals behind names that hold for all versions
python.pxd                Cython's declarations of both, and of CPython's own C API
copies.h .c .pyi          which interpreter of the process has which copy of the compiled rooms
crossing.h .c             how objects of xctx's types cross to another interpreter; part of the module `copies`
copying.py                how an interpreter loads its copy
state.h .c                the state under all rooms: each thread's "now", serial numbers, and what is done at a fork
runtime.pyx .pxd .pyi     the module that holds this state, and what the compiled rooms use of it
interpreter.py            makes a further interpreter load copies, or says why it cannot use xctx
scheduling.pyx .pxd .pyi  the greenlet, task, event loop and hub that are running, as their libraries know them
units.pyx .pxd .pyi       units: the records of what runs, and the registry that finds them
parking.pyx .pxd .pyi .h  where threads, greenlets and tasks wait, and are woken
importable.py             objects that are found again by their module and qualified name
calls.h .pxd              functions and methods that are called by vectorcall
awaiting.py               awaiting what only the interpreter knows how to await
functions.pyx .pxd .pyi   what kind of function a callable is, and how its steps run inside a step context
wrappers.py               the functions that decorators return, one for each kind
"""
