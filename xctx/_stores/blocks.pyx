# cython: language_level=3, freethreading_compatible=True, binding=True, embedsignature=True, embedsignature.format=python
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Bindings in a context variable: what the current unit sees of them, and how a block puts one there and takes it out.

The value of the context variable is the top of a chain of bindings, so a copied context has the same chain, and from then
on each of the two contexts has its own top.

Entering a block puts a binding of the current unit on top. Leaving it removes this binding from the chain of the context
that is current then, wherever in the chain it is. In the common case (it is the top, in the context it was put in) the
variable is reset by its token, so that nothing is left behind in the context.
"""
cimport cython
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport intptr_t

from xctx._runtime.python cimport (FREE_THREADED, PyThreadState, xctx_add, xctx_cas_ptr, xctx_forbid_instances, xctx_load_ptr,
                                   xctx_tstate, xctx_var_reset, xctx_var_set)
from xctx._runtime.runtime cimport connect, xctx_cache_entry_of, xctx_cache_set, xctx_count_contexts, xctx_next_serial
from xctx._core cimport Key, Unit
from xctx._stores.bindings cimport Binding, bind, compact, innermost_of, mark_exited, remove, transfer
from contextvars import ContextVar


cdef extern from *:
    """
    #define XCTX_OUTER_OF_ENTRY offsetof(struct __pyx_obj_4xctx_7_stores_6blocks_BoundEntry, outer)
    """
    Py_ssize_t OUTER_OF_ENTRY "XCTX_OUTER_OF_ENTRY"

cdef extern from "xctx/_stores/links.h":
    void free_in_a_loop "xctx_free_in_a_loop"(PyTypeObject *, Py_ssize_t)

connect()


# --- the variable ----------------------------------------------------------------------------------------------------

cdef class BindingVariable:
    """A context variable that holds a chain of bindings, and the key that says which unit sees which of them.

    xlocal derives from it.

    Thread-safety: all operations, from any thread.
    Lifetime: held by what is bound through it while that is bound.
    """

    def __cinit__(self, *args, **kwargs):
        self.serial = xctx_next_serial()
        self.var = ContextVar("xctx.xlocal")
        register(self)

    def __dealloc__(self):
        if self.var is not None:   # otherwise making it failed
            unregister(self)


# The variables of as many living xlocals as there is room for: asking a few is faster than looking through a context.
# Without the GIL a variable that is listed stays, because nobody could tell when other threads are done with it.
cdef enum:
    LISTED = 8
cdef PyObject *listed[LISTED]   # owned
cdef intptr_t unlisted = 0      # how many xlocals live besides


cdef void register(BindingVariable made) noexcept:
    cdef int i
    for i in range(LISTED):
        if xctx_load_ptr(<void**>&listed[i]) == NULL:
            Py_INCREF(made.var)
            if xctx_cas_ptr(<void**>&listed[i], NULL, <void*>made.var):
                made.listed_at = i
                return
            Py_DECREF(made.var)
    made.listed_at = -1
    xctx_add(&unlisted, 1)


cdef void unregister(BindingVariable dying) noexcept:
    if dying.listed_at < 0:
        xctx_add(&unlisted, -1)
    elif not FREE_THREADED:
        listed[dying.listed_at] = NULL
        Py_DECREF(dying.var)


cdef int each_chain(PyThreadState *tstate, int (*visit)(Binding top, void *arg) except -1, void *arg) except -1:
    """Visits the chains of all xlocals in the current context, which must exist. `visit` may set their variables."""
    cdef Binding top
    cdef Py_ssize_t i
    cdef void *var
    xctx_count_contexts(tstate)
    if unlisted == 0:
        for i in range(LISTED):
            var = xctx_load_ptr(<void**>&listed[i])
            if var != NULL:
                top = chain_at(<PyObject*>var)
                if top is not None:
                    visit(top, arg)
    else:
        for each in <object>tstate.context:
            top = chain_at(<PyObject*>each)
            if top is not None and (<BindingVariable>top.owner).var is each:
                visit(top, arg)
    return 0


# --- what is visible -------------------------------------------------------------------------------------------------

cdef Binding chain_of(BindingVariable variable):
    """The top of the chain in the current context, or None."""
    xctx_count_contexts(xctx_tstate())
    return chain_at(<PyObject*>variable.var)


cdef Binding chain_at(PyObject *var):
    # Of any context variable: None where its value is not a chain. Contexts have been counted.
    cdef PyObject *value = NULL
    PyContextVar_Get_(var, NULL, &value)
    if value == NULL:
        return None
    if Py_IS_TYPE_(value, <PyTypeObject*>Binding):
        return take_binding(value)
    Py_DECREF(<object>value)
    return None


cdef Binding find_binding(BindingVariable variable, PyThreadState *tstate):
    # What the current unit sees, found without the cache. Which unit that is, is noted in the cache of this thread.
    cdef uint64_t ver
    cdef Key key = variable.key
    cdef Binding top
    cdef Unit unit = None
    if tstate.context == NULL:
        return None
    top = chain_of(variable)
    ver = tstate.context_ver
    if not key.inherits:
        if top is None and not key.cached:
            return None
        unit = key.find(False)   # may call a key's callable
        top = None if top is None or unit is None else innermost_of(top, unit)
    if key.cached and tstate.context_ver == ver:
        # Borrowed: it is the current unit until the version changes, or until it ends and the cache is emptied.
        xctx_cache_set(xctx_cache_entry_of(variable.serial), variable.serial, tstate,
                       NULL if unit is None and not key.inherits else <void*>unit)
    return top


cdef Binding visible_here(Binding top, PyThreadState *tstate):
    """The innermost binding of a chain that the current unit sees, or None."""
    cdef BindingVariable variable = <BindingVariable>top.owner
    cdef xctx_cache_entry *entry = xctx_cache_entry_of(variable.serial)
    cdef Unit unit
    if xctx_cache_hit(entry, variable.serial, tstate, <PyObject*>variable):
        if <void*>top.unit == entry.what:
            return top
    if variable.key.inherits:
        return innermost_of(top, None)
    unit = variable.key.find(False)
    return None if unit is None else innermost_of(top, unit)


# --- entering and leaving a block ------------------------------------------------------------------------------------

cdef Binding next_binding(BindingVariable variable, tuple names, tuple values, bint barrier):
    """A binding of the current unit on top of the chain of the current context, which nobody sees yet.

    Behind a barrier, nothing that the unit bound outside is seen.
    """
    cdef PyThreadState *tstate = xctx_tstate()
    cdef xctx_cache_entry *entry = xctx_cache_entry_of(variable.serial)
    cdef Unit unit
    cdef Binding top
    if xctx_cache_hit(entry, variable.serial, tstate, <PyObject*>variable) and entry.what != NULL:
        unit = <Unit>entry.what   # borrowed: it runs, and when it ends the cache is emptied
        top = chain_at(<PyObject*>variable.var)
    else:
        unit = None if variable.key.inherits else variable.key.find(True)
        top = chain_of(variable)
    if top is not None and top.depth >= top.compact_at:
        top = compact(top)
    return bind(variable, unit, names, values, top, None, barrier)


cdef object make_visible(Binding made):
    """Makes the binding the top of the current context's chain; gives the context variable's token."""
    cdef BindingVariable variable = <BindingVariable>made.owner
    cdef PyThreadState *tstate = xctx_tstate()
    cdef xctx_cache_entry *entry = xctx_cache_entry_of(variable.serial)
    token = xctx_var_set(variable.var, made)
    if not xctx_cache_hit(entry, variable.serial, tstate, <PyObject*>variable) or entry.what != <void*>made.unit:
        xctx_count_contexts(tstate)   # setting the variable may have made a context
        if variable.key.cached:
            xctx_cache_set(entry, variable.serial, tstate, <void*>made.unit)
    return token


cdef int end_binding(Binding made, object token, PyObject *context) except -1:
    """Takes out of the current context's chain what a block bound there, or in another context of which this is a copy.

    Args:
        token, context: what `make_visible` returned, and the context that was current then.
    """
    cdef BindingVariable variable = <BindingVariable>made.owner
    cdef Binding top = chain_of(variable)
    cdef Binding rest
    mark_exited(made)
    if top is made and context == xctx_tstate().context:
        xctx_var_reset(variable.var, token)
    elif top is not None:
        rest = remove(top, made)
        if rest is not top:
            xctx_var_set(variable.var, rest)
    return 0


@cython.final
@cython.freelist(64)
cdef class BoundEntry:
    """One binding that a block made on entry, until it is left. A block of a snapshot makes one for each xlocal.

    Thread-safety: may be read from any thread.
    Lifetime: held by its block. The entries of one block are a chain, since there may be any number of xlocals; it is freed
        in a loop (links.h).
    """


free_in_a_loop(<PyTypeObject*>BoundEntry, OUTER_OF_ENTRY)
xctx_forbid_instances(<PyTypeObject*>BoundEntry)


cdef BoundEntry bind_snapshot(Binding flat, bint barrier, BoundEntry outer):
    """Binds for the current unit what a flattened binding says."""
    cdef BoundEntry entry = BoundEntry.__new__(BoundEntry)
    entry.made = next_binding(<BindingVariable>flat.owner, flat.names, flat.values, barrier)
    if not entry.made.extends_outer:
        entry.made.merged = flat.merged
    entry.outer = outer
    entry.token = make_visible(entry.made)
    entry.context = xctx_tstate().context
    return entry


cdef int unbind_entry(BoundEntry entry) except -1:
    return end_binding(entry.made, entry.token, entry.context)


cdef int transfer_to_unit(Binding top, Unit before, Unit now) except -1:
    """Gives to the unit `now` what the unit `before` bound, in the current context, of which `top` is a chain's top."""
    cdef Binding made = transfer(top, before, now)
    if made is not top:
        xctx_var_set((<BindingVariable>top.owner).var, made)
    return 0
