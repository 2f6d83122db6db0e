"""Snapshots."""
cimport cython

from xctx._carry.application cimport Captured


@cython.final
cdef class Snapshot(Captured):
    cdef int take_variables(self, contextvars) except -1
