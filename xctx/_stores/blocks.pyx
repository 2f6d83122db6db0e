# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Blocks: how one puts bindings into the current context, and takes them out.

Entering a block puts a binding of the current unit on top of the chain (chains.pyx). Leaving it removes this binding from the
chain of the context that is current then, wherever in the chain it is. If that empties the chain, the variable has no value
any more, so that nothing is left behind in the context.

A block may be left in a context other than the one it was entered in, which is still in use: a worker thread that began a
generator serves the next request. With the GIL, the context in which it was entered is made current for a moment, in which no
foreign code runs, and the binding is removed from its chain as well. Without the GIL the binding is marked, and dropped when
that context is next used.
"""
cimport cython
from cpython.object cimport PyObject, PyTypeObject
from libc.stdint cimport uintptr_t

from xctx._runtime.python cimport (FREE_THREADED, Py_REFCNT_, PyErr_Clear, PyThreadState, PyTuple_GET_ITEM_,
                                   PyTuple_GET_SIZE_, xctx_add, xctx_forbid_instances, xctx_hold_collector,
                                   xctx_load_count, xctx_load_int, xctx_load_ptr, xctx_published, xctx_release_collector,
                                   xctx_store_count, xctx_store_int, xctx_store_ptr, xctx_tstate, xctx_var_is)
from xctx._runtime.runtime cimport (connect, xctx_cache_entry, xctx_cache_entry_of, xctx_cache_hit, xctx_cache_set,
                                    xctx_count_contexts, xctx_put, xctx_put_)
from xctx._core cimport Unit
from xctx._stores.bindings cimport (Binding, at_merged, bind, compact, copies_of, copy_of, group_of, is_exited, look_up,
                                    mark_exited, note_left, put_on_top, remove, transfer)
from xctx._stores.chains cimport (NOTED, REMEMBERED, BindingVariable, chain_at, chain_of, end_visit, put, settle_here,
                                  visit_context)
from xctx._stores.seen cimport Place, binding_here, find_home
from _weakref import ref
import sys

cdef extern from *:
    """
    #define XCTX_OUTER_OF_ENTRY offsetof(struct __pyx_obj_4xctx_7_stores_6blocks_BoundEntry, outer)
    """
    Py_ssize_t OUTER_OF_ENTRY "XCTX_OUTER_OF_ENTRY"

cdef extern from "xctx/_stores/links.h":
    void free_in_a_loop "xctx_free_in_a_loop"(PyTypeObject *, Py_ssize_t)

connect()


# --- names that were bound -------------------------------------------------------------------------------------------

cdef inline bint is_noted(BindingVariable variable, PyObject *name) noexcept:
    # Compared only: the set keeps the names, so no other string ever has the address of one.
    return xctx_load_ptr(<void**>&variable.noted[(<size_t>name >> 5) & (NOTED - 1)]) == name


cdef int note_name(BindingVariable variable, object name) except -1:
    with cython.critical_section(variable):
        if variable.noted_names is None:
            variable.noted_names = set()
        if len(variable.noted_names) < REMEMBERED:
            variable.noted_names.add(name)
        if name in variable.noted_names:
            xctx_store_ptr(<void**>&variable.noted[(<size_t><PyObject*>name >> 5) & (NOTED - 1)], <void*>name)
    return 0


# --- entering and leaving a block ------------------------------------------------------------------------------------

cdef Binding new_binding(BindingVariable variable, tuple names, tuple values, bint barrier):
    """A binding of the current unit, in no chain yet. Behind a barrier, nothing that the unit bound outside is seen."""
    cdef xctx_cache_entry *entry = xctx_cache_entry_of(variable.serial)
    cdef Py_ssize_t i
    cdef Unit unit
    if variable.factories is not None and (PyTuple_GET_SIZE_(<PyObject*>names) or not barrier):
        names, values = completed(variable, names, values, barrier)   # calls the program's factories
    for i in range(PyTuple_GET_SIZE_(<PyObject*>names)):
        if not is_noted(variable, PyTuple_GET_ITEM_(<PyObject*>names, i)):
            note_name(variable, <object>PyTuple_GET_ITEM_(<PyObject*>names, i))
    if xctx_cache_hit(entry, variable.serial, xctx_tstate(), <PyObject*>variable) and entry.what != NULL:
        unit = <Unit>entry.what   # borrowed: the unit is running, and when it ends the cache is emptied
    else:
        unit = None if variable.key.inherits else variable.key.find(True)   # may call a key's callable
    return bind(variable, unit, names, values, None, None, barrier)


cdef tuple completed(BindingVariable variable, tuple names, tuple values, bint barrier):
    """The names and values, and those that factories make because the block would not see the names otherwise."""
    cdef Binding top = None if barrier else binding_here(variable, xctx_tstate())
    cdef list added = []
    cdef list made = []
    for name, factory in variable.factories.items():
        if name not in names and (top is None or look_up(top, <PyObject*>name) == NULL):
            added.append(name)
            made.append(factory())
    return (names + tuple(added), values + tuple(made)) if added else (names, values)


cdef object make_visible(Binding made, Place *place, PyObject **kept):
    """Makes the new binding the top of the current context's chain; gives that context, which the block is to hold.

    Args:
        place: the generator that binds, as `find_place` found it; NULL if there is none.
        kept: if it is not NULL, it gets a reference to what the context mapped before, or NULL where that need not be put back.
    """
    # Once the chain has been read, no foreign code runs: it might change the chain.
    cdef BindingVariable variable = <BindingVariable>made.owner
    cdef PyThreadState *tstate = xctx_tstate()
    cdef xctx_cache_entry *entry = xctx_cache_entry_of(variable.serial)
    cdef bint known
    cdef Binding top
    settle_here()
    known = xctx_cache_hit(entry, variable.serial, tstate, <PyObject*>variable) and entry.what == <void*>made.unit
    top = chain_at(<PyObject*>variable.var) if known else chain_of(variable)
    if place != NULL or top is not None and top.home is not None:
        find_home(made, place, top, tstate)   # may run any code
        top = chain_of(variable)
    made.checked = xctx_load_count(&variable.strays)
    if xctx_load_int(&tracking):
        note_place(made)
    if top is not None:
        if top.depth >= top.compact_at:
            top = compact_here(variable)
            kept = NULL
        if top is not None:
            put_on_top(made, top)
            made.checked = xctx_load_count(&top.checked)
    xctx_put(tstate, <PyObject*>variable.var, <PyObject*>made, kept)
    if not xctx_cache_hit(entry, variable.serial, tstate, <PyObject*>variable) or entry.what != <void*>made.unit:
        xctx_count_contexts(tstate)   # setting the variable may have made a context
        if variable.key.cached:
            xctx_cache_set(entry, variable.serial, tstate, <void*>made.unit)
    if made.hides and made.home.context == NULL:
        made.home.context = tstate.context   # there was none before the variable was set
    return <object>tstate.context


cdef int tracking = False   # whether it is noted where blocks are entered. Of the process: any thread may set it at any time


def track(bint on):
    """Turns on or off that the places where blocks are entered are noted."""
    xctx_store_int(&tracking, on)


cdef int note_place(Binding made) except -1:
    frame = sys._getframe()   # compiled functions have none, so it is that of the with statement
    group_of(made).opened_at = frame.f_code.co_filename, frame.f_lineno
    return 0


cdef Binding compact_here(BindingVariable variable):
    cdef bint collects = xctx_hold_collector()
    cdef Binding top
    try:
        top = compact(chain_at(<PyObject*>variable.var))
        if top is not None:
            xctx_store_count(&top.checked, -1)   # no count, so without the GIL the chain is looked through when it is next used
        return top
    finally:
        xctx_release_collector(collects)


cdef int end_binding(Binding made, PyObject *context) except -1:
    """Takes what a block bound out of the current context, and out of the one in which it was entered.

    Args:
        context: what `make_visible` gave, to which the caller has one reference; NULL if it is not known.
    """
    cdef BindingVariable variable = <BindingVariable>made.owner
    cdef PyThreadState *tstate = xctx_tstate()
    cdef Binding top
    if context == tstate.context and xctx_var_is(tstate, <PyObject*>variable.var, <PyObject*>made):
        mark_exited(made)
        return take_off(variable, made)
    if FREE_THREADED and context != NULL and context != tstate.context:
        # Noted before it counts as exited, or the thread that uses that context might merge it with others meanwhile (`compact`).
        try:
            take_out_here(variable, made)
        finally:
            try:
                note_left(group_of(made), ref(<object>context))
                xctx_add(&variable.strays, 1)
            finally:
                mark_exited(made)
        return 0
    top = chain_of(variable)
    mark_exited(made)
    if context != tstate.context:
        take_out_here(variable, made)
        # Where nothing but the block has the context, nobody sees what is in it.
        if context != NULL and Py_REFCNT_(context) > 1:
            end_there(variable, made, context)
    elif top is made:
        take_off(variable, made)
    elif top is not None:
        take_out(variable, made)
    return 0


cdef int take_out_here(BindingVariable variable, Binding made) except -1:
    # From the current context, in which the block was not entered.
    if chain_of(variable) is not None:
        take_out(variable, made)
        if chain_at(<PyObject*>variable.var) is None:
            # Set to None, not unset: this may be a copy of a context in which the block is seen as well, and code that copies
            # variables back, such as asgiref, copies those that are set, but does not unset any.
            xctx_put(xctx_tstate(), <PyObject*>variable.var, <PyObject*>None, NULL)
    return 0


cdef int end_there(BindingVariable variable, Binding made, PyObject *context) except -1:
    # Only with the GIL.
    cdef Binding top = None   # held until the visit is over, because releasing values may run any code
    cdef PyObject *here
    cdef bint collects
    here = visit_context(context, &collects)
    try:
        top = chain_at(<PyObject*>variable.var)
        if top is made:
            take_off(variable, made)
        elif top is not None:
            take_out(variable, made)
    finally:
        end_visit(here, collects)
    return 0


cdef int take_off(BindingVariable variable, Binding made) except -1:
    # From the current context, whose chain has the binding on top. The caller holds it.
    cdef PyObject *outer = NULL if made.outer is None else <PyObject*>made.outer
    if xctx_put_(xctx_tstate(), <PyObject*>variable.var, outer, NULL) < 0:
        PyErr_Clear()
        return take_out(variable, made)
    return 0


cdef int take_out(BindingVariable variable, Binding made) except -1:
    # From the current context. Tried twice: if memory was short, the first try has released some.
    try:
        take_out_once(variable, made)
    except MemoryError:
        take_out_once(variable, made)
    return 0


cdef int take_out_once(BindingVariable variable, Binding made) except -1:
    cdef bint collects = xctx_hold_collector()   # finalisers might change the chain
    cdef Binding top, rest
    try:
        top = chain_at(<PyObject*>variable.var)
        if top is not None:
            rest = remove(top, made)
            if rest is not top:
                put(xctx_tstate(), <PyObject*>variable.var, rest)
    finally:
        xctx_release_collector(collects)
    return 0


@cython.final
@cython.no_gc_clear
@cython.freelist(64)
cdef class BoundEntry:
    """One binding that a block made on entry, until it is left. A block of a snapshot makes one for each xlocal.

    Thread-safety: may be read from any thread.
    Lifetime: held by its block. The entries of one block are a chain, since there may be any number of xlocals; it is freed
        in a loop (links.h).
    """


free_in_a_loop(<PyTypeObject*>BoundEntry, OUTER_OF_ENTRY)
xctx_forbid_instances(<PyTypeObject*>BoundEntry)


cdef BoundEntry bind_snapshot(BindingVariable variable, Binding flat, bint barrier, BoundEntry outer, Place *place,
                              PyObject **kept):
    """Binds for the current unit the names of a flattened binding of this xlocal; none if `flat` is None.

    Args:
        place, kept: as for `make_visible`.
    """
    cdef BoundEntry entry = BoundEntry.__new__(BoundEntry)
    if flat is None:
        entry.made = new_binding(variable, (), (), barrier)
    else:
        entry.made = new_binding(variable, flat.names, flat.values, barrier)
        if barrier and entry.made.names is flat.names:
            entry.made.merged = <dict>xctx_published(at_merged(flat))
    entry.outer = outer
    entry.context = make_visible(entry.made, place, kept)
    return entry


cdef int unbind_entry(BoundEntry entry) except -1:
    return end_binding(entry.made, NULL if entry.context is None else <PyObject*>entry.context)


cdef int transfer_to_unit(Binding top, Unit before, Unit now) except -1:
    """Gives the unit `now` what the unit `before` bound in the chain of the current context whose top is `top`."""
    cdef Binding made = transfer(top, before, now)
    if made is not top:
        put(xctx_tstate(), <PyObject*>(<BindingVariable>top.owner).var, made)
    return 0


# --- what was left open ----------------------------------------------------------------------------------------------

cdef set known_of(Binding top):
    """What `is_left_open` and `take_left_open` recognise the bindings of a chain by."""
    cdef set known = set()
    while top is not None:
        known.add(<uintptr_t><void*>top)
        if copies_of(<PyObject*>top) != <PyObject*>None:
            known.add(<uintptr_t>copies_of(<PyObject*>top))
        top = top.outer
    return known


cdef bint is_left_open(Binding link, set known, bint among) except -1:
    """Whether the block of a binding is open, and the binding is among the known ones; or is not, if `among` is False.

    An exited binding is in this chain only if the chain is a copy, made while its block was open. What a with statement of a
    generator has bound is seen only by code that the generator runs, and the generator leaves it when it is closed.
    """
    if is_exited(link) or link.hides and not link.home.by_hand:
        return False
    return among == (<uintptr_t><void*>link in known
                     or copies_of(<PyObject*>link) != <PyObject*>None and <uintptr_t>copies_of(<PyObject*>link) in known)


cdef Binding take_left_open(Binding top, set known, bint among, list left):
    """Takes what is left open out of the current context's chain.

    Args:
        top: the top of the chain, held by the caller until all is done, because releasing it may run any code.
        known, among: as for `is_left_open`.
        left: gets the bindings that were taken out, the innermost first.

    Returns:
        The new top, or None.
    """
    cdef bint collects = xctx_hold_collector()   # finalisers might change the chain
    cdef list links = []
    cdef Binding link = top
    cdef Binding made = None
    cdef bint changed = False
    try:
        while link is not None:
            (left if is_left_open(link, known, among) else links).append(link)
            link = link.outer
        if not left:
            return top
        while links:
            link = links.pop()
            changed |= link.outer is not made
            made = copy_of(link, link.unit, made) if changed else link
        put(xctx_tstate(), <PyObject*>(<BindingVariable>top.owner).var, made)
        return made
    finally:
        xctx_release_collector(collects)
