"""Callables together with what they run with."""
cimport cython
from cpython.object cimport PyObject

from xctx._carry.application cimport Captured
from xctx._runtime.python cimport vectorcallfunc


@cython.final
cdef class Carried:
    # None of these changes once it is made.
    cdef vectorcallfunc vectorcall
    cdef readonly Captured snapshot
    cdef readonly object __wrapped__
    cdef object __weakref__


cdef object call_in(Captured snapshot, PyObject *func, PyObject **args, Py_ssize_t n, PyObject *kwnames)
