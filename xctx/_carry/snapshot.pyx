# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Snapshots: what one unit saw, and how it is bound for another.

A snapshot holds what the unit that took it saw: for each xlocal one *flattened* binding, which has no chain beneath and so
keeps alive only what is visible. Bindings never change, so taking one costs the same whatever it holds.

Applying it makes new bindings, of the unit that applies it, behind a *barrier*: within, each xlocal of the snapshot shows
exactly what it showed when the snapshot was taken. A snapshot of all xlocals also puts an empty barrier before the others.

    unit U   [top] --> a=1, b=2                     capture() in U
    unit V   [top] --> a=1, b=2 | c=3               applied in V, which has bound c outside: seen again at the end
"""
cimport cython
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_GET_SIZE

from xctx._carry.application cimport (Application, Repeatable, apply_again, bind_again, bind_in, can_be_spare, detach,
                                      is_of_this_process, is_right_under, make_repeatable, new_application, take_off, undo)
from xctx._carry.variables cimport set_variables
from xctx._core cimport Key, Unit
from xctx._runtime.python cimport (FREE_THREADED, PyObject_GenericGetAttr, PyObject_Vectorcall_, PyThreadState,
                                   xctx_context_vars, xctx_copy_context, xctx_forbid_instances, xctx_load_int,
                                   xctx_publish, xctx_published, xctx_store_int, xctx_tstate, xctx_type_put)
from xctx._runtime.calls cimport PyMethodDef, xctx_make_function, xctx_make_method
from xctx._runtime.runtime cimport connect, xctx_fork_count
from xctx._runtime.units cimport WORK
from xctx._stores.bindings cimport Binding, bind, flatten, group_of
from xctx._stores.blocks cimport BoundEntry
from xctx._stores.chains cimport BindingVariable, chain_of, each_chain, settle_here
from xctx._stores.seen cimport BY_HAND, BY_STATEMENT, Place, binding_here, find_place, visible_here, xctx_entering
from xctx._stores.names cimport is_reserved
from xctx._stores.statements cimport Block, BlockKind, OpenByHand, by_hand, install_block_methods, new_block, new_open_by_hand
from xctx._stores.works cimport UnitOfWork, is_work, open_work
from xctx._stores.xlocal cimport validated, xlocal
from xctx._stores.local cimport IN_CONTEXT, carried_names, keep_in_unit, local, new_content, values_to_carry
from xctx import _core
from xctx._runtime import copies
from xctx._stores import works
from contextvars import ContextVar


connect()

cdef extern from *:
    """
    #define xctx_first_at(snapshot) XCTX_AT(snapshot, first)
    #define xctx_extras_at(snapshot) XCTX_AT(snapshot, extras)
    #define xctx_spare_at(snapshot) XCTX_AT(snapshot, spare)
    #define xctx_unresolved_at(extras) XCTX_AT(extras, unresolved)
    """
    PyObject **at_first "xctx_first_at"(Snapshot)
    PyObject **at_extras "xctx_extras_at"(Snapshot)
    PyObject **at_spare "xctx_spare_at"(Snapshot)
    PyObject **at_unresolved "xctx_unresolved_at"(SnapshotExtras)

cdef PyObject *NONE = <PyObject*>None
cdef object MISSING = object()   # not Token.MISSING: subinterpreters of CPython 3.12.1 and 3.13.0 lack it
cdef xlocal HERE = works.here   # of units of work


# --- taking one ------------------------------------------------------------------------------------------------------

cdef object capture_call(PyObject *_module, PyObject **args, Py_ssize_t n, PyObject *kwnames):
    cdef Snapshot taken = Snapshot.__new__(Snapshot)
    cdef PyThreadState *tstate = xctx_tstate()
    cdef Binding top
    cdef Py_ssize_t i
    taken.barriers = True
    for i in range(n):
        if isinstance(<object>args[i], local):
            taken.take_local(<local>args[i])
            continue
        if not isinstance(<object>args[i], xlocal):
            raise TypeError(f"capture takes xlocals and locals, it was given {<object>args[i]!r}")
        if not taken.has(<xlocal>args[i]):
            top = binding_here(<xlocal>args[i], tstate)
            taken.add(bind_nothing(<xlocal>args[i]) if top is None else flatten(top))
    if n == 0:
        taken.whole = True
        if tstate.context != NULL:
            each_chain(tstate, take_visible, <void*>taken)
    if kwnames != NULL:
        for i in range(PyTuple_GET_SIZE(<tuple>kwnames)):
            name = (<tuple>kwnames)[i]
            if name == "contextvars":
                taken.take_variables(<object>args[n + i])
            elif name == "missing":
                taken.skips = means_skip(<object>args[n + i])
            else:
                raise TypeError(f"capture takes contextvars and missing, and no keyword argument {name!r}")
    return taken


cdef int take_visible(Binding top, void *taken) except -1:
    top = visible_here(top, xctx_tstate())
    if top is not None and (top.extends_outer or PyTuple_GET_SIZE(top.names)):
        (<Snapshot>taken).add(flatten(top))
    return 0


cdef bint means_skip(object missing) except -1:
    if missing != "error" and missing != "skip":
        raise ValueError(f"missing is 'error' or 'skip', not {missing!r}")
    return missing == "skip"


def nothing(*xlocals):
    """A snapshot in which nothing is bound: ``with xctx.nothing():`` hides what this unit has bound, until the block is left.

    What is bound within is seen, as always, and what is started there inherits nothing from outside. It decorates functions,
    too, as any :class:`Snapshot` does. Context variables and defaults of classes are left alone.

    Args:
        xlocals: those of which nothing is to be seen. Default: all.

    Raises:
        TypeError: one of `xlocals` is no xlocal.
    """
    cdef Snapshot made = Snapshot.__new__(Snapshot)
    made.barriers = True
    made.whole = not xlocals
    for owner in xlocals:
        if not isinstance(owner, xlocal):
            raise TypeError(f"nothing takes xlocals, it was given {owner!r}")
        if not made.has(<xlocal>owner):
            made.add(bind_nothing(<xlocal>owner))
    return made


def snapshot_of(bindings, barriers=True):
    """A snapshot made by hand, of an iterable of (xlocal, dict of names and values); not of all xlocals.

    Args:
        barriers: whether each xlocal shows, where it is applied, only the names given here.
    """
    cdef Snapshot made = Snapshot.__new__(Snapshot)
    made.barriers = barriers
    for owner, names in bindings:
        made.add(validated(owner, names))
    return made


def binds_nothing(Snapshot snapshot not None):
    """Whether nothing was bound where the snapshot of all xlocals was taken, nor any unit of work open."""
    return xctx_published(at_first(snapshot)) == NONE and xctx_published(at_extras(snapshot)) == NONE


def from_parts(whole, barriers, skips, unresolved):
    """A snapshot from another process or interpreter. It looks for its xlocals when it is applied."""
    cdef Snapshot made = Snapshot.__new__(Snapshot)
    made.whole, made.barriers, made.skips = whole, barriers, skips
    made.make_extras().unresolved = unresolved
    return made


def from_crossing(whole, barriers, skips, *parts):
    """A snapshot from another interpreter of this process."""
    from xctx._carry.crossing import together
    return from_parts(whole, barriers, skips, together(*parts))


# --- snapshots -------------------------------------------------------------------------------------------------------

@cython.final
@cython.no_gc_clear
cdef class SnapshotExtras:
    """What only few snapshots have."""

    cdef list all_variables(self):
        """Pairs of a context variable and its value: those that were named, and those of locals."""
        cdef list variables = list(self.variables or ())
        for store, values in self.contents or ():
            variables.append(((<local>store).var, values))
        return variables


@cython.final
@cython.no_gc_clear
@cython.freelist(32)
cdef class Snapshot:
    """Snapshot()\n--\n\nWhat one unit saw in xlocals, to be seen by others. :func:`capture` takes it.

    ``with snapshot:`` and :meth:`run` bind it for the unit that runs, until the block or call ends. Within, each xlocal of
    the snapshot shows what it showed when the snapshot was taken, and nothing that the unit bound outside; a snapshot
    of all xlocals shows nothing in any other. What is bound within comes on top, as always. ``snapshot(f)`` wraps
    `f` so that it runs with the snapshot applied: see :func:`carry`.

    A snapshot may be applied any number of times, nested, in many units at once, in the unit that it came from. It pickles,
    as the names and values of xlocals that the other process finds by module and qualified name; what cannot go is named
    in one TypeError, or left out with ``capture(missing="skip")``. An xlocal that the other process lacks is named in a
    LookupError there, when the snapshot is applied.

    Thread-safety: all operations, from any thread.
    Lifetime: holds what was visible, as long as it lives; what was bound by applying it, until the block or call ends.
    """

    cdef int add(self, Binding flattened) except -1:
        if self.first is None:
            self.first = flattened
        elif is_work(flattened):   # the first: which unit others are bound for depends on it
            self.others = [self.first] if self.others is None else [self.first, *self.others]
            self.first = flattened
        elif self.others is None:
            self.others = [flattened]
        else:
            self.others.append(flattened)
        return 0

    cdef list bindings(self):
        return [] if self.first is None else [self.first] if self.others is None else [self.first, *self.others]

    cdef bint has(self, xlocal owner) noexcept:
        if self.first is None or self.first.owner is owner:
            return self.first is not None
        if self.others is not None:
            for flattened in self.others:
                if (<Binding>flattened).owner is owner:
                    return True
        return False

    cdef SnapshotExtras make_extras(self):
        """The extras; made, where there are none."""
        with cython.critical_section(self):
            if self.extras is None:
                extras = SnapshotExtras.__new__(SnapshotExtras)
                xctx_publish(at_extras(self), <PyObject*>extras)
            return self.extras

    cdef SnapshotExtras extras_now(self):
        """The extras, or None. Another thread may be making them."""
        return <SnapshotExtras>xctx_published(at_extras(self))

    cdef tuple unresolved(self):
        """What came from another process and was not looked for yet; or None."""
        cdef SnapshotExtras extras = self.extras_now()
        if extras is None:
            return None
        with cython.critical_section(extras):   # the thread that resolves it drops the tuple
            return extras.unresolved

    cdef bint hides_all(self):
        """Whether nothing is seen, where this is applied, of what was bound outside."""
        return self.whole and self.barriers

    cdef Application apply(self, bint shared, Place *place, bint notes=False):
        """Binds all of it for the current unit.

        Args:
            shared: whether it is applied in the context that it was taken in. Then what goes by the context, and what
                the same unit bound, is seen already.
            place: the generator whose block this is, as `find_place` found it; NULL if there is none.
            notes: whether it is to note what the context mapped before, and what afterwards.
        """
        cdef Application application = new_application(notes)
        cdef SnapshotExtras extras = self.extras_now()
        if extras is not None and xctx_published(at_unresolved(extras)) != NONE:
            self.resolve(extras)
        try:
            if self.first is not None:
                if is_work(self.first) and not is_of_here(self.first):
                    make_work_anew(self)
                self.bind_one(application, self.first, shared, place)
                application.main = application.entries
            if self.others is not None:
                for flattened in self.others:
                    self.bind_one(application, <Binding>flattened, shared, place)
            application.own = application.entries
            if self.whole and not shared:
                self.hide_others(application, place)
            if extras is not None and not shared and (extras.variables is not None or extras.contents is not None):
                application.variables = set_variables(extras.all_variables())
        except BaseException:
            undo(application)
            raise
        return application

    cdef Application apply_repeatably(self):
        """The same, outside of generators. `end_application` must undo it, and keeps what can be used again."""
        cdef PyThreadState *tstate = xctx_tstate()
        cdef Repeatable ready = None
        cdef Application application
        cdef bint remakes = False
        if FREE_THREADED:
            settle_here()
        if xctx_published(at_extras(self)) != NONE or tstate.context == NULL:
            return self.apply(False, NULL)
        if self.first is not None and is_work(self.first) and not is_of_here(self.first):
            # In a forked child, which makes a new unit of work: what was bound for that of the parent is not used again.
            with cython.critical_section(self):
                self.ready = None
                xctx_publish(at_spare(self), NONE)
            return self.apply(False, NULL)
        ready = self.take_ready(xctx_context_vars(tstate.context), &remakes)
        if ready is not None:
            if apply_again(ready):
                application = ready.application
                application.snapshot = self
                return application
            with cython.critical_section(self):
                self.ready = None
        if not remakes:
            return self.apply_what_is_spare()
        application = self.apply(False, NULL, True)
        try:
            ready = make_repeatable(application)
        except BaseException:
            undo(application)
            raise
        if ready is not None:
            application.snapshot = self
            with cython.critical_section(self):
                self.ready = ready
        return application

    cdef Repeatable take_ready(self, PyObject *mapping, bint *remakes):
        # Takes the Repeatable, if it can be applied in a context with this mapping. Otherwise gives None, and says whether to
        # make one. That takes as long as a few applications, so it is done the more rarely the less useful it turned out.
        cdef Repeatable ready
        with cython.critical_section(self):
            ready = self.ready
            if ready is not None:
                if ready.busy:   # it is applied somewhere else
                    return None
                if ready.beneath == mapping and ready.application.applied is not None:
                    ready.busy = True
                    if self.patience > 0:
                        self.patience -= 1
                    return ready
            self.waited += 1
            remakes[0] = self.waited > self.patience + 2
            if remakes[0]:
                self.waited = 0
                self.patience = min(2 * self.patience + 4, MOST_PATIENCE)
        return None

    cdef Application apply_what_is_spare(self):
        """The same, in any context, with the bindings of an earlier application if there are any that are not in use."""
        cdef Application application = None
        if xctx_published(at_spare(self)) != NONE:
            with cython.critical_section(self):
                application = self.spare
                xctx_publish(at_spare(self), NONE)
        if application is None or not is_of_this_process(application):
            application = self.apply(False, NULL)
            if xctx_load_int(<int*>&self.again) and can_be_spare(application):
                application.snapshot = self
            xctx_store_int(<int*>&self.again, True)   # most snapshots are applied once
            return application
        try:
            bind_again(application)
            if self.whole:
                self.hide_others(application, NULL)
        except BaseException:
            undo(application)
            raise
        application.snapshot = self
        return application

    cdef int hide_others(self, Application application, Place *place) except -1:
        # Called when what is in the snapshot is bound, because context variables then have it cached and need no search.
        cdef Hiding hiding
        if xctx_tstate().context != NULL:
            hiding.snapshot = <PyObject*>self
            hiding.application = <PyObject*>application
            hiding.place = place
            each_chain(xctx_tstate(), hide_other, &hiding)
        return 0

    cdef int bind_one(self, Application application, Binding flattened, bint shared, Place *place) except -1:
        cdef Key key = (<xlocal>flattened.owner).key
        if shared and (key.inherits or flattened.unit is not None and key.find(False) is flattened.unit):
            return 0
        return bind_in(application, <BindingVariable>flattened.owner, flattened, self.barriers, place)

    cdef int resolve(self, SnapshotExtras extras) except -1:
        """Finds the xlocals and context variables of this process that have the names of those in another one."""
        cdef Snapshot found = Snapshot.__new__(Snapshot)
        cdef tuple unresolved = self.unresolved()
        if unresolved is None:   # another thread was faster
            return 0
        from xctx._runtime.importable import object_of_type   # not at the top: importing xctx stays cheap
        named, variables, locals_, kept = unresolved
        for place, names in named:
            found.add(validated(object_of_type(xlocal, place), names))
        if kept is not None:
            of_work = []
            for place, names in kept:
                of_work.append((object_of_type(local, place), names))
            found.add(new_work(of_work))
        contents = []
        for place, names in locals_:
            contents.append(content_for(object_of_type(local, place), names))
        at_places, variables = variables, []
        for place, value in at_places:
            variables.append((object_of_type(ContextVar, place), value))
        with cython.critical_section(extras):
            if extras.unresolved is not None:
                self.first = found.first
                self.others = found.others
                extras.variables = variables or None
                extras.contents = contents or None
                xctx_publish(at_unresolved(extras), NONE)   # last: a thread that finds it so uses the rest
        return 0

    cdef int take_local(self, local store) except -1:
        """Takes what is kept here in a local that goes where contexts go."""
        cdef SnapshotExtras extras
        cdef Binding top
        if store.key.index == WORK:
            if not self.has(HERE):
                top = binding_here(HERE, xctx_tstate())
                self.add(bind_nothing(HERE) if top is None else flatten(top))
        elif store.storage == IN_CONTEXT:
            extras = self.make_extras()
            if extras.contents is None:
                extras.contents = []
            extras.contents.append((store, values_to_carry(store)))
        else:
            raise TypeError(f"capture takes locals with the keys flow, work and context, it was given {store!r}, "
                            f"which goes by {store.key!r}")
        return 0

    cdef int take_variables(self, contextvars) except -1:
        cdef list taken = []
        for var in contextvars:
            if not isinstance(var, ContextVar):
                raise TypeError(f"contextvars are context variables, not {var!r}")
            value = var.get(MISSING)
            if value is not MISSING:
                taken.append((var, value))
        if taken:
            self.make_extras().variables = taken
        return 0

    def __getattribute__(self, name):
        if is_reserved(<PyObject*>name) and (name == "__enter__" or name == "__exit__"):
            return by_hand(self, name)
        return PyObject_GenericGetAttr(self, name)

    def __call__(self, func):
        """Gives `func` wrapped so that it runs with this snapshot applied: see :func:`carry`."""
        return wrap(self, func)

    def __repr__(self):
        cdef Binding each
        cdef tuple unresolved = self.unresolved()
        told = []
        if unresolved is not None:
            for place, names in unresolved[0] + unresolved[2]:
                told.append(f"{place[1] if type(place) is tuple else type(place).__name__}: {', '.join(names) or 'nothing'}")
            if unresolved[3] is not None:
                told.append("a unit of work")
        else:
            for each in self.bindings():
                if is_work(each):
                    told.append("a unit of work" if each.names else "no unit of work")
                    continue
                told.append(f"{type(each.owner).__name__}: {', '.join(each.names) or 'nothing'}")
        return f"<snapshot of {'; '.join(told) or 'nothing'}>"

    cdef tuple parts(self):
        """What goes to another process or interpreter: xlocals with names and values, context variables with values, locals
        with names and values, and the locals of the unit of work, or None."""
        cdef Binding each
        cdef SnapshotExtras extras = self.extras_now()
        cdef tuple unresolved = self.unresolved()
        cdef list named = [], locals_ = []
        cdef object kept = None
        if unresolved is not None:
            return unresolved
        for each in self.bindings():
            if is_work(each):
                kept = kept_for(each)
            else:
                named.append((each.owner, dict(zip(each.names, each.values))))
        if extras is not None and extras.contents is not None:
            for store, values in extras.contents:
                locals_.append((store, carried_names(values)))
        return named, [] if extras is None or extras.variables is None else extras.variables, locals_, kept

    def __reduce_ex__(self, protocol):
        from xctx._carry.portable import pickling, portable
        going = portable(*self.parts(), pickling(protocol), self.skips)
        return from_parts, (self.whole, self.barriers, self.skips, going)

    def _cross(self):
        from xctx._carry.crossing import that_cross
        return __name__, "from_crossing", self.whole, self.barriers, self.skips, *that_cross(self.parts(), self.skips)


xctx_forbid_instances(<PyTypeObject*>SnapshotExtras)
if hasattr(copies, "let_cross"):   # from 3.14 on
    copies.let_cross(Snapshot)


cdef int end_application(Application application) except -1:
    cdef Snapshot snapshot = <Snapshot>application.snapshot
    cdef bint repeats
    application.snapshot = None
    if not application.applies:
        undo(application)
        if snapshot is not None and detach(application):
            with cython.critical_section(snapshot):
                xctx_publish(at_spare(snapshot), <PyObject*>application)
        return 0
    repeats = take_off(application)
    with cython.critical_section(snapshot):
        if snapshot.ready is not None and snapshot.ready.application is application:
            if repeats:
                snapshot.ready.busy = False
            else:
                snapshot.ready = None
    return 0


cdef struct Hiding:
    PyObject *snapshot      # all are borrowed from `apply`
    PyObject *application
    Place *place


cdef int hide_other(Binding top, void *arg) except -1:
    cdef Hiding *hiding = <Hiding*>arg
    # All that the unit has bound is hidden, also what a barrier hides already: that barrier may be taken out before this one.
    if (<Snapshot>hiding.snapshot).has(<xlocal>top.owner):
        return 0
    if top.home is not None or not is_right_under((<xlocal>top.owner).key):
        (<Application>hiding.application).depends = True
    if visible_here(top, xctx_tstate()) is not None:
        bind_in(<Application>hiding.application, <BindingVariable>top.owner, None, True, hiding.place)
    return 0


cdef Binding bind_nothing(xlocal owner):
    """A binding in which nothing is bound, and which is in no chain."""
    return bind(owner, None, (), (), None, None, False)


cdef Key TASKS = _core.task


# --- units of work that go to other processes ------------------------------------------------------------------------

cdef bint is_of_here(Binding of_work) noexcept:
    """Whether the unit of work of a binding is of this process, and not of one that it was forked from."""
    return not of_work.names or (<UnitOfWork>of_work.values[0]).unit.forks == xctx_fork_count()


cdef object kept_for(Binding of_work):
    """What is kept for the unit of work of a binding: pairs of a local and its names; None where that has ended."""
    cdef Unit unit
    if not of_work.names:
        return None
    unit = (<UnitOfWork>of_work.values[0]).unit
    from xctx._stores.inspection import stores_of
    return stores_of(unit) if unit.alive else None


cdef int make_work_anew(Snapshot snapshot) except -1:
    """In a forked child: puts a new unit of work in the place of the parent's."""
    cdef Binding made = work_of_parent(snapshot.first)
    with cython.critical_section(snapshot):
        if not is_of_here(snapshot.first):   # otherwise another thread was faster
            Py_INCREF(snapshot.first)   # never released: a thread may be using it
            xctx_publish(at_first(snapshot), <PyObject*>made)
    return 0


cdef Binding work_of_parent(Binding of_work):
    """In a forked child: a binding of a new unit of work, in the place of the parent's, if that was open."""
    cdef Unit unit = (<UnitOfWork>of_work.values[0]).unit
    if xctx_load_int(<int*>&unit.ended):
        return bind_nothing(HERE)
    from xctx._carry.portable import that_pickle
    from xctx._stores.inspection import kept_by_parent
    return new_work(that_pickle(kept_by_parent(unit)))


cdef Binding new_work(list kept):
    """A binding of a new unit of work, which ends with the snapshot.

    Args:
        kept: pairs of a local and the names and values that were kept in it for one of another process.
    """
    cdef UnitOfWork opened = open_work(None)
    for store, names in kept:
        if (<local>store).key.index == WORK:
            keep_in_unit(<local>store, opened.unit, names)
    return bind(HERE, None, ("work",), (opened,), None, None, False)


cdef tuple content_for(local store, dict names):
    """A local, and what it is to show where a snapshot is applied."""
    if store.storage != IN_CONTEXT:
        raise LookupError(f"{store!r} goes by {store.key!r} in this process, and flow or context was wanted")
    return store, new_content(store, names)


# What a with statement does with a snapshot, and what an ExitStack or a hook does: see xctx._stores.statements.

cdef object enter(Block block):
    return enter_by(block, BY_STATEMENT)


cdef object enter_by(Block block, xctx_entering how):
    cdef Snapshot snapshot = <Snapshot>block.opener
    cdef Place place
    if find_place(&place, how):
        block.undo = snapshot.apply(False, &place)
    elif how == BY_HAND:
        block.undo = snapshot.apply(False, NULL)
    else:
        block.undo = snapshot.apply_repeatably()
    block.opener = None
    return snapshot


cdef object leave(Block block):
    applied = block.undo
    if applied is None:
        raise RuntimeError("this snapshot's block is left, but it was not entered")
    block.undo = None
    end_application(<Application>applied)
    return False


cdef object enter_by_hand(object opener):
    cdef Snapshot snapshot = <Snapshot>opener
    cdef OpenByHand opened = opened_by_hand(snapshot)
    cdef Block block = new_block(snapshot, &KIND)
    cdef BoundEntry main
    enter_by(block, BY_HAND)
    try:
        main = (<Application>block.undo).main
        if main is None:   # it binds nothing: no chain says where it is open
            opened.add(group_of(bind(None, None, (), (), None, None, False)), TASKS.find(True), block)
        else:
            opened.add(group_of(main.made), main.made.unit, block)
    except BaseException:
        leave(block)
        raise
    return snapshot


cdef object leave_by_hand(object opener):
    """Leaves the innermost block here that was entered by hand, or else the last one of this unit, or the last one."""
    cdef Snapshot snapshot = <Snapshot>opener
    cdef OpenByHand opened = opened_by_hand(snapshot)
    cdef Binding first = <Binding>xctx_published(at_first(snapshot))
    cdef Key key = TASKS if first is None else (<xlocal>first.owner).key
    cdef Block block = opened.take_innermost(None if first is None else chain_of(<xlocal>first.owner))
    if block is None:
        block = opened.take_last(None if key.inherits else key.find(False))
    if block is None:
        raise RuntimeError("this snapshot's block is left, but it was not entered")
    return leave(block)


cdef OpenByHand opened_by_hand(Snapshot snapshot):
    cdef SnapshotExtras extras = snapshot.make_extras()
    with cython.critical_section(extras):
        if extras.opened is None:
            extras.opened = new_open_by_hand()
        return extras.opened


cdef BlockKind KIND
KIND.enter = enter
KIND.leave = leave
KIND.enter_by_hand = enter_by_hand
KIND.leave_by_hand = leave_by_hand
install_block_methods(Snapshot, &KIND)


cdef wrapping wrap = NULL   # of the process: set while xctx is imported


cdef void set_wrapping(wrapping function) noexcept:
    global wrap
    wrap = function


cdef object call_in(Snapshot snapshot, PyObject *func, PyObject **args, Py_ssize_t n, PyObject *kwnames):
    cdef Application application = snapshot.apply_repeatably()
    try:
        return PyObject_Vectorcall_(func, args, n, kwnames)
    finally:
        end_application(application)


cdef object run_call(PyObject *snapshot, PyObject **args, Py_ssize_t n, PyObject *kwnames):
    if n == 0:
        raise TypeError("run calls a function, it was given none")
    return call_in(<Snapshot>snapshot, args[0], args + 1, n - 1, kwnames)


def copy_context():
    """A copy of the current context: as :func:`contextvars.copy_context`, in which on 3.11 a collection can cause a crash."""
    return xctx_copy_context()


def current_context():
    """The context that is current, not a copy; made where there is none."""
    if xctx_tstate().context == NULL:
        xctx_copy_context()
    return <object>xctx_tstate().context


@cython.final
@cython.no_gc_clear
cdef class AppliedBlock:
    """A block in which a snapshot is applied, to be entered once.

    Thread-safety: used by the code that entered it.
    Lifetime: held by that code.
    """
    cdef Snapshot snapshot          # these two never change
    cdef bint shared
    cdef Application application    # while it is entered

    def __cinit__(self, Snapshot snapshot not None, bint shared=False):
        self.snapshot = snapshot
        self.shared = shared

    def __enter__(self):
        self.application = self.snapshot.apply(self.shared, NULL)
        return self

    def __exit__(self, *exc):
        cdef Application application = self.application
        self.application = None
        if application is not None:
            undo(application)
        return False


cdef const char *RUN_DOC = b"""run($self, func, /, *args, **kwargs)
--

Calls ``func(*args, **kwargs)`` with this snapshot applied, and gives what it returns.

Raises:
    LookupError: the snapshot was pickled, and this process has no xlocal by the name of one in it.
"""

cdef const char *CAPTURE_DOC = b"""capture(*xlocals, contextvars=(), missing='error')
--

Takes what this unit sees in xlocals, at this moment, to be applied elsewhere.

Its cost does not grow with the values. The :class:`Snapshot` keeps the values that are visible now alive, and nothing else.

Args:
    xlocals: those to take. Default: all that have something bound here.
    contextvars: context variables whose values come along. One that is not set now is left alone where the snapshot is
        applied.
    missing: what becomes of a value that cannot be pickled, or of an xlocal or context variable that no module has by
        name, when the snapshot is pickled: ``"error"`` raises a TypeError that names it, ``"skip"`` leaves it out.

Returns:
    The :class:`Snapshot`.

Raises:
    TypeError: one of `xlocals` is no xlocal, or one of `contextvars` no context variable.
    ValueError: `missing` is something else.

Thread-safety: it may be called from any thread.
"""

cdef PyMethodDef run_definition, capture_definition   # of the functions made here, for as long as the process lives

xctx_type_put(<PyObject*>Snapshot, "run", xctx_make_method(&run_definition, <PyTypeObject*>Snapshot, b"run", run_call, RUN_DOC))
capture = xctx_make_function(&capture_definition, __name__, b"capture", capture_call, CAPTURE_DOC)
