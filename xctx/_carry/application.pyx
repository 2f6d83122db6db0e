# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Applications: what one application of a snapshot has bound, until it is undone.

Usually a snapshot is applied many times: by each call of a function, by each task or request. What is bound can then be used
again, in two ways.

- The bindings of an application that is undone are *spare*: the next one puts them on top of whatever is bound then. They
  belong to one application at a time, and are used again only if nothing else (a copied context, a chain) refers to them by
  then.
- A context maps its variables by an immutable mapping. If a snapshot is applied repeatedly while a context has the same
  mapping, the resulting mapping is kept as well, and the next application is *one store*: the mapping is put into the
  context, and the one from before is put back at the end. A thread or greenlet begins with a context in which nothing is
  set, and there is one empty mapping, so all of these count as the same; so do copies in which nothing was set since.

At the end the context must have the very mapping that was put there: then nothing in it was changed meanwhile. Otherwise (a
context variable was set, a block is left open) what was bound is taken out variable by variable, as it is for spare ones.

Replacing a mapping as a whole has the same effect as setting, one by one, the variables in which the two differ:

- Other threads copy contexts, even current ones. A copy has the one mapping or the other, and keeps it. CPython's own way to
  set a variable is the same store, with the GIL or without.
- A greenlet that is switched to has another context, or it changes this one: both are seen at the end.
- The program may set variables, enter the same snapshot again, copy the context, leave blocks that were entered outside:
  each of these makes another mapping, or refers to this one. What is in use is not used for a second application.
- Memory: putting a mapping into the context needs none. Where there is too little to make one, the context keeps the old one.
- Finalisers run where a mapping is released, which is done last; what they find is the state afterwards. Those that 3.11 runs
  while something is bound may set a variable. So a mapping counts as the one before only if it is what was taken out of the
  context by the store that put the next one there.
- With a GIL, context variables cache the value that was last found for them. Those of the application, the only ones in which
  the two mappings differ, are updated. `context_ver` is not counted up, so the caches of all others stay valid.
- Nothing is kept alive that nobody could see, while it is applied or afterwards: see `Repeatable`.
"""
cimport cython
from cpython.object cimport PyObject, PyTypeObject
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.ref cimport Py_INCREF

from xctx._carry.variables cimport reset_variables
from xctx._core cimport Key
from xctx._runtime.python cimport (PyThreadState, Py_REFCNT_, xctx_context_vars, xctx_forbid_instances, xctx_swap_vars,
                                   xctx_taken, xctx_tstate, xctx_var_changed)
from xctx._runtime.runtime cimport connect, xctx_fork_count
from xctx._runtime.units cimport FLOW
from xctx._stores.bindings cimport Binding, copies_of, mark_exited, take_from_chain
from xctx._stores.blocks cimport BoundEntry, bind_snapshot, make_visible, unbind_entry
from xctx._stores.chains cimport BindingVariable, chain_of
from xctx._stores.seen cimport Place
from _weakref import ref
from contextvars import Context


connect()


@cython.final
@cython.no_gc_clear
@cython.freelist(32)
cdef class Application:
    """One application of a snapshot, until it is undone; or several, one after the other.

    Thread-safety: used by the code that applies it and the code that undoes it, one after the other.
    Lifetime: held by the call or block that applied it; by the snapshot, where it waits to be used again.
    """

    def __call__(self, _reference):
        """Called in any thread, when a mapping that it depends on has died: see `Repeatable`."""
        # Released at the end, when nothing has them any more: that may run any code.
        cdef object before, parts, applied   # no-cython-lint
        cdef BoundEntry entries
        with cython.critical_section(self):
            before = self.before  # no-cython-lint
            parts = self.parts  # no-cython-lint
            self.before = self.parts = None
            if not self.applies:
                applied = self.applied  # no-cython-lint
                entries = self.entries  # no-cython-lint
                self.applied = self.entries = self.main = self.own = None


xctx_forbid_instances(<PyTypeObject*>Application)


cdef Application new_application(bint notes):
    """An application in which nothing is bound yet, and which notes the mappings before and after or does not."""
    cdef Application made = Application.__new__(Application)
    made.notes = notes
    return made


cdef int bind_in(Application application, BindingVariable variable, Binding flattened, bint barrier, Place *place) except -1:
    """Binds for the current unit the names of a flattened binding, or none if that is None, as a part of the application."""
    cdef PyObject *kept = NULL
    application.entries = bind_snapshot(variable, flattened, barrier, application.entries, place,
                                        &kept if application.notes else NULL)
    if not application.notes:
        return 0
    # Nothing ran since the variable was set.
    if application.applied is None and kept != NULL:
        application.before = xctx_taken(kept)
    elif kept == NULL or xctx_taken(kept) is not application.applied:
        forget_mappings(application)
        return 0
    application.applied = <object>xctx_context_vars(xctx_tstate().context)
    return 0


cdef int forget_mappings(Application application) except -1:
    """Keeps no mapping any more."""
    application.notes = False
    application.before = application.applied = None
    return 0


cdef int undo(Application application) except -1:
    """Takes what it bound out of the current context, and out of the one in which it was applied."""
    cdef BoundEntry entry = application.entries
    try:
        if application.variables is not None:
            reset_variables(application.variables)
    finally:
        while entry is not None:
            unbind_entry(entry)
            entry = entry.outer
    return 0


# --- used again ------------------------------------------------------------------------------------------------------

cdef bint can_be_spare(Application application) noexcept:
    """Whether the bindings that were made for it are right for another application of its snapshot, in any context.

    They are if they are right in any thread (under the keys `flow` and `context`), if nothing was made for this application
    alone, and if what is seen of them does not depend on what they are on top of.
    """
    cdef BoundEntry entry = application.own
    while entry is not None:
        if not is_right_anywhere(entry.made) or not entry.made.barrier:
            return False
        entry = entry.outer
    return application.own is not None


cdef bint is_right_anywhere(Binding made) noexcept:
    cdef BindingVariable variable = <BindingVariable>made.owner
    return is_right_under(variable.key) and variable.factories is None


cdef bint is_right_under(Key key) noexcept:
    """Whether what is bound under it in a context is seen there by any thread, greenlet and task of this process."""
    return key.index == FLOW or key.inherits


cdef bint is_of_this_process(Application application) noexcept:
    """Whether what it has bound is not from before a fork."""
    cdef BoundEntry entry = application.own
    while entry is not None:
        if entry.made.unit is not None and entry.made.unit.forks != xctx_fork_count():
            return False
        entry = entry.outer
    return True


cdef int bind_again(Application application) except -1:
    """Binds what a detached application had bound."""
    cdef BoundEntry entry = application.own
    while entry is not None:
        entry.context = make_visible(entry.made, NULL, NULL)
        entry = entry.outer
    return 0


cdef bint detach(Application application) except -1:
    """Makes the bindings of an application that was undone usable again. False if something else refers to any of them."""
    cdef BoundEntry entry = application.own
    application.entries = entry
    while entry is not None:
        entry.context = None   # keep no context alive
        if Py_REFCNT_(<PyObject*>entry.made) != 1 or copies_of(<PyObject*>entry.made) != <PyObject*>None:
            return False
        entry = entry.outer
    entry = application.own
    while entry is not None:
        take_from_chain(entry.made)
        entry = entry.outer
    return True


# --- applied again as a whole ----------------------------------------------------------------------------------------

cdef object EMPTY_CONTEXT = Context()
cdef object EMPTY = <object>xctx_context_vars(<PyObject*>EMPTY_CONTEXT)   # there is one only


@cython.final
@cython.no_gc_clear
cdef class Repeatable:
    """An application that can be made again by one store, in any context that maps what the first one mapped then.

    While it waits it holds the mapping that was applied, and refers weakly to the one beneath; when that dies, this is emptied.
    While it is applied it holds the one beneath, which is to be put back, and refers weakly to the one that was applied; when
    that dies, because something was set in the context, the one beneath is released. So no value is kept alive that nobody
    could see. (If the one beneath is the empty mapping, neither has values of other code, and both are held.)

    Thread-safety: `busy` is guarded by the critical section of the snapshot, and says who may use the rest.
    Lifetime: held by the snapshot.
    """


xctx_forbid_instances(<PyTypeObject*>Repeatable)


cdef object swap(Application application, object mapping, bint binds):
    # Replaces the current context's mapping by this one, which differs only in the application's variables. Gives the one
    # that was there, so that it is released when all is done.
    cdef PyThreadState *tstate = xctx_tstate()
    cdef BoundEntry entry = application.entries
    cdef PyObject *before
    Py_INCREF(mapping)
    before = xctx_swap_vars(tstate, <PyObject*>mapping)
    while entry is not None:
        xctx_var_changed(tstate, <PyObject*>(<BindingVariable>entry.made.owner).var, <PyObject*>entry.made if binds else NULL)
        entry = entry.outer
    return xctx_taken(before)


cdef int set_all_exited(Application application) except -1:
    cdef BoundEntry entry = application.entries
    while entry is not None:
        mark_exited(entry.made)
        entry = entry.outer
    return 0


cdef Repeatable make_repeatable(Application application):
    """Makes a Repeatable, which is in use, of an application that was just made; gives None if it cannot be made again.

    It can if the same bindings are right in any thread (under the keys `flow` and `context`) and in any generator.
    """
    cdef BoundEntry entry = application.entries
    cdef Repeatable made
    if application.applied is None or application.depends:
        forget_mappings(application)
        return None
    while entry is not None:
        if not is_right_anywhere(entry.made) or entry.made.home is not None:
            forget_mappings(application)
            return None
        entry = entry.outer
    made = Repeatable.__new__(Repeatable)
    made.application = application
    made.beneath = <PyObject*>application.before
    made.busy = True
    parts = parts_of(application)
    if application.before is not EMPTY:
        made.of_beneath = ref(application.before, application)
        made.of_applied = ref(application.applied, application)
    application.parts = parts
    application.references = references_to(parts)
    application.applied_at = <PyObject*>application.applied
    application.applies = True
    if made.of_applied is not None:
        application.applied = None
    return made


cdef list parts_of(Application application):
    # The objects that only the mapping that was applied is made of, without that mapping itself.
    cdef BoundEntry entry = application.entries
    cdef set known = set()
    cdef list parts = []
    cdef list found = [application.before]
    while found:
        part = found.pop()
        known.add(<size_t><PyObject*>part)
        found.extend(nodes_in(part))
    found = nodes_in(application.applied)
    while found:
        part = found.pop()
        if <size_t><PyObject*>part not in known:
            parts.append(part)
            found.extend(nodes_in(part))
    while entry is not None:
        parts.append(entry.made)
        entry = entry.outer
    return parts


cdef list nodes_in(object node):
    # The nodes of a mapping's tree right beneath its root or a node; not the values, which other code may refer to.
    from gc import get_referents   # few programs need it
    return [each for each in get_referents(node) if type(each).__name__ in NODES]


cdef frozenset NODES = frozenset(("hamt_bitmap_node", "hamt_array_node", "hamt_collision_node"))


cdef Py_ssize_t references_to(list parts) noexcept:
    cdef Py_ssize_t i, count = 0
    for i in range(PyList_GET_SIZE(parts)):
        count += Py_REFCNT_(PyList_GET_ITEM(parts, i))
    return count


cdef bint apply_again(Repeatable ready) except -1:
    """Applies it in the current context, which has the mapping beneath. False if it is from before a fork."""
    cdef PyThreadState *tstate = xctx_tstate()
    cdef Application application = ready.application
    cdef BoundEntry entry = application.entries
    cdef object applied = application.applied
    while entry is not None:
        if entry.made.unit is not None and entry.made.unit.forks != xctx_fork_count():
            return False
        entry.context = <object>tstate.context
        entry = entry.outer
    application.before = <object>ready.beneath   # the context has it
    application.applies = True
    if ready.of_applied is not None:
        application.applied = None   # from here on the context has it
    swap(application, applied, True)
    return True


cdef bint take_off(Application application) except -1:
    """Undoes an application that can be made again. False where it cannot be any more."""
    cdef PyThreadState *tstate = xctx_tstate()
    cdef BoundEntry entry = application.entries
    cdef object before
    cdef bint alone
    with cython.critical_section(application):
        before = application.before
        application.before = None
    if before is None or tstate.context != <PyObject*>entry.context or not shows_just(application, tstate):
        application.applied = application.parts = None
        undo(application)
        return False
    applied = swap(application, before, False)
    if application.applied is None:
        application.applied = applied
    applied = None
    application.applies = False
    alone = (Py_REFCNT_(<PyObject*>application.applied) == 1
             and references_to(application.parts) == application.references)
    while entry is not None:
        if copies_of(<PyObject*>entry.made) != <PyObject*>None:
            alone = False
        entry.context = None   # keep no context alive
        entry = entry.outer
    if not alone:
        set_all_exited(application)
    return alone


cdef bint shows_just(Application application, PyThreadState *tstate) except -1:
    """Whether nothing is set in the current context but what was applied."""
    cdef BoundEntry entry = application.entries
    cdef Py_ssize_t count = 0
    if xctx_context_vars(tstate.context) == application.applied_at:
        return True
    if application.applied is None:
        return False
    # Blocks that were entered and left since have left a new mapping that maps the same.
    while entry is not None:
        if chain_of(<BindingVariable>entry.made.owner) is not entry.made:
            return False
        count += 1
        entry = entry.outer
    return len(<object>tstate.context) == count
