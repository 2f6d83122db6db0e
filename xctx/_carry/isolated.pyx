# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Generators and coroutines that run in a context of their own, and so show nobody what they bind while they are suspended.

What they saw and bound is given to the unit that resumes them, where that is another one than before: the bindings in
their context are copied, now as those of the unit that runs.
"""
cimport cython

from xctx._runtime.python cimport PyContext_Enter, PyContext_Exit, xctx_copy_context, xctx_tstate
from xctx._runtime.runtime cimport connect, xctx_fork_count
from xctx._carry.application cimport Application, undo
from xctx._carry.snapshot cimport Snapshot
from xctx._core cimport Key, Unit
from xctx._runtime.functions cimport StepContext
from xctx._stores.bindings cimport Binding
from xctx._stores.blocks cimport each_chain, some_go_by_units, transfer_to_unit
from xctx._stores.xlocal cimport xlocal


connect()


def isolated(func):
    """Decorates a function so that nobody sees what it binds, nor disturbs it, while it is suspended.

    Each call runs in a copy of the context in which it takes its first step. So what a generator, async generator or
    coroutine binds stays with it between its steps, what its caller binds later does not reach it, and all that holds for
    context variables too. Resumed by another unit (another task, thread or greenlet), it goes on seeing what it saw: as
    when an event loop closes, in a task of its own, an async generator that was dropped.

    Args:
        func: a generator function, async generator function, coroutine function or any other callable.

    Returns:
        A function of the same kind.

    Raises:
        TypeError: `func` is not callable.
    """
    from xctx._runtime.wrappers import wrap
    return wrap(func, OwnContext, "isolated decorates")


@cython.final
@cython.no_gc_clear
cdef class OwnContext(StepContext):
    """A context of its own for the steps of one call: a copy of the current one, with a snapshot applied to it.

    Thread-safety: one step at a time, by any thread.
    Lifetime: held by the call. Its context lives as long as that or a copy of it does.
    """
    cdef object context            # None once it is closed
    cdef Application application   # of the snapshot, or None
    cdef dict units                # key -> the unit of the last step, of keys under which something was bound; or None

    def __cinit__(self, Snapshot snapshot=None):
        self.context = xctx_copy_context()
        if snapshot is not None:
            PyContext_Enter(self.context)
            try:
                self.application = snapshot.apply(False, NULL)
            finally:
                PyContext_Exit(self.context)

    cdef int enter(self) except -1:
        PyContext_Enter(self.context)
        try:
            if self.units is not None:
                for key, before in self.units.items():
                    now = transfer(<Key>key, <Unit>before)
                    if now is not before:
                        self.units[key] = now   # the key is there, so the dict keeps its size
        except BaseException:
            PyContext_Exit(self.context)
            raise
        return 0

    cdef int leave(self) except -1:
        try:
            if some_go_by_units():
                each_chain(xctx_tstate(), note_unit, <void*>self)
        finally:
            PyContext_Exit(self.context)
        return 0

    cdef int end(self) except -1:
        cdef object context = self.context
        cdef Application application = self.application
        self.context = self.application = None
        if application is not None and context is not None:
            PyContext_Enter(context)
            try:
                undo(application)
            finally:
                PyContext_Exit(context)
        return 0


cdef Unit transfer(Key key, Unit before):
    """Gives what the unit of the last step bound to the current one, which is returned.

    After a fork nothing is given: the bindings stay with the parent.
    """
    cdef Unit now = key.find(True)
    cdef tuple units
    if now is not before and before.forks == xctx_fork_count():
        units = key, before, now
        each_chain(xctx_tstate(), transfer_chain, <void*>units)
    return now


cdef int transfer_chain(Binding top, void *units) except -1:
    key, before, now = <tuple>units
    if (<xlocal>top.owner).key is key:
        transfer_to_unit(top, before, now)
    return 0


cdef int note_unit(Binding top, void *arg) except -1:
    cdef OwnContext here = <OwnContext>arg
    cdef Key key = (<xlocal>top.owner).key
    cdef Unit unit
    if key.func is not None or key.cached and key.shared_by_threads:
        return 0   # no step can be taken by another unit, or all units see it
    if here.units is None:
        here.units = {}
    if key not in here.units:
        unit = key.find(False)
        # Otherwise these bindings are other units', seen in a copied context, or a unit of work's, which the context has.
        if unit is not None and not unit.unit_kind.shared_by_threads:
            here.units[key] = unit
    return 0
