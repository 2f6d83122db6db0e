"""The proxies: LocalWrapper and LocalProxy.

From the ground up; each file uses only those before it:

body.h .c       the layout of every proxy: its target, its attributes, its calls, its death
slots.h .c      the table: every operation that a proxy hands on, one line each
nogil.h .c      what a LocalWrapper gives out without the GIL, so that its target's reference count stays still
class.h .c      the types of proxies, and the class that a LocalWrapper gets for its target's type
proxy.pyx .pyi  LocalWrapper, LocalProxy and the kinds of sources
"""
