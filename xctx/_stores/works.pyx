# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Units of work: how they are opened, found and ended.

An xlocal of this module, `here`, has the unit of work that a flow of control is in. So this goes where bindings with the key
`flow` go, and snapshots take it along like any other binding. The value is a `UnitOfWork`, to which the unit refers weakly. It
lives as long as any context has it; its unit ends when the block is left, even if contexts still have the value. Then the
unit of work outside counts again, in those contexts as well.

What a `local` keeps for a unit of work are unit values, as for any unit that threads share (values.pyx).

    context A   here: --> UnitOfWork 2 --outer--> UnitOfWork 1        inside two blocks
    context B   here: ---------------------------------^             a task that was started inside the outer one
"""
cimport cython
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.tuple cimport PyTuple_GET_SIZE
from libc.stdint cimport uintptr_t

from xctx._core cimport Key, Unit, UnitKind, found_by
from xctx._runtime.functions cimport StepContext
from xctx._runtime.parking cimport done
from xctx._runtime.python cimport (FREE_THREADED, PyObject_GenericGetAttr, PyThreadState, xctx_context_vars,
                                   xctx_copy_context, xctx_forbid_instances, xctx_load_int, xctx_swap_vars, xctx_tstate,
                                   xctx_var_changed)
from xctx._runtime.runtime cimport connect
from xctx._runtime.units cimport end_unit, is_over, unit_of
from xctx._stores.bindings cimport Binding, group_of, mark_exited
from xctx._stores.blocks cimport end_binding, is_left_open, known_of, make_visible, new_binding, take_left_open
from xctx._stores.chains cimport chain_of, do_in, each_chain, end_visit, settle_here, visit_context
from xctx._stores.seen cimport BY_HAND, BY_STATEMENT, BY_STEP, Place, binding_here, find_place, xctx_entering
from xctx._stores.names cimport is_reserved
from xctx._stores.statements cimport Block, BlockKind, OpenByHand, by_hand, install_block_methods, new_block, new_open_by_hand
from xctx._stores.xlocal cimport xlocal
from xctx import _core


connect()

cdef xlocal here = xlocal()
here.place = __name__, "here"   # found again by this name in another process
globals()["here"] = here
cdef tuple NAMES = ("work",)
cdef Key GREENLET = _core.greenlet


# --- the current one -------------------------------------------------------------------------------------------------

@cython.final
@cython.no_gc_clear
cdef class UnitOfWork:
    """The referent of the unit of a unit of work.

    Thread-safety: may be read from any thread; `outer` is read and set under the critical section.
    Lifetime: held by the bindings of `here`, and by units of work that were opened inside.
    """

    def __repr__(self):   # a finaliser may get hold of this while it is made, when its unit is still None
        return f"<xctx unit of work{'' if self.unit is None or not xctx_load_int(<int*>&self.unit.ended) else ' that has ended'}>"


cdef UnitOfWork current_work():
    """The innermost open unit of work, or None."""
    cdef Binding top = binding_here(here, xctx_tstate())
    cdef UnitOfWork work
    if top is None or not PyTuple_GET_SIZE(top.values):   # empty: from a snapshot taken outside of any unit of work
        return None
    work = <UnitOfWork>top.values[0]
    return innermost_open(work) if is_over(work.unit) else work


cdef UnitOfWork outer_of(UnitOfWork work):
    with cython.critical_section(work):   # another thread may be about to skip it: see `open_work`
        return work.outer


cdef UnitOfWork innermost_open(UnitOfWork work):
    while work is not None and is_over(work.unit):
        work = outer_of(work)
    return work


cdef Unit find_current(object key, bint create):
    cdef UnitOfWork work = current_work()
    return GREENLET.find(create) if work is None else work.unit


cdef bint is_work(Binding binding) noexcept:
    """Whether this is a binding of `here`, which says in which unit of work its flow is."""
    return binding.owner is here


cdef const UnitKind *KIND_OF_UNIT = found_by(find_current)


# --- opening and ending ----------------------------------------------------------------------------------------------

cdef UnitOfWork open_work(UnitOfWork outer):
    """A new unit of work, which is not bound yet.

    Args:
        outer: the unit of work around it, or None.
    """
    cdef UnitOfWork opened = UnitOfWork.__new__(UnitOfWork)
    if outer is not None:
        # Units of work that have ended are skipped: if each task starts the next one like itself and ends, the chain
        # would grow with each.
        with cython.critical_section(outer):
            outer.outer = innermost_open(outer.outer)
        opened.outer = outer
    opened.unit = unit_of(opened, KIND_OF_UNIT, True)
    return opened


cdef object mapping_here():
    """What the current context maps its variables to, which never changes. The context is made where there is none."""
    cdef PyThreadState *tstate = xctx_tstate()
    if tstate.context == NULL:
        xctx_copy_context()
    return <object>xctx_context_vars(tstate.context)


cdef Binding bind_work(UnitOfWork work):
    return new_binding(here, NAMES, (work,), False)


cdef int end_work(UnitOfWork work, PyObject *context) except -1:
    """Ends a unit of work, and takes out of a context what was bound since it was opened, and left open.

    Args:
        context: the context in which it was opened, which the caller holds; or NULL.
    """
    cdef object before = work.before
    work.before = None
    end_unit(work.unit)
    if before is not None and context != NULL:
        clear_left_open(left_open_since(before), context)
    return 0


@cython.final
@cython.no_gc_clear
cdef class LeftOpen:
    """What was left open in a context. Called in that context, it takes these bindings out.

    They are either all that were bound since the context had a certain mapping, or those of certain copy groups.

    Thread-safety: used by one thread: the one that ends the unit of work, or, without the GIL, the next one in that context.
    Lifetime: held by that call; until then by the errands to that context.
    """
    cdef object before      # what the context mapped then; or None
    cdef list groups        # or else these, which keep no value alive
    cdef set known          # by which `take_left_open` knows them
    cdef list chains        # chains from which something was removed, held until all is removed
    cdef list bindings      # what was removed

    def __call__(self):
        each_chain(xctx_tstate(), clear_chain, <void*>self)
        tell_of(self)


cdef LeftOpen left_open_since(object before):
    cdef LeftOpen made = LeftOpen.__new__(LeftOpen)
    made.before = before
    return made


cdef LeftOpen left_open_of_step(object before):
    """What was left open in the current context since it mapped this; None for nothing."""
    cdef LeftOpen made = left_open_since(before)
    made.groups = []
    each_chain(xctx_tstate(), note_groups, <void*>made)
    if not made.groups:
        return None
    made.before = None
    made.known = set()
    for group in made.groups:
        made.known.add(<uintptr_t><void*>group)
    return made


cdef int note_groups(Binding top, void *arg) except -1:
    cdef LeftOpen found = <LeftOpen>arg
    cdef Binding link = top
    cdef set known
    was = found.before.get((<xlocal>top.owner).var)
    if was is not top:
        known = known_of(<Binding>was if isinstance(was, Binding) else None)
        while link is not None:
            if is_left_open(link, known, False):
                found.groups.append(group_of(link))
            link = link.outer
    return 0


cdef int tell_still_open(Binding top, void *arg) except -1:
    cdef set known = (<tuple>arg)[0]
    cdef list found = (<tuple>arg)[1]
    cdef Binding link = top
    while link is not None:
        if is_left_open(link, known, True):
            found.append((link.owner, link.names, None if link.copies is None else link.copies.opened_at))
        link = link.outer
    return 0


cdef int clear_left_open(LeftOpen found, PyObject *context) except -1:
    cdef PyThreadState *tstate = xctx_tstate()
    cdef Binding link
    cdef PyObject *here
    cdef bint collects
    if context == tstate.context:
        each_chain(tstate, clear_chain, <void*>found)
    elif FREE_THREADED:   # another thread may be changing that context
        return do_in(<object>context, found)
    else:
        here = visit_context(context, &collects)
        try:
            each_chain(tstate, clear_chain, <void*>found)
        finally:
            end_visit(here, collects)
        for link in found.bindings or ():
            end_binding(link, NULL)   # the current context has it as well, if it is a copy of that one
    return tell_of(found)


cdef int tell_of(LeftOpen found) except -1:
    # Ends the units of work that were left open inside, and warns, now that all is taken out.
    cdef Binding link
    cdef UnitOfWork inner
    if found.bindings is not None:
        for link in found.bindings:
            # A unit of work that a snapshot has bound is still open where the snapshot was taken.
            if is_work(link) and not link.barrier:
                inner = <UnitOfWork>link.values[0]
                inner.before = None   # what is bound from here on was not left open in it
                end_unit(inner.unit)
        warn_of(found.bindings)
    return 0


cdef int clear_chain(Binding top, void *arg) except -1:
    cdef LeftOpen found = <LeftOpen>arg
    cdef list left = []
    if found.before is None:
        take_left_open(top, found.known, True, left)
    else:
        was = found.before.get((<xlocal>top.owner).var)
        if was is top:
            return 0
        take_left_open(top, known_of(<Binding>was if isinstance(was, Binding) else None), False, left)
    if left:
        if found.bindings is None:
            found.chains = []
            found.bindings = []
        found.chains.append(top)
        found.bindings += left
    return 0


cdef int warn_of(list bindings) except -1:
    """Warns of those bindings of which it was noted where their blocks were entered (xctx.debug.track)."""
    cdef Binding link
    told = []
    for link in bindings:
        if link.copies is not None and link.copies.opened_at is not None:
            what = f"{', '.join(link.names) or 'nothing'} of {type(link.owner).__name__}"
            file, line = link.copies.opened_at
            told.append(f"{'a unit of work' if is_work(link) else what}, entered in {file}, line {line}")
    if told:
        import warnings
        left = "; ".join(told)
        warnings.warn(f"a unit of work has ended in which blocks were left open: {left}", RuntimeWarning, stacklevel=1)
    return 0


# --- blocks ----------------------------------------------------------------------------------------------------------

@cython.final
@cython.no_gc_clear
cdef class work:
    """work()\n--\n\nA unit of work: a request, a job, a message, and all code that works on it.

    ``with xctx.work():`` opens one for the block, and gives its :class:`~xctx.keys.Unit`; ``async with`` likewise. As a
    decorator, ``@xctx.work()`` opens one for each call of a function, coroutine function, generator or async generator; a
    generator is in it while it runs, not while it is suspended. The object can be used again, and nested: each entry is a
    unit of work of its own, inside the current one.

    What is started inside and takes its bindings along is in it too: tasks, threads of :mod:`xctx.concurrent`, greenlets of
    :mod:`xctx.gevent`, functions that run with a snapshot. A plain thread and a forked child are not. At its end, what any
    ``local(key=xctx.keys.work)`` keeps for it is released, and what was bound inside and left open is taken out of the
    context. Tasks and threads that live on are then in the unit of work outside, or in none.

    Thread-safety: may be entered in several units at the same time, from any thread.
    Lifetime: a unit of work ends when its block is left, or when nothing refers to it any more.
    """
    cdef OpenByHand opened   # or None: set once, under the critical section

    def __call__(self, func, /):
        """Decorates a function of any kind: each call is a unit of work.

        Args:
            func: a callable, coroutine function, generator function or async generator function.

        Returns:
            A function of the same kind.

        Raises:
            TypeError: `func` is not callable.
        """
        from xctx._runtime.wrappers import wrap
        return wrap(func, WorkSteps, "a unit of work decorates")

    @staticmethod
    def current():
        """The innermost unit of work that is open here, as a :class:`~xctx.keys.Unit`; or None."""
        cdef UnitOfWork found = current_work()
        return None if found is None else found.unit

    def __getattribute__(self, name):
        if is_reserved(<PyObject*>name) and name in BLOCK_METHODS:
            return by_hand(self, name)
        return PyObject_GenericGetAttr(self, name)

    def __reduce_ex__(self, protocol):
        raise TypeError("cannot pickle a unit of work: take a snapshot, by xctx.capture()")


cdef frozenset BLOCK_METHODS = frozenset(("__enter__", "__exit__", "__aenter__", "__aexit__"))


cdef object enter(Block block):
    return enter_by(block, BY_STATEMENT)


cdef object enter_by(Block block, xctx_entering how):
    cdef UnitOfWork opened
    cdef Place place
    cdef Binding made
    cdef PyObject *kept = NULL
    settle_here()
    opened = open_work(current_work())
    before = opened.before = mapping_here()
    made = bind_work(opened)
    block.undo = make_visible(made, &place if find_place(&place, how) else NULL, &kept)
    block.made = made
    block.opener = None
    if kept != NULL:   # nothing ran since the variable was set
        if kept == <PyObject*>before:
            block.applied = <object>xctx_context_vars(<PyObject*>block.undo)
        Py_DECREF(<object>kept)
    return opened.unit


cdef object leave(Block block):
    cdef Binding made = block.made
    cdef UnitOfWork opened
    if made is None:
        raise RuntimeError("this unit of work is left, but it was not entered")
    context = block.undo
    applied = block.applied
    block.made = block.undo = block.applied = None
    opened = <UnitOfWork>made.values[0]
    # Its values are released while it is still current, so that what their finalisers keep for it is released in turn.
    try:
        end_unit(opened.unit)
    finally:
        if put_back(opened.before, made, <PyObject*>context, <PyObject*>applied):
            opened.before = None
        else:
            end_binding(made, <PyObject*>context)
            end_work(opened, <PyObject*>context)
    return False


cdef bint put_back(object before, Binding made, PyObject *context, PyObject *applied) except -1:
    """Restores the context's earlier mapping, where nothing was set in it since: then nothing was left open either.

    Args:
        before, applied: what it mapped before and after `made` was bound. The caller holds both, because releasing them may
            run any code.

    Returns:
        False where something was set, or where this is another context.
    """
    cdef PyThreadState *tstate = xctx_tstate()
    if before is None or context != tstate.context or xctx_context_vars(context) != applied:
        return False
    mark_exited(made)
    Py_INCREF(before)
    applied = xctx_swap_vars(tstate, <PyObject*>before)
    xctx_var_changed(tstate, <PyObject*>here.var, NULL)
    Py_DECREF(<object>applied)
    return True


cdef object enter_by_hand(object opener):
    cdef OpenByHand opened = opened_by_hand(<work>opener)
    cdef Block block = new_block(opener, &KIND)
    unit = enter_by(block, BY_HAND)
    try:
        opened.add(group_of(block.made), block.made.unit, block)
    except BaseException:
        leave(block)
        raise
    return unit


cdef object leave_by_hand(object opener):
    """Leaves the innermost block here that was entered by hand, or else the last one of all."""
    cdef OpenByHand opened = opened_by_hand(<work>opener)
    cdef Block block = opened.take_innermost(chain_of(here))
    if block is None:
        block = opened.take_last(here.key.find(False))
    if block is None:
        raise RuntimeError("this unit of work is left, but it was not entered")
    return leave(block)


cdef OpenByHand opened_by_hand(work opener):
    with cython.critical_section(opener):
        if opener.opened is None:
            opener.opened = new_open_by_hand()
        return opener.opened


cdef BlockKind KIND
KIND.enter = enter
KIND.leave = leave
KIND.enter_by_hand = enter_by_hand
KIND.leave_by_hand = leave_by_hand
install_block_methods(work, &KIND)


# --- async with ------------------------------------------------------------------------------------------------------

cdef object enter_async(Block block):
    return done(enter(block))


cdef object leave_async(Block block):
    return done(leave(block))


cdef object enter_async_by_hand(object opener):
    return done(enter_by_hand(opener))


cdef object leave_async_by_hand(object opener):
    return done(leave_by_hand(opener))


cdef BlockKind ASYNC_KIND
ASYNC_KIND.enter = enter_async
ASYNC_KIND.leave = leave_async
ASYNC_KIND.enter_by_hand = enter_async_by_hand
ASYNC_KIND.leave_by_hand = leave_async_by_hand
install_block_methods(work, &ASYNC_KIND, "__aenter__", "__aexit__")


# --- in steps --------------------------------------------------------------------------------------------------------

@cython.final
@cython.no_gc_clear
cdef class WorkSteps(StepContext):
    """One unit of work in steps, each of which may be taken in another unit: a call of a generator, the response to a request.

    Between the steps other code may bind in the same context. So each step notes what it has left open, and that is what is
    taken out at the end.

    Thread-safety: one step at a time, by any thread.
    Lifetime: held by the call. The unit of work ends with :meth:`close`, or when this object is freed.
    """
    cdef UnitOfWork opened   # None before the first step and after the last one
    cdef list left           # (context, LeftOpen) of each step that left anything open; or None
    # Of the step that is being taken, as the fields of a block:
    cdef Binding made
    cdef object context
    cdef object before       # what the context mapped before, and afterwards; None unless that can be put back
    cdef object applied

    cdef int enter(self) except -1:
        cdef PyObject *kept = NULL
        cdef Place place
        settle_here()
        if self.opened is None:
            self.opened = open_work(current_work())
        before = mapping_here()
        self.made = bind_work(self.opened)
        self.context = make_visible(self.made, &place if find_place(&place, BY_STEP) else NULL, &kept)
        self.before = before
        if kept != NULL:   # nothing ran since the variable was set
            if kept == <PyObject*>before:
                self.applied = <object>xctx_context_vars(<PyObject*>self.context)
            Py_DECREF(<object>kept)
        return 0

    cdef int leave(self) except -1:
        cdef Binding made = self.made
        cdef LeftOpen left
        context = self.context
        before = self.before
        applied = self.applied
        if made is None:
            raise RuntimeError("this unit of work is left, but it was not entered")
        self.made = self.context = self.before = self.applied = None
        if put_back(before, made, <PyObject*>context, <PyObject*>applied):
            return 0
        end_binding(made, <PyObject*>context)
        left = left_open_of_step(before) if <PyObject*>context == xctx_tstate().context else left_open_since(before)
        if left is not None:
            if self.left is None:
                self.left = []
            self.left.append((context, left))
        return 0

    cdef int end(self) except -1:
        cdef UnitOfWork opened = self.opened
        cdef list left
        if opened is not None:
            try:
                self.enter()
                try:
                    end_unit(opened.unit)
                finally:
                    self.leave()
            finally:
                left = self.left
                self.opened = self.left = None
                end_unit(opened.unit)
                for context, found in left or ():
                    clear_left_open(<LeftOpen>found, <PyObject*>context)
        return 0

    def still_open(self):
        """What earlier steps have left open in the current context: a list of tuples (xlocal, names, where it was opened).

        The last is a file and a line, if that was noted (xctx.debug.track), or else None.
        """
        cdef PyThreadState *tstate = xctx_tstate()
        cdef LeftOpen left
        found = []
        for context, left in self.left or ():
            if <PyObject*>context == tstate.context:
                told = left.known, found
                each_chain(tstate, tell_still_open, <void*>told)
        return found

    cdef bint spans_awaits(self) noexcept:
        return True

    def __del__(self):
        # A call or response may be dropped half-way, as test clients of frameworks do.
        if self.opened is not None:
            self.end()


xctx_forbid_instances(<PyTypeObject*>UnitOfWork)
xctx_forbid_instances(<PyTypeObject*>LeftOpen)
