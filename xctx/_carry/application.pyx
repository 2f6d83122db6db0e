# cython: language_level=3, freethreading_compatible=True, binding=True, embedsignature=True, embedsignature.format=python
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""What one unit saw, and how it is bound for another.

A snapshot holds what the unit that took it saw: for each xlocal one *flattened* binding, which has no chain beneath and so
keeps alive only what is visible. Bindings never change, so taking one costs the same whatever it holds.

Applying it binds anew, for the unit that applies it, behind a *barrier*: within, each xlocal of the snapshot shows
exactly what it showed when the snapshot was taken. A snapshot of all xlocals also puts an empty barrier before the others.

    unit U   [top] --> a=1, b=2                     capture() in U
    unit V   [top] --> a=1, b=2 | c=3               applied in V, which has bound c outside: seen again at the end
"""
cimport cython

from xctx._runtime.python cimport xctx_publish_before, xctx_tstate
from xctx._core cimport Key
from xctx._carry.variables cimport reset_variables, set_variables
from xctx._runtime.runtime cimport connect
from xctx._stores.bindings cimport Binding, bind
from xctx._stores.blocks cimport BoundEntry, bind_snapshot, each_chain, unbind_entry, visible_here
from xctx._stores.xlocal cimport validated, xlocal
from contextvars import ContextVar


connect()


@cython.final
@cython.freelist(32)
cdef class Application:
    """One application of a snapshot, until it is undone.

    Thread-safety: used by whoever applies and undoes it, one after the other.
    Lifetime: held by the call or block that applied it.
    """


@cython.final
cdef class SnapshotExtras:
    """What few snapshots have."""


cdef class Captured:
    """What one unit saw in xlocals: the part of a snapshot that others apply. `Snapshot` derives from it.

    Thread-safety: all operations, from any thread.
    Lifetime: holds what was visible, as long as it lives.
    """

    cdef int add(self, Binding flattened) except -1:
        if self.first is None:
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
                xctx_publish_before()
                self.extras = extras
            return self.extras

    cdef tuple unresolved(self):
        """What came from another process and was not looked for yet; or None."""
        cdef SnapshotExtras extras = self.extras
        if extras is None:
            return None
        with cython.critical_section(extras):   # the thread that resolves it drops the tuple
            return extras.unresolved

    cdef bint hides_all(self):
        """Whether nothing is seen, where this is applied, of what was bound outside."""
        return self.whole and self.barriers

    cdef Application apply(self, bint shared):
        """Binds all of it for the current unit.

        Args:
            shared: whether it is applied in the context that it was taken in. Then what goes by the context, and what
                the same unit bound, is seen already.
        """
        cdef Application application = Application.__new__(Application)
        cdef SnapshotExtras extras = self.extras
        if extras is not None and extras.unresolved is not None:
            self.resolve(extras)
        try:
            if self.whole and not shared and xctx_tstate().context != NULL:
                application.applied = self
                each_chain(xctx_tstate(), hide_others, <void*>application)
                application.applied = None
            if self.first is not None:
                self.bind_one(application, self.first, shared)
                application.main = application.entries
            if self.others is not None:
                for flattened in self.others:
                    self.bind_one(application, <Binding>flattened, shared)
            if extras is not None and extras.variables is not None and not shared:
                application.variables = set_variables(extras.variables)
        except BaseException:
            undo(application)
            raise
        return application

    cdef int bind_one(self, Application application, Binding flattened, bint shared) except -1:
        cdef Key key = (<xlocal>flattened.owner).key
        if shared and (key.inherits or flattened.unit is not None and key.find(False) is flattened.unit):
            return 0
        application.entries = bind_snapshot(flattened, self.barriers, application.entries)
        return 0

    cdef int resolve(self, SnapshotExtras extras) except -1:
        """Finds the xlocals and context variables of this process that have the names of those in another one."""
        from xctx._runtime.importable import object_of_type_at
        cdef Captured found = Captured.__new__(Captured)
        cdef tuple unresolved = self.unresolved()
        if unresolved is None:   # another thread was faster
            return 0
        named, variables = unresolved
        for place, names in named:
            found.add(validated(object_of_type_at(xlocal, *place), names))
        at_places, variables = variables, []
        for place, value in at_places:
            variables.append((object_of_type_at(ContextVar, *place), value))
        with cython.critical_section(extras):
            if extras.unresolved is not None:
                self.first = found.first
                self.others = found.others
                extras.variables = variables or None
                xctx_publish_before()
                extras.unresolved = None
        return 0


cdef int hide_others(Binding top, void *arg) except -1:
    cdef Application application = <Application>arg
    # All that the unit has bound is hidden, also what a barrier hides already: that one may be taken out before this one.
    if not application.applied.has(<xlocal>top.owner) and visible_here(top, xctx_tstate()) is not None:
        application.entries = bind_snapshot(bind_nothing(<xlocal>top.owner), True, application.entries)
    return 0


cdef Binding bind_nothing(xlocal owner):
    """A binding in which nothing is bound, and which is in no chain."""
    return bind(owner, None, (), (), None, None, False)


cdef int undo(Application application) except -1:
    """Takes out what it bound, of the current context and of the one in which it was applied."""
    cdef BoundEntry entry = application.entries
    if application.variables is not None:
        reset_variables(application.variables)
    while entry is not None:
        unbind_entry(entry)
        entry = entry.outer
    return 0


@cython.final
cdef class AppliedBlock:
    """A block in which a snapshot is applied, to be entered once.

    Thread-safety: used by the code that entered it.
    Lifetime: held by that code.
    """
    cdef Captured snapshot          # these two never change
    cdef bint shared
    cdef Application application    # while it is entered

    def __init__(self, Captured snapshot not None, bint shared=False):
        self.snapshot = snapshot
        self.shared = shared

    def __enter__(self):
        self.application = self.snapshot.apply(self.shared)
        return self

    def __exit__(self, *exc):
        cdef Application application = self.application
        self.application = None
        if application is not None:
            undo(application)
        return False
