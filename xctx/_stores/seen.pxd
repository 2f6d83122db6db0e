"""What is seen of bindings, and from where something is bound.

A module that uses `binding_here` connects to the runtime's state first: `connect` of xctx._runtime.runtime.
"""
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF

from xctx._runtime.python cimport FREE_THREADED, Py_IS_TYPE_, PyContextVar_Get_, PyThreadState, xctx_load_count
from xctx._runtime.runtime cimport xctx_cache_entry, xctx_cache_entry_of, xctx_cache_hit
from xctx._stores.bindings cimport Binding
from xctx._stores.chains cimport BindingVariable, take_binding


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
cdef int find_home(Binding made, Place *place, Binding top, PyThreadState *tstate) except -1
cdef Binding find_binding(BindingVariable variable, PyThreadState *tstate)
cdef Binding visible_here(Binding top, PyThreadState *tstate)
cdef Binding seen_of(Binding top, PyThreadState *tstate)
cdef bint is_hidden(Binding link, PyThreadState *tstate) except -1
cdef bint is_callers(Binding link) noexcept


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
            if not FREE_THREADED or xctx_load_count(&(<Binding>value).checked) == xctx_load_count(&variable.strays):
                if <PyObject*>(<Binding>value).home == <PyObject*>None:
                    return take_binding(value)
                return seen_of(take_binding(value), tstate)
        Py_DECREF(<object>value)
    return find_binding(variable, tstate)
