"""Callables together with what they run with."""
cimport cython

from xctx._carry.snapshot cimport Snapshot
from xctx._runtime.python cimport vectorcallfunc


@cython.final
cdef class Carried:
    # None of these changes once it is made.
    cdef vectorcallfunc vectorcall
    cdef readonly Snapshot snapshot
    cdef readonly object __wrapped__
    cdef object __weakref__
