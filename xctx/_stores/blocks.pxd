"""How a block puts bindings into the current context, and takes them out."""
cimport cython
from cpython.object cimport PyObject

from xctx._core cimport Unit
from xctx._stores.bindings cimport Binding
from xctx._stores.chains cimport BindingVariable
from xctx._stores.seen cimport Place


@cython.final
cdef class BoundEntry:
    # Only `context` changes once the block is entered. Other threads look at these while the world is stopped.
    cdef Binding made
    cdef object context      # the one in which it was entered; None where the block is left and the entry is to serve again
    cdef BoundEntry outer    # the previous entry of the same block


cdef int note_name(BindingVariable variable, object name) except -1
cdef Binding new_binding(BindingVariable variable, tuple names, tuple values, bint barrier)
cdef object make_visible(Binding made, Place *place, PyObject **kept)
cdef int end_binding(Binding made, PyObject *context) except -1
cdef BoundEntry bind_snapshot(BindingVariable variable, Binding flat, bint barrier, BoundEntry outer, Place *place,
                              PyObject **kept)
cdef int unbind_entry(BoundEntry entry) except -1
cdef set known_of(Binding top)
cdef bint is_left_open(Binding link, set known, bint among) except -1
cdef Binding take_left_open(Binding top, set known, bint among, list left)
cdef int transfer_to_unit(Binding top, Unit before, Unit now) except -1
