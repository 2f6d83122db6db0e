"""The proxies: LocalWrapper and LocalProxy.

From the ground up; each file uses only those before it:

body.h .c       the layout of every proxy: its target, its attributes, its calls, its deallocation
slots.h .c      the table: every operation that a proxy forwards, one line each
nogil.h .c      what a LocalWrapper gives out without the GIL, so that its target's reference count is not touched
class.h .c      the types of proxies, and the class that a LocalWrapper gets for its target's type
proxy.pyx .pyi  LocalWrapper, LocalProxy and the kinds of sources
"""
