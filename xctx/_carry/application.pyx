# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Applications: what one application of a snapshot has bound, until it is undone.

A context maps its variables by an immutable mapping. So in a context in which no variable is set, which is what a thread or
greenlet begins with, what a function bound by a snapshot needs is one mapping, and the next call can use the same: it is put
into the context, and the empty one is put back at the end. The bindings in it belong to one application at a time, and only
where nobody else has come to refer to them (no copied context, no chain) are they used again.
"""
cimport cython
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF

from xctx._carry.variables cimport reset_variables
from xctx._runtime.python cimport (PyThreadState, Py_REFCNT_, xctx_context_vars, xctx_forbid_instances, xctx_swap_vars,
                                   xctx_tstate)
from xctx._runtime.runtime cimport connect, xctx_fork_count
from xctx._runtime.units cimport FLOW
from xctx._stores.bindings cimport Binding, mark_exited
from xctx._stores.blocks cimport BindingVariable, BoundEntry, Place, bind_snapshot, chain_of, unbind_entry
from contextvars import Context, ContextVar


connect()


@cython.final
@cython.no_gc_clear
@cython.freelist(32)
cdef class Application:
    """One application of a snapshot, until it is undone; or one after the other.

    Thread-safety: used by the code that applies it and the code that undoes it, one after the other.
    Lifetime: held by the call or block that applied it; by the snapshot, where it waits to be applied again.
    """


xctx_forbid_instances(<PyTypeObject*>Application)


cdef Application new_application():
    return Application.__new__(Application)


cdef int bind_in(Application application, BindingVariable variable, Binding flattened, bint barrier, Place *place) except -1:
    """Binds for the current unit what a flattened binding says, or nothing where that is None: a part of the application."""
    application.entries = bind_snapshot(variable, flattened, barrier, application.entries, place)
    return 0


cdef int undo(Application application) except -1:
    """Takes out what it bound, of the current context and of the one in which it was applied."""
    cdef BoundEntry entry = application.entries
    try:
        if application.variables is not None:
            reset_variables(application.variables)
    finally:
        while entry is not None:
            unbind_entry(entry)
            entry = entry.outer
    return 0


# --- applied again ---------------------------------------------------------------------------------------------------

cdef object EMPTY_CONTEXT = Context()
cdef PyObject *EMPTY = xctx_context_vars(<PyObject*>EMPTY_CONTEXT)   # there is one only: compared


cdef bint is_empty_here(PyThreadState *tstate) noexcept:
    """Whether no variable is set in the current context, which exists."""
    return tstate.context != NULL and xctx_context_vars(tstate.context) == EMPTY


cdef bint make_repeatable(Application application, object snapshot) except -1:
    """Has an application that was just made in an empty context be one that can be applied again. False where it cannot.

    That is where the same bindings are right in any thread: under the keys `flow` and `context`.
    """
    cdef BoundEntry entry = application.entries
    cdef list found
    while entry is not None:
        if not ((<BindingVariable>entry.made.owner).key.index == FLOW or (<BindingVariable>entry.made.owner).key.inherits):
            return False
        entry = entry.outer
    if application.entries is None:
        return False
    from gc import get_referents
    applied = <object>xctx_context_vars(xctx_tstate().context)
    parts = []
    found = [applied]
    while found:
        part = found.pop()
        parts.append(part)
        if not isinstance(part, Binding):
            for each in get_referents(part):
                if not isinstance(each, ContextVar):
                    found.append(each)
    part = each = None
    entry = application.entries
    while entry is not None:
        entry.token = None   # it would keep this context alive
        entry = entry.outer
    application.context = <object>xctx_tstate().context
    application.snapshot = snapshot
    application.applied = applied
    applied = None
    application.parts = parts
    application.references = references_to(parts)
    return True


cdef Py_ssize_t references_to(list parts) noexcept:
    cdef Py_ssize_t count = 0
    for part in parts:
        count += Py_REFCNT_(<PyObject*>part)
    return count


cdef bint apply_again(Application application, object snapshot) except -1:
    """Applies it in the current context, which is empty. False where it cannot be: it is from before a fork."""
    cdef PyThreadState *tstate = xctx_tstate()
    cdef BoundEntry entry = application.entries
    cdef Binding made
    while entry is not None:
        made = entry.made
        if made.unit is not None and made.unit.forks != xctx_fork_count():
            return False
        entry.context = tstate.context
        entry = entry.outer
    application.context = <object>tstate.context
    application.snapshot = snapshot
    Py_INCREF(application.applied)
    xctx_swap_vars(tstate, <PyObject*>application.applied)
    return True


cdef bint take_off(Application application) except -1:
    """Undoes an application that can be applied again. False where it cannot be any more."""
    cdef PyThreadState *tstate = xctx_tstate()
    cdef BoundEntry entry = application.entries
    cdef bint alone
    if tstate.context != <PyObject*>application.context or not shows_just(application, tstate):
        application.applied = application.parts = None
        undo(application)
        return False
    Py_INCREF(<object>EMPTY)
    xctx_swap_vars(tstate, EMPTY)
    application.context = None
    # When they were counted, the context had one more.
    alone = references_to(application.parts) == application.references - 1
    while entry is not None:
        if entry.made.copies is not None:
            alone = False
        entry = entry.outer
    if not alone:
        entry = application.entries
        while entry is not None:
            mark_exited(entry.made)
            entry = entry.outer
    return alone


cdef bint shows_just(Application application, PyThreadState *tstate) except -1:
    """Whether nothing is set in the current context but what was applied."""
    cdef BoundEntry entry = application.entries
    cdef Py_ssize_t count = 0
    if xctx_context_vars(tstate.context) == <PyObject*>application.applied:
        return True
    # Blocks that were entered and left since have it map anew what it did.
    while entry is not None:
        if chain_of(<BindingVariable>entry.made.owner) is not entry.made:
            return False
        count += 1
        entry = entry.outer
    return len(<object>tstate.context) == count
