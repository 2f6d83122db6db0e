"""Scopes: names and values to be bound for a block, again and again."""
cimport cython
from cpython.object cimport PyObject

from xctx._runtime.python cimport vectorcallfunc
from xctx._stores.bindings cimport Binding
from xctx._stores.blocks cimport BindingVariable


@cython.final
cdef class Scope:
    cdef BindingVariable owner   # these three never change once it is made
    cdef tuple names
    cdef tuple values
    cdef list opened             # or None: blocks entered by hand and not left. Guarded by its critical section

    cdef object enter_by_hand(self)
    cdef object leave_by_hand(self)
    cdef object leave_innermost(self)
    cdef Block pick(self, list opened)


@cython.final
cdef class Block:
    cdef vectorcallfunc vectorcall   # never changes once it is made
    cdef Scope scope         # until the block is entered: a scope has the blocks that were entered by hand
    # What follows is set when the block is entered, and no more needed when it is left.
    cdef Binding made
    cdef object token        # of the context variable
    cdef PyObject *context   # the context that was current: compared only, the token keeps it alive

    cdef object enter(self)
    cdef object leave(self)


cdef Scope new_scope(BindingVariable owner, tuple names, tuple values)
cdef Block new_block(Scope scope)
