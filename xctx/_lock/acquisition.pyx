# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""How a unit that waits as a thread or greenlet acquires and releases a lock.

Without contention only `enter`, `leave` and `leave_block` run, which are inline in the .pxd; the rest is here. In place of
`acquire` and `upgrade`, tasks use the coroutines of tasks.pyx.
"""
cimport cython
from libc.math cimport INFINITY as FOREVER
from libc.stdint cimport uint32_t, uint64_t

from xctx._lock.attempt cimport (FORKED, HELD, OVERTAKEN, Attempt, is_beneath, new_attempt, overtake, pause, refuse_task,
                                 set_stores_of, wait)
from xctx._lock.mappings cimport Mapping, Row, has_lost_name, new_row, queued, tell_of_loss, tell_of_removal
from xctx._lock.protocol cimport DIED, EXCLUSIVE, NONE, SHARED, UPGRADABLE, announce_upgrade, load32, load64
from xctx._lock.unit_lock cimport (ANYTHING, READERS_MAY_ENTER, SLOT_IS_FREE, UnitLock, counts, has_row, new_unit_lock,
                                   release_unit, step_down, take, tell_if_queued, xctx_unit_lock)
from xctx._runtime.python cimport (PyThread_get_thread_ident, PyThreadState, xctx_keep, xctx_lock, xctx_published,
                                   xctx_tstate, xctx_unlock)
from xctx._runtime.runtime cimport connect, xctx_cache_entry_of, xctx_cache_set, xctx_fork_count
from xctx._runtime.scheduling cimport current_hub, current_loop, monotonic
import sys
import _warnings   # underscored for a cheap start: each interpreter has this loaded

connect()

cdef tuple MODES = (None, "shared", "upgradable", "exclusive")
cdef tuple ON_DEATH = ("warn", "raise", "ignore")
cdef object NO_LIMIT = -1
cdef PyObject *_units_of = NULL   # of the interpreter: set once, and kept for ever


cdef int prepare_to_wait() except -1:
    """Imports what waiting units need, when a lock is made rather than while a unit waits."""
    if xctx_published(&_units_of) == NULL:
        from xctx._stores.inspection import stores_of, units_of
        set_stores_of(stores_of)
        xctx_keep(&_units_of, <PyObject*>units_of)
    return 0


class OwnerDiedWarning(RuntimeWarning):
    """A unit that held a lock exclusively has died, so what the lock guards may be half-written.

    Each unit that acquires the lock, in any process, is warned until a unit that holds it exclusively has mended what the lock
    guards and calls :meth:`SharedLock.mark_consistent`. A writer is warned each time; a reader, once in each task, greenlet
    or thread. A lock that was made with ``on_death="raise"`` raises this instead, and is then not held.
    """


@cython.no_gc_clear
cdef class BaseLock:
    """The part of a SharedLock that acquiring and releasing it need.

    Thread-safety: immutable once it is made. Lifetime: of the SharedLock.
    """


cdef Mapping ready(BaseLock lock):
    if lock.mapping is None:
        raise RuntimeError("this lock was not initialised: a subclass calls super().__init__()")
    return lock.mapping


# --- what this unit has ---------------------------------------------------------------------------------------------------

cdef UnitLock find_unit_lock(BaseLock lock):
    cdef PyThreadState *tstate = xctx_tstate()
    cdef uint64_t ver = tstate.context_ver
    cdef UnitLock owner
    cdef Row row
    if ready(lock).path is not None and has_lost_name(lock.mapping.c):
        tell_of_removal(lock.mapping)
    owner = getattr(lock.unit_locks, "unit_lock", None)
    if owner is None:
        row = getattr(lock.rows, "row", None)
        if row is None:
            row = lock.rows.row = new_row(lock.mapping)
        owner = lock.unit_locks.unit_lock = new_unit_lock(row, lock.serial, lock.holder.shared_by_threads)
    # A key made of a callable is asked each time.
    if not owner.c.shared_by_threads and tstate.context_ver == ver:
        xctx_cache_set(xctx_cache_entry_of(lock.serial), lock.serial, tstate, &owner.c)
    return owner


# --- acquiring ------------------------------------------------------------------------------------------------------------

cdef bint enter_slowly(BaseLock lock, xctx_unit_lock *unit, int mode, double seconds, int got) except -1:
    # `got`: the result of a first look, or UNTRIED.
    if got == UNTRIED and unit.any == 0 and unit.named and (mode == SHARED or not queued(unit.mapping)):
        if has_lost_name(unit.mapping):
            tell_of_removal(lock.mapping)
        got = take(unit, mode)
    if got == UNTRIED:
        return acquire(lock, None, mode, seconds, False)
    if not got:
        return acquire(lock, <UnitLock>unit.owner, mode, seconds, False)
    tell_of_death_if_any(lock, <UnitLock>unit.owner)
    return True


cdef bint acquire(BaseLock lock, UnitLock begun, int mode, double seconds, bint mend) except -1:
    # `begun`: this unit's lock if an attempt is under way; otherwise None.
    cdef double until = FOREVER if seconds == FOREVER else monotonic() + seconds
    cdef UnitLock owner = begun
    cdef int found = BEGUN, got
    while True:
        if owner is None:
            owner = find_unit_lock(lock)
            found = begin(owner, mode, lock.reentrant)
        if found == BEGUN:
            got = finish(lock, owner, mode, until, True)
            if got >= 0:
                if got == HELD and not mend:
                    tell_of_death_if_any(lock, owner)
                return got
            # Start over: this is a forked child, or a signal handler used the lock meanwhile.
        elif found == COUNTED:
            return True
        elif found == MISUSED:
            misuse(owner, mode)
        elif found == LOST:
            tell_of_loss()
        elif monotonic() >= until:
            return False
        else:
            let_other_code_go_on(owner, until)
        owner = None


cdef int let_other_code_go_on(UnitLock owner, double until) except -1:
    """The unit's lock is busy with an attempt of code that this code interrupted, or of another task or thread of the unit."""
    cdef bint here = not owner.c.shared_by_threads or owner.c.thread == PyThread_get_thread_ident()
    if is_beneath(owner):
        return overtake(owner)
    if until == FOREVER and here and current_hub() is None:
        raise RuntimeError("this unit waits for the lock already, in a task or greenlet of this thread that could not go on "
                           "while this code waits as well")
    return pause()


cdef int finish(BaseLock lock, UnitLock owner, int mode, double until, bint acquiring) except -2:
    """Completes an attempt: HELD or TIME_IS_UP; FORKED or OVERTAKEN where the caller has to start over."""
    cdef bint upgrading = owner.c.mode == UPGRADABLE
    cdef Attempt attempt = new_attempt(owner, mode, until, acquiring)
    cdef int got
    if until == FOREVER and attempt.task is not None and current_hub() is not None:
        refuse_to_stop_the_holder(lock, owner, mode)
    got = wait(attempt)
    if got == FORKED and upgrading:
        raise RuntimeError("forked while it was waiting to upgrade: the child does not hold the lock")
    return got


cdef bint upgrade(BaseLock lock, double seconds) except -1:
    cdef double until = FOREVER if seconds == FOREVER else monotonic() + seconds
    cdef UnitLock owner
    cdef int got = OVERTAKEN
    while got == OVERTAKEN:
        owner = find_unit_lock(lock)
        begin_upgrade(owner)
        got = finish(lock, owner, EXCLUSIVE, until, False)
    return got


cdef int refuse_to_stop_the_holder(BaseLock lock, UnitLock owner, int mode) except -1:
    """Raises where a task is about to wait in a hub, which stops its event loop, and another task of that loop has the lock.

    Greenlets of the hub go on meanwhile and may give the lock back. No further task of the loop can get it.
    """
    cdef object loop = current_loop()
    cdef UnitLock other
    for unit, kept in (<object>_units_of)(lock.unit_locks):
        other = kept.get("unit_lock")
        if other is None or other is owner or other.c.mode == NONE:
            continue
        if mode != EXCLUSIVE and other.c.mode != EXCLUSIVE and not mode == other.c.mode == UPGRADABLE:
            continue
        task = unit()
        if hasattr(task, "get_loop") and task.get_loop() is loop and not task.done():
            refuse_task()
    return 0


cdef int begin_upgrade(UnitLock owner) except -1:
    cdef int found = MISUSED
    if not counts(&owner.c):
        tell_of_loss()
    xctx_lock(&owner.guard)
    if owner.c.mode == UPGRADABLE and owner.c.busy:
        found = BUSY
    elif owner.c.mode == UPGRADABLE:
        found = BEGUN
        owner.c.busy = True
        owner.c.thread = PyThread_get_thread_ident()
        announce_upgrade(owner.c.head, &owner.c.attempt)
    xctx_unlock(&owner.guard)
    if found == BUSY:
        raise ValueError("this unit is upgrading the lock already")
    if found == MISUSED:
        raise ValueError(f"only from upgradable is a lock upgraded; this unit holds it {MODES[owner.c.mode] or 'not at all'}")
    return 0


cdef int tell_of_timeout(int mode, double seconds) except -1:
    raise TimeoutError(f"the lock was not free to hold it {MODES[mode]} within {seconds:g} s")


cdef double seconds_of(object blocking, object timeout) except? -2:
    cdef double seconds
    if not blocking:
        if timeout is not None and timeout != -1:
            raise ValueError("can't specify a timeout for a non-blocking call")
        return 0
    if timeout is None or timeout is NO_LIMIT:
        return FOREVER
    seconds = timeout
    if seconds == -1:
        return FOREVER
    if not seconds >= 0:
        raise ValueError(f"a timeout is a number of seconds, or -1, not {timeout!r}")
    return seconds


cdef int begin(UnitLock owner, int mode, bint reentrant) noexcept:
    """Counts one more acquisition of what is held, or marks the unit's lock as busy with an attempt."""
    cdef xctx_unit_lock *unit = &owner.c
    cdef int found = BEGUN
    xctx_lock(&owner.guard)
    if not counts(unit):
        found = LOST
    elif unit.mode != NONE and not (reentrant and (mode <= unit.mode or unit.mode == UPGRADABLE)):
        found = MISUSED
    elif unit.mode != NONE and mode <= unit.mode:
        unit.depth += 1
        found = COUNTED
    elif unit.busy:
        found = BUSY   # with an attempt of other code of the same unit
    else:
        unit.busy = True
        unit.thread = PyThread_get_thread_ident()
        if unit.mode == UPGRADABLE:
            announce_upgrade(unit.head, &unit.attempt)
    xctx_unlock(&owner.guard)
    return found


cdef bint misuse(UnitLock owner, int mode) except -1:
    cdef int held = owner.c.mode
    if held == SHARED and mode != SHARED:
        raise ValueError("Cannot upgrade a shared lock to an exclusive lock: two who try wait for each other. Acquire it "
                         "upgradable, or exclusive")
    raise ValueError(f"Lock not re-entrant: this unit holds it {MODES[held]}")


cdef int tell_of_death_if_any(BaseLock lock, UnitLock owner) except -1:
    if load64(&owner.c.head.word) & DIED:
        tell_of_death(lock, owner)
    return 0


cdef int tell_of_death(BaseLock lock, UnitLock owner) except -1:
    """Tells the new holder that a writer died. Warns a reader only once, so that reading stays fast."""
    cdef uint32_t deaths = load32(&owner.c.head.deaths)
    if lock.on_death == 2 or lock.on_death == 0 and owner.c.told == deaths and owner.c.mode == SHARED:
        return 0
    owner.c.told = deaths
    try:
        if lock.on_death == 1:
            raise OwnerDiedWarning(DEATH)
        warn()
    except BaseException:
        if owner.forks == xctx_fork_count():
            owner.c.told = deaths - 1   # so that it is told again next time
            release(owner)
        raise
    return 0


cdef str DEATH = "one who held this lock exclusively died: what it guards may be half-written"


cdef int warn() except -1:
    """Warns the caller of the lock. Not by `warnings.warn`, which shows a warning only once for a line."""
    try:
        frame = sys._getframe(0)
        # The lock over PostgreSQL acquires this one: warn the caller of that.
        while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith("xctx."):
            frame = frame.f_back
    except ValueError:   # there is no Python caller
        _warnings.warn(DEATH, OwnerDiedWarning, 1)
        return 0
    _warnings.warn_explicit(DEATH, OwnerDiedWarning, frame.f_code.co_filename, frame.f_lineno,
                            frame.f_globals.get("__name__") or "<unknown>", {})
    return 0


# --- releasing -------------------------------------------------------------------------------------------------------------

cdef int release(UnitLock owner) except -1:
    """COUNTED, or why it was not released."""
    cdef xctx_unit_lock *unit = &owner.c
    cdef int found = COUNTED
    cdef int what = 0
    xctx_lock(&owner.guard)
    if unit.depth == 0:
        found = MISUSED
    elif unit.depth == 1:
        if unit.busy:
            found = BUSY
        elif release_unit(unit):
            what = ANYTHING
        else:
            found = LOST
    else:
        if unit.depth == unit.wrote_at:
            step_down(unit, UPGRADABLE)
            what = READERS_MAY_ENTER
        unit.depth -= 1
    xctx_unlock(&owner.guard)
    if what:
        tell_if_queued(unit, what)
    return found


cdef bint leave_slowly(BaseLock lock, UnitLock owner) except -1:
    cdef bint wrote = owner.c.mode != SHARED
    cdef int found = release(owner)
    if found == MISUSED:
        raise ValueError("lock released too many times: this unit does not hold it")
    if found == BUSY:
        raise ValueError("this unit is upgrading the lock at this moment: it cannot be released")
    if found == LOST:
        tell_of_loss()
    if wrote and owner.c.named and has_lost_name(owner.c.mapping):
        tell_of_removal(lock.mapping)
    return True


cdef bint downgrade(BaseLock lock, int mode) except -1:
    cdef UnitLock owner = find_unit_lock(lock)
    cdef int held
    cdef bint busy
    if not has_row(&owner.c):
        tell_of_loss()
    xctx_lock(&owner.guard)
    held, busy = owner.c.mode, owner.c.busy
    if held > mode and not busy:
        step_down(&owner.c, mode)
    xctx_unlock(&owner.guard)
    if held > mode and not busy:
        tell_if_queued(&owner.c, READERS_MAY_ENTER | (SLOT_IS_FREE if mode == SHARED else 0))
    if held > mode and busy:
        raise ValueError("this unit is upgrading the lock at this moment: it cannot be downgraded")
    if held <= mode:
        raise ValueError(f"cannot downgrade to {MODES[mode]}: this unit holds the lock {MODES[held] or 'not at all'}")
    return True
