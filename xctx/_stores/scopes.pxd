"""Scopes: names and values to be bound for any number of blocks."""
cimport cython

from xctx._stores.chains cimport BindingVariable
from xctx._stores.statements cimport OpenByHand


@cython.final
cdef class Scope:
    cdef BindingVariable owner   # these three never change once it is made
    cdef tuple names
    cdef tuple values
    cdef OpenByHand opened       # or None: set once, under its critical section


cdef Scope new_scope(BindingVariable owner, tuple names, tuple values)
