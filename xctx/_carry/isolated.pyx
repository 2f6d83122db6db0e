# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Generators and coroutines that run in a context of their own, so that no other code sees what they bind while they are
suspended.

If a different unit resumes them, that unit sees what they saw and bound: the bindings in their context are replaced by
bindings of that unit.
"""
cimport cython

from xctx._runtime.python cimport PyContext_Enter, PyContext_Exit, xctx_copy_context, xctx_tstate
from xctx._runtime.runtime cimport connect, xctx_fork_count
from xctx._carry.application cimport Application, undo
from xctx._carry.snapshot cimport Snapshot
from xctx._core cimport Key, Unit
from xctx._runtime.functions cimport StepContext
from xctx._stores.bindings cimport Binding
from xctx._stores.blocks cimport transfer_to_unit
from xctx._stores.chains cimport each_chain, some_go_by_units
from xctx._stores.xlocal cimport xlocal


connect()


def isolated(func):
    """Decorates a function so that, while it is suspended, no other code sees what it has bound, nor binds anything for it.

    Each call runs in a copy of the context in which it takes its first step. So what a generator, async generator or
    coroutine binds stays with it between its steps, what its caller binds later does not reach it, and the same holds for
    context variables. When another unit (task, thread or greenlet) resumes it, it goes on seeing what it saw. An event loop,
    for example, uses a task of its own to close an async generator that was dropped.

    Args:
        func: a generator function, async generator function, coroutine function or any other callable.

    Returns:
        A function of the same kind.

    Raises:
        TypeError: `func` is not callable.

    Thread-safety: calls are independent of each other. Each call takes one step at a time, in any thread.
    """
    from xctx._runtime.wrappers import wrap
    return wrap(func, OwnContext, "isolated decorates")


@cython.final
@cython.no_gc_clear
cdef class OwnContext(StepContext):
    """A context of its own for the steps of one call: a copy of the current one, with a snapshot applied to it.

    Thread-safety: one step at a time, by any thread.
    Lifetime: held by the call. The context lives as long as the call or a copy of the context does.
    """
    cdef object context            # None once it is closed
    cdef Application application   # of the snapshot, or None
    cdef dict units                # for each key under which something was bound, the unit of the last step; or None

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
    """Transfers what the unit of the last step has bound to the current unit, which is returned.

    After a fork nothing is transferred: the bindings stay with the parent.
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
        return 0   # every step is taken by the same unit, or all units see the binding
    if here.units is None:
        here.units = {}
    if key not in here.units:
        unit = key.find(False)
        # Otherwise the bindings belong to other units, because the context is a copy, or to a unit of work, which goes
        # with the context.
        if unit is not None and not unit.unit_kind.shared_by_threads:
            here.units[key] = unit
    return 0
