"""Bindings in a context variable: what the current unit sees of them, and how a block puts one there and takes it out.

A module that uses `binding_here` connects to the runtime's state first: `connect` of xctx._runtime.runtime.
"""
cimport cython
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF
from libc.stdint cimport intptr_t, uint64_t

from xctx._runtime.python cimport FREE_THREADED, Py_IS_TYPE_, PyContextVar_Get_, PyThreadState
from xctx._runtime.runtime cimport xctx_cache_entry, xctx_cache_entry_of, xctx_cache_hit
from xctx._core cimport Key, Unit
from xctx._stores.bindings cimport Binding


cdef extern from *:
    Binding take_binding "xctx_taken"(PyObject *)   # takes the reference over


cdef enum:
    NOTED = 16          # a power of two
    REMEMBERED = 1000   # of names made at run time there may be any number


cdef class BindingVariable:
    # None of these changes after __cinit__, but for those that say so.
    cdef uint64_t serial
    cdef Key key
    cdef object var         # the context variable
    cdef dict factories     # name -> what makes a value for a block that lacks it; or None
    cdef int listed_at      # its place in `listed`, or -1
    # Counted up atomically, and only without the GIL: how many blocks were left in another context than they were entered in.
    cdef intptr_t strays
    # Names that were bound, to tell why one is not seen: a set, guarded by the critical section, and of some the addresses.
    cdef set noted_names
    cdef PyObject *noted[NOTED]
    cdef tuple told   # what the last such error said: see unseen.pyx. Guarded likewise
    cdef object __weakref__


@cython.final
cdef class BoundEntry:
    # None of these changes once the block is entered.
    cdef Binding made
    cdef object context      # the one in which it was entered
    cdef BoundEntry outer    # the previous entry of the same block


cdef extern from "xctx/_stores/generators.h":
    ctypedef enum xctx_entering:
        BY_STATEMENT "XCTX_BY_STATEMENT", BY_HAND "XCTX_BY_HAND", BY_STEP "XCTX_BY_STEP"
    ctypedef struct Place "xctx_place":
        void *frame
        void *outermost
        PyObject *generator
        void *code
        bint by_hand


cdef bint find_place(Place *place, xctx_entering how) noexcept
cdef void note_key(Key key) noexcept
cdef bint some_go_by_units() noexcept
cdef Binding chain_of(BindingVariable variable)
cdef int do_in(object context, object errand) except -1
cdef bint settle_here() except -1
cdef Binding find_binding(BindingVariable variable, PyThreadState *tstate)
cdef Binding visible_here(Binding top, PyThreadState *tstate)
cdef Binding seen_of(Binding top, PyThreadState *tstate)
cdef bint is_hidden(Binding link, PyThreadState *tstate) except -1
cdef bint is_callers(Binding link) noexcept
cdef int each_chain(PyThreadState *tstate, int (*visit)(Binding top, void *arg) except -1, void *arg) except -1
cdef int note_name(BindingVariable variable, object name) except -1
cdef Binding new_binding(BindingVariable variable, tuple names, tuple values, bint barrier)
cdef object make_visible(Binding made, Place *place, PyObject **kept)
cdef int end_binding(Binding made, PyObject *context) except -1
cdef PyObject *visit_context(PyObject *context, bint *collects)
cdef void end_visit(PyObject *here, bint collects)
cdef BoundEntry bind_snapshot(BindingVariable variable, Binding flat, bint barrier, BoundEntry outer, Place *place,
                              PyObject **kept)
cdef int unbind_entry(BoundEntry entry) except -1
cdef set known_of(Binding top)
cdef bint is_left_open(Binding link, set known, bint among) except -1
cdef Binding take_left_open(Binding top, set known, bint among, list left)
cdef int transfer_to_unit(Binding top, Unit before, Unit now) except -1


cdef inline Binding binding_here(BindingVariable variable, PyThreadState *tstate):
    """The innermost binding that the current unit sees, or None."""
    cdef xctx_cache_entry *entry = xctx_cache_entry_of(variable.serial)
    cdef PyObject *value = NULL
    if xctx_cache_hit(entry, variable.serial, tstate, <PyObject*>variable):
        # The variable is asked each time: code that copies whole contexts sets it too.
        PyContextVar_Get_(<PyObject*>variable.var, NULL, &value)
        if value == NULL:
            return None
        if Py_IS_TYPE_(value, <PyTypeObject*>Binding) and <void*>(<Binding>value).unit == entry.what:
            if not FREE_THREADED or (<Binding>value).checked == variable.strays:
                if <PyObject*>(<Binding>value).home == <PyObject*>None:
                    return take_binding(value)
                return seen_of(take_binding(value), tstate)
        Py_DECREF(<object>value)
    return find_binding(variable, tstate)
