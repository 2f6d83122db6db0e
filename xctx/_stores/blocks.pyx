# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Bindings in a context variable: what the current unit sees of them, and how a block puts one there and takes it out.

The value of the context variable is the top of a chain of bindings, so a copied context has the same chain, and from then
on each of the two contexts has its own top.

Entering a block puts a binding of the current unit on top. Leaving it removes this binding from the chain of the context
that is current then, wherever in the chain it is. Where nothing is left of the chain the variable has no value any more, so that
nothing is left behind in the context.

A block may be left in another context than the one it was entered in, which goes on: a worker thread that began a generator
serves the next request. With the GIL, the context that it was entered in is made the current one for a moment, in which no
code of anybody runs, and the binding is removed from its chain as well. Without the GIL another thread may be changing that
context. So the binding is marked with the context that is to drop it, and counted with its xlocal; a chain that was not
looked through since then is looked through when it is next used, and made anew without such bindings (`cleanse`). Contexts
that were copied while the block was open keep it.

A unit of work that ends elsewhere has more to take out of the context in which it was opened: all that was left open there.
Without the GIL that is an errand to that context (`Errands`). It is done by the thread that next uses the context, before
that thread sees or binds anything, so what is bound later is never taken for what was left open.
"""
cimport cython
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.weakref cimport PyWeakref_NewRef
from libc.stdint cimport intptr_t, uintptr_t

from xctx._runtime.python cimport (FREE_THREADED, PyErr_Clear, PyThreadState, Py_REFCNT_,
                                   PyTuple_GET_ITEM_, PyTuple_GET_SIZE_, xctx_add, xctx_cas_ptr, xctx_forbid_instances,
                                   xctx_hold_collector, xctx_iterate_context, xctx_load_int, xctx_load_ptr,
                                   xctx_publish_before, xctx_referent, xctx_release_collector, xctx_store_int,
                                   xctx_store_ptr, xctx_swap_context, xctx_tstate, xctx_var_is)
from xctx._runtime.runtime cimport (connect, xctx_cache_entry_of, xctx_cache_set, xctx_count_contexts, xctx_next_serial,
                                    xctx_put, xctx_put_)
from xctx._runtime.scheduling cimport running_greenlet
from xctx._core cimport Key, Unit
from xctx._stores.bindings cimport (Binding, Home, View, bind, compact, copy_of, group_of, innermost_of, is_exited, is_stray,
                                    look_up, mark_exited, new_home, new_view, put_on_top, remove, transfer)
from _functools import partial
from _weakref import ref
from contextvars import ContextVar
import sys


cdef extern from *:
    """
    #define XCTX_OUTER_OF_ENTRY offsetof(struct __pyx_obj_4xctx_7_stores_6blocks_BoundEntry, outer)
    """
    Py_ssize_t OUTER_OF_ENTRY "XCTX_OUTER_OF_ENTRY"

cdef extern from "xctx/_stores/links.h":
    void free_in_a_loop "xctx_free_in_a_loop"(PyTypeObject *, Py_ssize_t)

cdef extern from "xctx/_stores/generators.h":
    ctypedef enum xctx_running:
        RUNS_HERE "XCTX_RUNS_HERE", RUNS_ELSEWHERE "XCTX_RUNS_ELSEWHERE"
    bint xctx_find_place(PyThreadState *, xctx_entering, Place *) noexcept
    xctx_running xctx_is_running(PyThreadState *, PyObject *reference, void *outermost, void *code, bint by_hand) noexcept
    void *xctx_next_generator(PyThreadState *, void *frame) noexcept
    int xctx_depth_beneath(PyObject *shown, void *frame) noexcept
    void *xctx_frame_by_hand(PyThreadState *) noexcept
    void xctx_set_transparent(object mark)
    int xctx_set_up_generators() except -1

connect()
xctx_set_up_generators()


# --- the variable ----------------------------------------------------------------------------------------------------

@cython.no_gc_clear
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
        if FREE_THREADED:
            errands.add_variable(self)

    def __dealloc__(self):
        if self.var is not None:   # otherwise making it failed
            unregister(self)


# The variables of as many living xlocals as there is room for: asking a few is faster than looking through a context.
# Without the GIL a variable that is listed stays, because nobody could tell when other threads are done with it.
cdef enum:
    LISTED = 9   # one is xctx's own: that of units of work
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


cdef int by_units = 0   # whether there ever was an xlocal under a key that tells threads, greenlets or tasks apart


cdef void note_key(Key key) noexcept:
    """Told of the key of each xlocal, once that has it."""
    if key.cached and not key.shared_by_threads:
        xctx_store_int(&by_units, 1)


cdef bint some_go_by_units() noexcept:
    """Whether what one unit binds in a context may be hidden from another one in the same process."""
    return xctx_load_int(&by_units) != 0


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
        for each in xctx_iterate_context(tstate.context):
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
        if FREE_THREADED and (<Binding>value).checked != (<BindingVariable>(<Binding>value).owner).strays:
            cleanse(var, take_binding(value))
            return chain_at(var)   # what was released by that may have run any code
        return take_binding(value)
    Py_DECREF(<object>value)
    return None


cdef int cleanse(PyObject *var, Binding top) except -1:
    """Rids the current context's chain of the bindings of blocks that were entered in this context and left in another.

    Those of other contexts, of which this one is a copy, are replaced by plain ones, so that the chain need not be looked
    through again. The caller looks for the chain again: where there are errands to this context, they alone are done.
    """
    cdef intptr_t strays = (<BindingVariable>top.owner).strays
    cdef PyObject *here = xctx_tstate().context
    cdef list links = []
    cdef Binding link = top
    cdef Binding made = None
    cdef object left_from
    cdef bint changed = False
    if settle_here():
        return 0
    while link is not None:
        links.append(link)
        changed |= is_stray(link)
        link = link.outer
    if not changed:
        if xctx_load_ptr(&awaited) != NULL:
            # It may also be the chain of a context to which there is an errand, and which is to look through it.
            made = copy_of(top, top.unit, top.outer)
            made.checked = strays
            return put(xctx_tstate(), var, made)
        top.checked = strays
        return 0
    changed = False
    while links:
        link = links.pop()
        if is_stray(link):
            changed = True
            left_from = link.copies.left_from()
            if <PyObject*>left_from != here:
                made = bind(link.owner, link.unit, link.names, link.values, made, None, link.barrier)
                made.exited = True
        elif changed:
            made = copy_of(link, link.unit, made)
        else:
            made = link
    if made is not None:
        made.checked = strays
    return put(xctx_tstate(), var, made)


# --- errands to other contexts ---------------------------------------------------------------------------------------

# Of the process: a bit of each context to which there are errands, which several contexts may have in common. So the others
# need not ask under the lock.
cdef void *awaited = NULL


cdef inline uintptr_t bit_of(PyObject *context) noexcept:
    return <uintptr_t>1 << ((<uintptr_t>context >> 6) % (8 * sizeof(uintptr_t)))


@cython.final
@cython.no_gc_clear
cdef class Errands:
    """What is to be done in contexts before anything is next seen or bound there. Used only without the GIL.

    Thread-safety: all operations, from any thread.
    Lifetime: of the process. It keeps neither contexts nor xlocals alive; an errand is dropped with its context.
    """
    # All guarded by the critical section.
    cdef dict to          # address of a context -> (weak reference to it, [what is to be called in it])
    cdef list variables   # weak references to all BindingVariables, and to some that have died
    cdef Py_ssize_t prune_at

    def __cinit__(self):
        self.to = {}
        self.variables = []
        self.prune_at = 64

    cdef int add_variable(self, BindingVariable made) except -1:
        cdef object reference = PyWeakref_NewRef(made, None)
        with cython.critical_section(self):
            if len(self.variables) >= self.prune_at:
                self.variables = [each for each in self.variables if each() is not None]
                self.prune_at = 2 * len(self.variables) + 64
            self.variables.append(reference)
        return 0

    cdef int add(self, object context, object errand) except -1:
        cdef uintptr_t address = <uintptr_t><void*>context
        cdef object made = None
        cdef object reference = ref(context, partial(self, address))
        cdef BindingVariable variable
        with cython.critical_section(self):
            there = self.to.get(address)
            if there is None:
                self.to[address] = reference, [errand]
                xctx_store_ptr(&awaited, <void*>(<uintptr_t>awaited | bit_of(<PyObject*>context)))
            else:
                there[1].append(errand)
            variables = self.variables[:]
        for each in variables:   # each chain is looked through when it is next used
            made = each()
            if made is not None:
                variable = <BindingVariable>made
                xctx_add(&variable.strays, 1)
        return 0

    cdef tuple take(self, object context):
        with cython.critical_section(self):
            there = self.to.pop(<uintptr_t><void*>context, None)
            if there is not None:
                self.set_awaited()
        return there

    cdef int set_awaited(self) except -1:
        cdef uintptr_t bits = 0
        for address in self.to:
            bits |= bit_of(<PyObject*><uintptr_t>address)
        xctx_store_ptr(&awaited, <void*>bits)
        return 0

    def __call__(self, address, reference):
        """Told of the death of a context."""
        with cython.critical_section(self):
            there = self.to.get(address)
            if there is not None and there[0] is reference:
                del self.to[address]
                self.set_awaited()


cdef Errands errands = Errands()


cdef int do_in(object context, object errand) except -1:
    """Has `errand` called in another context before anything is next seen or bound there. Only without the GIL."""
    return errands.add(context, errand)


cdef bint settle_here() except -1:
    """Does the errands to the current context. Says whether there were any."""
    cdef PyThreadState *tstate = xctx_tstate()
    if not FREE_THREADED or tstate.context == NULL or not <uintptr_t>xctx_load_ptr(&awaited) & bit_of(tstate.context):
        return False
    there = errands.take(<object>tstate.context)
    if there is None:
        return False
    for errand in there[1]:
        call_errand(errand)
    return True


cdef void call_errand(object errand) noexcept:
    # Whoever uses the context has nothing to do with it, so what it raises is only told.
    try:
        errand()
    except MemoryError:   # what that interrupted has released some
        errand()


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
    return top if top is None or top.home is None else seen_of(top, tstate)


cdef Binding visible_here(Binding top, PyThreadState *tstate):
    """The innermost binding of a chain that the current unit sees, or None."""
    top = own_of(top, tstate)
    return top if top is None or top.home is None else seen_of(top, tstate)


cdef Binding own_of(Binding top, PyThreadState *tstate):
    # The innermost binding of the current unit, or None.
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


# --- what is seen of generators' bindings ----------------------------------------------------------------------------

cdef bint find_place(Place *place, xctx_entering how) noexcept:
    """Finds from where the calling code binds. False outside of generators, and in those that bind for their caller."""
    return xctx_find_place(xctx_tstate(), how, place)


cdef bint runs(Home home, PyThreadState *tstate) except -1:
    """Whether the generator runs what runs here."""
    cdef xctx_running found
    if home.generator is None:
        return False
    found = xctx_is_running(tstate, <PyObject*>home.generator, home.outermost, home.code, home.by_hand)
    return found == RUNS_HERE or found == RUNS_ELSEWHERE and runs_a_parent(home, tstate)


cdef bint runs_a_parent(Home home, PyThreadState *tstate) except -1:
    for frame in frames_of_parents(tstate):
        if xctx_depth_beneath(<PyObject*>frame, home.outermost):
            return True
    return False


cdef list frames_of_parents(PyThreadState *tstate):
    # A greenlet that shares the context of its parent does a part of the parent's work, as for SQLAlchemy's asyncio.
    cdef list frames = []
    here = <object>tstate.context
    parent = running_greenlet(False)
    while parent is not None:
        parent = parent.parent
        try:
            if parent is None or parent.gr_context is not here:
                break
        except ValueError:   # it is another thread's
            break
        if parent.gr_frame is not None:
            frames.append(parent.gr_frame)
    return frames


cdef bint may_hide(Binding link, PyThreadState *tstate) noexcept:
    # In another context it is a copy, and an exited one is part of this chain only where that is a copy.
    return link.hides and link.home.context == tstate.context and not is_exited(link)


cdef bint is_hidden(Binding link, PyThreadState *tstate) except -1:
    """Whether a binding of the current context's chain was made in a generator that does not run here."""
    return may_hide(link, tstate) and not runs(link.home, tstate)


cdef Binding seen_of(Binding top, PyThreadState *tstate):
    """What the current unit sees of a chain: as a chain, or None.

    Args:
        top: the unit's innermost binding in the current context, which has a home.
    """
    # The usual case first, in which no reference is counted: the generator reads what it has bound.
    if not top.home.mixed and <PyObject*>top.home.generator != <PyObject*>None:
        if top.home.context != tstate.context or xctx_is_running(
                tstate, <PyObject*>top.home.generator, top.home.outermost, top.home.code, top.home.by_hand) == RUNS_HERE:
            return top
    return seen_otherwise(top, tstate)


cdef Binding seen_otherwise(Binding top, PyThreadState *tstate):
    cdef Home home = top.home
    cdef Binding link = top
    if not home.mixed:
        if home.context != tstate.context or runs(home, tstate):
            return top
        while link is not None and link.home is not None and may_hide(link, tstate):
            link = innermost_of(link.outer, top.unit)
        if link is None or link.home is None:
            return link
    elif follows_stack(top, tstate):
        return top
    return in_order(top, tstate)


cdef bint follows_stack(Binding top, PyThreadState *tstate) noexcept:
    # Whether all that has a home is of generators that run here, those innermost in the chain the innermost here.
    cdef Binding link = top
    cdef void *frame = NULL
    while link is not None and link.home is not None:
        if link.home.generator is None or is_exited(link):
            return False
        while link.home.frame != frame and link.home.outermost != frame:
            frame = xctx_next_generator(tstate, frame)
            if frame == NULL:
                return False
        link = innermost_of(link.outer, top.unit)
    return True


cdef Binding in_order(Binding top, PyThreadState *tstate):
    # A generator's binding counts for more than others while it runs: the deeper on the stack, the more. Otherwise what was
    # bound later does. One whose block was left is nobody's any more. Usually no generator runs that has bound here, or one,
    # and what is seen then is noted.
    cdef Binding link = top
    cdef Binding below
    cdef View view
    cdef object last = None
    cdef bint last_runs = False
    cdef void *only = NULL
    cdef Py_ssize_t running = 0, hidden = 0
    while link is not None and link.home is not None:
        if link.home.generator is not last:
            last = link.home.generator
            last_runs = runs(link.home, tstate)
        if last_runs and not is_exited(link):
            if link.home.frame != only:
                only = link.home.frame
                running += 1
        elif may_hide(link, tstate):
            hidden += 1
        link = innermost_of(link.outer, top.unit)
    if running == 0 and hidden == 0:
        return top
    view = top.home.view
    if running <= 1 and view is not None:
        if view.context == tstate.context and view.running == only and view.hidden == hidden:
            return top if view.whole else view.chain
    below = view_beneath(top, tstate, hidden) if running == 0 else None
    if below is not None:
        link = bind(top.owner, top.unit, top.names, top.values, below, None, top.barrier)
    else:
        link = arranged(top, tstate)
    if running <= 1 and top.home.mixed:   # otherwise it is other bindings' home as well
        note_view(top, link, tstate.context, only, hidden)
    return link


cdef Binding view_beneath(Binding top, PyThreadState *tstate, Py_ssize_t hidden):
    # What is seen beneath a binding that is seen itself, if that is known.
    cdef Binding link
    cdef View view
    if may_hide(top, tstate):
        return None
    link = innermost_of(top.outer, top.unit)
    view = None if link is None or link.home is None else link.home.view
    if view is None or view.context != tstate.context or view.running != NULL or view.hidden != hidden:
        return None
    return view.chain


cdef int note_view(Binding top, Binding chain, PyObject *context, void *running, Py_ssize_t hidden) except -1:
    cdef bint whole = chain is top   # and not held, because that would be a cycle
    cdef View view = new_view(None if whole else chain, whole, context, running, hidden)
    with cython.critical_section(top.home):
        if not FREE_THREADED or top.home.view is None:   # without the GIL another thread may be reading it
            xctx_publish_before()
            top.home.view = view
    return 0


cdef Binding arranged(Binding top, PyThreadState *tstate):
    cdef list links = []     # all that have a home
    cdef list running = []   # those of them whose generators run here
    cdef list order = []     # those that are seen, in the order in which they count
    cdef list others
    cdef Binding link = top
    cdef Binding made
    cdef void *frame = NULL
    cdef Py_ssize_t i
    while link is not None and link.home is not None:
        links.append(link)
        if not is_exited(link) and runs(link.home, tstate):
            running.append(link)
        link = innermost_of(link.outer, top.unit)
    made = link
    others = running
    while others:
        frame = xctx_next_generator(tstate, frame)
        if frame == NULL:
            break
        others = take_those_of(frame, others, order)
    if len(others) > 1:
        for shown in frames_of_parents(tstate):
            others = take_those_beneath(shown, others, order)
    order.extend(others)   # what they delegate to runs, and not they: see generators.h
    for link in links:
        if not may_hide(link, tstate) and link not in running:
            order.append(link)
    if is_end_of(order, links):
        return order[0] if order else made
    for i in range(len(order) - 1, -1, -1):
        link = order[i]
        made = bind(link.owner, link.unit, link.names, link.values, made, None, link.barrier)
    return made


cdef list take_those_of(void *frame, list links, list taken):
    # Moves to `taken` those that the frame has bound, or what it delegates to; gives the others.
    cdef list others = []
    cdef Binding link
    for link in links:
        (taken if link.home.frame == frame or link.home.outermost == frame else others).append(link)
    return others


cdef list take_those_beneath(object shown, list links, list taken):
    # The same for the frames of a greenlet that waits.
    cdef list others = []
    cdef list found = []
    cdef Binding link
    cdef int depth
    for link in links:
        depth = xctx_depth_beneath(<PyObject*>shown, link.home.outermost)
        if depth:
            found.append((depth, len(found), link))
        else:
            others.append(link)
    found.sort()
    for _, _, link in found:
        taken.append(link)
    return others


cdef bint is_end_of(list order, list links):
    cdef Py_ssize_t i, skipped = len(links) - len(order)
    for i in range(len(order)):
        if order[i] is not links[skipped + i]:
            return False
    return True


cdef bint is_callers(Binding link) noexcept:
    """Whether a binding was made in the very frame that calls us, maybe by an ExitStack, and that is a generator's."""
    return link.home is not None and link.home.frame != NULL and link.home.frame == xctx_frame_by_hand(xctx_tstate())


def set_transparent(mark):
    """Says what stands last among the constants of the code of a generator that binds for its caller. Called once."""
    xctx_set_transparent(mark)


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
        unit = <Unit>entry.what   # borrowed: it runs, and when it ends the cache is emptied
    else:
        unit = None if variable.key.inherits else variable.key.find(True)   # may call a key's callable
    return bind(variable, unit, names, values, None, None, barrier)


cdef tuple completed(BindingVariable variable, tuple names, tuple values, bint barrier):
    """The names and values, and those that are made for a block in which a name would not be seen otherwise."""
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
        kept: if it is not NULL, it gets a reference to what the context mapped before, or NULL where it need not be had again.
    """
    # From where the chain is read no code of anybody runs: it might change the chain.
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
    made.checked = variable.strays
    if tracking:
        note_place(made)
    if top is not None:
        if top.depth >= top.compact_at:
            top = compact_here(variable)
            kept = NULL
        if top is not None:
            put_on_top(made, top)
            made.checked = top.checked
    xctx_put(tstate, <PyObject*>variable.var, <PyObject*>made, kept)
    if not xctx_cache_hit(entry, variable.serial, tstate, <PyObject*>variable) or entry.what != <void*>made.unit:
        xctx_count_contexts(tstate)   # setting the variable may have made a context
        if variable.key.cached:
            xctx_cache_set(entry, variable.serial, tstate, <void*>made.unit)
    if made.hides and made.home.context == NULL:
        made.home.context = tstate.context   # there was none before the variable was set
    return <object>tstate.context


cdef bint tracking = False   # whether it is noted where blocks are entered. Of the process: any thread may set it at any time


def track(bint on):
    """Has it noted where blocks are entered, or no more."""
    global tracking
    tracking = on


cdef int note_place(Binding made) except -1:
    frame = sys._getframe()   # compiled functions have none, so it is that of the with statement
    group_of(made).opened_at = frame.f_code.co_filename, frame.f_lineno
    return 0


cdef int find_home(Binding made, Place *place, Binding top, PyThreadState *tstate) except -1:
    cdef Home home = None if top is None else top.home
    if place == NULL:
        made.home = home_of_code_here(top, tstate)
        return 0
    made.hides = True
    if (home is not None and not home.mixed and home.generator is not None and home.context == tstate.context
            and home.frame == place.frame and home.outermost == place.outermost and home.by_hand == place.by_hand
            and xctx_referent(<PyObject*>home.generator) == place.generator):
        made.home = home
        return 0
    made.home = new_home(PyWeakref_NewRef(<object>place.generator, None), place.code, place.frame, place.outermost,
                         tstate.context, place.by_hand, False)
    return 0


cdef Home home_of_code_here(Binding top, PyThreadState *tstate):
    # Of those in a chain, the home of the innermost generator that runs here; None if none does.
    cdef Binding link
    cdef void *frame = NULL
    if not top.home.mixed:
        return top.home if top.home.context != tstate.context or runs(top.home, tstate) else None
    while True:
        frame = xctx_next_generator(tstate, frame)
        if frame == NULL:
            return None
        link = top
        while link is not None and link.home is not None:
            if link.home.frame == frame and not is_exited(link):
                return link.home
            link = link.outer


cdef Binding compact_here(BindingVariable variable):
    cdef bint collects = xctx_hold_collector()
    cdef Binding top
    try:
        top = compact(chain_at(<PyObject*>variable.var))
        if top is not None:
            top.checked = -1   # of no chain; without the GIL it is looked through when it is next used
        return top
    finally:
        xctx_release_collector(collects)


cdef int put(PyThreadState *tstate, PyObject *var, Binding top) except -1:
    # Makes it the current context's chain. Where that is none, nothing of it is left in the context.
    return xctx_put(tstate, var, NULL if top is None else <PyObject*>top, NULL)


cdef int end_binding(Binding made, PyObject *context) except -1:
    """Takes out what a block bound, of the current context and of the one in which it was entered.

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
                group_of(made).left_from = ref(<object>context)
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
    # Of the current context, in which the block was not entered.
    if chain_of(variable) is not None:
        take_out(variable, made)
        if chain_at(<PyObject*>variable.var) is None:
            # A value that says so, because this context may be a copy from which what is set is written back to where the block
            # is seen as well, as asgiref does, but not what is unset.
            xctx_put(xctx_tstate(), <PyObject*>variable.var, <PyObject*>None, NULL)
    return 0


cdef int end_there(BindingVariable variable, Binding made, PyObject *context) except -1:
    # Only with the GIL.
    cdef Binding top = None   # held until the visit is over, since releasing values runs any code
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


cdef PyObject *visit_context(PyObject *context, bint *collects):
    """Makes a context the current one, also where it is entered already, until `end_visit`. Only with the GIL.

    Nothing may run meanwhile but what is written in C, and nothing may be released that could run any code.

    Returns:
        What `end_visit` is to be given, together with `collects`.
    """
    collects[0] = xctx_hold_collector()
    return xctx_swap_context(context)


cdef void end_visit(PyObject *here, bint collects):
    xctx_swap_context(here)
    xctx_release_collector(collects)


cdef int take_off(BindingVariable variable, Binding made) except -1:
    # Of the current context, whose chain has the binding on top. The caller holds it.
    cdef PyObject *outer = NULL if made.outer is None else <PyObject*>made.outer
    if xctx_put_(xctx_tstate(), <PyObject*>variable.var, outer, NULL) < 0:
        PyErr_Clear()
        return take_out(variable, made)
    return 0


cdef int take_out(BindingVariable variable, Binding made) except -1:
    # Of the current context. Tried twice: where memory was short, what that interrupted has released some.
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
xctx_forbid_instances(<PyTypeObject*>Errands)


cdef BoundEntry bind_snapshot(BindingVariable variable, Binding flat, bint barrier, BoundEntry outer, Place *place,
                              PyObject **kept):
    """Binds for the current unit what a flattened binding of this xlocal says; no name, where that is None.

    Args:
        place, kept: as for `make_visible`.
    """
    cdef BoundEntry entry = BoundEntry.__new__(BoundEntry)
    if flat is None:
        entry.made = new_binding(variable, (), (), barrier)
    else:
        entry.made = new_binding(variable, flat.names, flat.values, barrier)
        if barrier and entry.made.names is flat.names:
            entry.made.merged = flat.merged
    entry.outer = outer
    entry.context = make_visible(entry.made, place, kept)
    return entry


cdef int unbind_entry(BoundEntry entry) except -1:
    return end_binding(entry.made, NULL if entry.context is None else <PyObject*>entry.context)


cdef int transfer_to_unit(Binding top, Unit before, Unit now) except -1:
    """Gives to the unit `now` what the unit `before` bound, in the current context, of which `top` is a chain's top."""
    cdef Binding made = transfer(top, before, now)
    if made is not top:
        put(xctx_tstate(), <PyObject*>(<BindingVariable>top.owner).var, made)
    return 0


# --- what was left open ----------------------------------------------------------------------------------------------

cdef set known_of(Binding top):
    """What `is_left_open` and `take_left_open` know the bindings of a chain by."""
    cdef set known = set()
    while top is not None:
        known.add(<uintptr_t><void*>top)
        if top.copies is not None:
            known.add(<uintptr_t><void*>top.copies)
        top = top.outer
    return known


cdef bint is_left_open(Binding link, set known, bint among) except -1:
    """Whether the block of a binding is open, and the binding is among the known ones; or is not, if `among` is False.

    One that is exited already is part of this chain only where that is a copy, made while its block was open. One that a with
    statement of a generator has made, only code that the generator runs can see, and the generator leaves it when it is closed.
    """
    if is_exited(link) or link.hides and not link.home.by_hand:
        return False
    return among == (<uintptr_t><void*>link in known
                     or link.copies is not None and <uintptr_t><void*>link.copies in known)


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
