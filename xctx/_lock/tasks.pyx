# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Acquiring a lock in an asyncio task, by a coroutine: other tasks go on meanwhile.

The unit that asked for the lock then holds it, whichever task awaits the coroutine.
"""
cimport cython
from cpython.object cimport Py_TYPE, PyObject, PyTypeObject
from libc.math cimport INFINITY as FOREVER

from xctx._lock.acquisition cimport (BEGUN, COUNTED, LOST, MISUSED, MODES, BaseLock, begin, begin_upgrade, find_unit_lock,
                                     leave_slowly, misuse, release, seconds_of, tell_of_death_if_any, tell_of_timeout)
from xctx._lock.attempt cimport (FORKED, HELD, OVERTAKEN, PAUSE_MS, WAITS, Attempt, is_beneath, new_attempt, overtake,
                                 refuse_without_loop)
from xctx._lock.mappings cimport queued, tell_of_loss
from xctx._lock.protocol cimport EXCLUSIVE, SHARED
from xctx._lock.unit_lock cimport UnitLock, take
from xctx._runtime.parking cimport TaskWaiter, task_waiter
from xctx._runtime.python cimport (PyThread_get_thread_ident, xctx_forbid_instances, xctx_load_int, xctx_mend_metatype,
                                   xctx_taken)
from xctx._runtime.runtime cimport connect, xctx_fork_count
from xctx._runtime.scheduling cimport current_loop, monotonic
from xctx._runtime.units cimport Unit

cdef extern from *:
    """
    static void xctx_give_next(PyTypeObject *type, iternextfunc function) { type->tp_iternext = function; }
    """
    ctypedef PyObject *(*next_function "iternextfunc")(PyObject *) except? NULL
    void give_next "xctx_give_next"(PyTypeObject *, next_function)

cdef extern from "Python.h":
    ctypedef enum PySendResult:
        PYGEN_RETURN
        PYGEN_ERROR
        PYGEN_NEXT
    PySendResult PyIter_Send(object, object, PyObject **) except PYGEN_ERROR
    void PyErr_SetObject(object, object)

connect()


# --- the steps --------------------------------------------------------------------------------------------------------------

async def acquire_in_task(BaseLock lock, UnitLock owner, Unit asker, int mode, double seconds, bint mend):
    """Whether the lock is held by the unit `asker`, whose UnitLock is `owner`. To be awaited through `acquiring`."""
    cdef double until = FOREVER if seconds == FOREVER else monotonic() + seconds
    cdef TaskWaiter waiter
    cdef int found
    while True:
        check_asker(owner)
        if owner.c.any == 0 and (mode == SHARED or not queued(owner.c.mapping)):
            if take(&owner.c, mode):
                found = HELD
                break
            found = BEGUN
        else:
            found = begin(owner, mode, lock.reentrant)
        if found == BEGUN:
            found = await wait_in_task(new_attempt(owner, mode, until, True))
            if found != OVERTAKEN:
                break
        elif found == COUNTED:
            return True
        elif found == MISUSED:
            if seconds == 0 and lock.holder.find(True) is not asker:
                return False   # a task that was created only to try, while the one that created it holds the lock
            misuse(owner, mode)
        elif found == LOST:
            tell_of_loss()
        elif is_beneath(owner):
            overtake(owner)
        elif monotonic() >= until:
            return False
        else:
            loop = current_loop()
            if loop is None:
                refuse_without_loop()
            waiter = task_waiter(loop, None)
            try:
                await waiter.begin(PAUSE_MS * 1e-3)
            finally:
                waiter.finish()
    if found != HELD:
        return False
    if has_ended(asker):
        release(owner)
        raise RuntimeError("the task that asked for the lock has ended: nobody is left to hold it")
    if not mend:
        tell_of_death_if_any(lock, owner)
    return True


cdef bint has_ended(Unit asker) except -1:
    """Whether the unit has run to its end; the object may live a while longer."""
    if xctx_load_int(<int*>&asker.ended):
        return True
    is_done = getattr(asker(), "done", None)   # a task
    return is_done is not None and is_done()


cdef int check_asker(UnitLock owner) except -1:
    """Raises where the code that runs here may not wait in the place of the unit that asked for the lock."""
    if owner.row.thread != PyThread_get_thread_ident() and not owner.c.shared_by_threads:
        raise RuntimeError("this was asked for in another thread, whose unit would hold the lock: ask for it in a coroutine that "
                           "runs here")
    if owner.forks != xctx_fork_count():
        raise RuntimeError("forked while a task was waiting for the lock: the child does not wait on")
    return 0


async def upgrade_in_task(BaseLock lock, UnitLock owner, double seconds):
    cdef double until = FOREVER if seconds == FOREVER else monotonic() + seconds
    cdef int found = OVERTAKEN
    while found == OVERTAKEN:
        check_asker(owner)
        begin_upgrade(owner)
        found = await wait_in_task(new_attempt(owner, EXCLUSIVE, until, False))
    return found == HELD


async def wait_in_task(Attempt attempt):
    """The driver for tasks, as `wait` is for threads and greenlets. HELD, TIME_IS_UP or OVERTAKEN."""
    cdef TaskWaiter waiter
    cdef int found
    try:
        found = attempt.begin(current_loop(), True)
        waiter = attempt.waiter
        while found == WAITS:
            try:
                await waiter.begin(attempt.seconds)
            finally:
                waiter.finish()
            found = attempt.look_again()
    finally:
        attempt.end()
    if found == FORKED:
        raise RuntimeError("forked while a task was waiting for the lock: the child does not wait on")
    return found


# --- the coroutine ----------------------------------------------------------------------------------------------------------

@cython.final
@cython.no_gc_clear
cdef class Acquiring:
    """The coroutine that acquires a lock in a task.

    A coroutine returns its result in a StopIteration. If that were allocated once the lock is held, and memory were short,
    the lock would stay held and nobody would know. So it is allocated before the first step.

    Thread-safety: as any coroutine.
    """
    cdef object steps      # the coroutine of acquire_in_task. This and the next three never change
    cdef object entered    # the lock, to return it where this enters a block; None to return whether it is held
    cdef int mode
    cdef double seconds
    cdef object told       # the StopIteration for when the lock is held; None before the first step

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):   # called by this name; the slot is next_step
        return self.send(None)

    def send(self, value):
        cdef PyObject *given = NULL
        if self.has_next(value, &given):
            return xctx_taken(given)
        raise self.told

    def throw(self, kind, value=None, traceback=None):
        try:
            if value is None and traceback is None:   # 3.12 and later warn of three arguments
                return self.steps.throw(kind)
            return self.steps.throw(kind, value, traceback)
        except StopIteration as stop:
            held = stop.value
        raise StopIteration(self.outcome(held))

    def close(self):
        self.steps.close()

    cdef bint has_next(self, object value, PyObject **given) except -1:
        """Takes a step. After the last one `given` is NULL and `told` has the result."""
        if self.told is None:
            self.told = StopIteration(self.outcome(True))
        if PyIter_Send(self.steps, value, given) == PYGEN_NEXT:
            return True
        held = xctx_taken(given[0])
        given[0] = NULL
        if held is not True:
            self.told = StopIteration(self.outcome(held))
        return False

    cdef object outcome(self, object held):
        if self.entered is None:
            return held
        if not held:
            tell_of_timeout(self.mode, self.seconds)
        return self.entered


cdef PyObject *next_step(PyObject *o) except? NULL:
    # Not a method, which would give the exception a traceback.
    cdef PyObject *given = NULL
    if not (<Acquiring>o).has_next(None, &given):
        PyErr_SetObject(StopIteration, (<Acquiring>o).told)
    return given


give_next(<PyTypeObject*>Acquiring, next_step)


cdef object acquiring_by(BaseLock lock, UnitLock owner, Unit asker, int mode, double seconds, bint mend, object entered):
    """A coroutine that acquires the lock for the unit `asker`, whose UnitLock is `owner`.

    Args:
        mend: says nothing of a writer's death.
        entered: the lock, to return that, and to raise when the time is up; None to return whether the lock is held.
    """
    cdef Acquiring made = Acquiring.__new__(Acquiring)
    made.steps = acquire_in_task(lock, owner, asker, mode, seconds, mend)
    made.entered = entered
    made.mode = mode
    made.seconds = seconds
    return made


cdef object acquiring(BaseLock lock, int mode, double seconds, bint mend, object entered):
    """The same for the unit that calls this."""
    return acquiring_by(lock, find_unit_lock(lock), lock.holder.find(True), mode, seconds, mend, entered)


xctx_forbid_instances(<PyTypeObject*>Acquiring)


# --- for another unit -------------------------------------------------------------------------------------------------------

@cython.final
@cython.no_gc_clear
cdef class Asker:
    """The unit that asks for a lock, for code that waits and releases in its place, perhaps in another task of its thread."""
    cdef BaseLock lock            # this and the next two never change
    cdef UnitLock owner
    cdef Unit unit

    @property
    def count(self):
        """How often the unit has acquired the lock and not released it."""
        return self.owner.c.depth

    def acquire_async(self, mode, timeout, mend=False):
        """As the lock's method of that name, any number of times. `mode` is one of 'shared', 'upgradable' and 'exclusive'."""
        return acquiring_by(self.lock, self.owner, self.unit, MODES.index(mode), seconds_of(True, timeout), mend, None)

    def release(self):
        """Takes back one acquisition, the latest, of the unit."""
        leave_slowly(self.lock, self.owner)


def asker_of(lock):
    """The unit that calls this."""
    cdef Asker asker = Asker.__new__(Asker)
    asker.lock = <BaseLock?>lock
    asker.owner = find_unit_lock(asker.lock)
    asker.unit = asker.lock.holder.find(True)
    return asker


xctx_forbid_instances(<PyTypeObject*>Asker)


# The type of Cython's coroutines.
cdef object _awaitable = upgrade_in_task(None, None, 0)
xctx_mend_metatype(Py_TYPE(_awaitable))
_awaitable.close()
