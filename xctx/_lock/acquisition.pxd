"""Acquiring and releasing a lock: the uncontended paths, inline, and what other files use of the rest.

A module that uses `enter`, `leave` or `leave_block` connects to the runtime's state first: `connect` of xctx._runtime.runtime.
"""
from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from xctx._core cimport Key
from xctx._lock.mappings cimport Mapping, queued, tell_of_loss
from xctx._lock.protocol cimport DIED, NONE, SHARED, load64
from xctx._lock.unit_lock cimport ANYTHING, UnitLock, reads_on, release_unit, take, tell_if_queued, xctx_unit_lock
from xctx._runtime.python cimport PyThreadState, xctx_tstate
from xctx._runtime.runtime cimport xctx_cache_entry, xctx_cache_entry_of, xctx_cache_hit, xctx_fork_count


cdef class BaseLock:
    # None of these changes after __init__.
    cdef Mapping mapping          # None before __init__
    cdef Key holder               # the key
    cdef int on_death             # an index of ON_DEATH
    cdef object unit_locks        # a local of the key: what each unit has of the lock, a UnitLock
    cdef object rows              # a local of the thread: its Row
    cdef uint64_t serial          # the number by which the UnitLocks know the lock
    cdef bint reentrant


# What `begin` finds.
cdef enum:
    UNTRIED = -1

cdef enum:
    BEGUN, COUNTED, BUSY, MISUSED, LOST


cdef tuple MODES                  # their names; a mode is an index of this
cdef tuple ON_DEATH
cdef object NO_LIMIT              # the default of a timeout

cdef int prepare_to_wait() except -1
cdef Mapping ready(BaseLock lock)
cdef UnitLock find_unit_lock(BaseLock lock)
cdef double seconds_of(object blocking, object timeout) except? -2
cdef bint enter_slowly(BaseLock lock, xctx_unit_lock *unit, int mode, double seconds, int got) except -1
cdef bint acquire(BaseLock lock, UnitLock begun, int mode, double seconds, bint mend) except -1
cdef int begin(UnitLock owner, int mode, bint reentrant) noexcept
cdef bint misuse(UnitLock owner, int mode) except -1
cdef int tell_of_death_if_any(BaseLock lock, UnitLock owner) except -1
cdef int tell_of_timeout(int mode, double seconds) except -1
cdef bint upgrade(BaseLock lock, double seconds) except -1
cdef int begin_upgrade(UnitLock owner) except -1
cdef bint downgrade(BaseLock lock, int mode) except -1
cdef int release(UnitLock owner) except -1
cdef bint leave_slowly(BaseLock lock, UnitLock owner) except -1


cdef inline xctx_unit_lock *unit_lock_here(BaseLock lock) except NULL:
    # Borrowed: this unit keeps it alive.
    cdef PyThreadState *tstate = xctx_tstate()
    cdef xctx_cache_entry *entry = xctx_cache_entry_of(lock.serial)
    if xctx_cache_hit(entry, lock.serial, tstate, <PyObject*>lock):
        return <xctx_unit_lock*>entry.what
    return &find_unit_lock(lock).c


cdef inline bint enter(BaseLock lock, int mode, double seconds) except -1:
    cdef xctx_unit_lock *unit = unit_lock_here(lock)
    cdef int got = UNTRIED
    if unit.any == 0 and (reads_on(unit) if mode == SHARED else not (unit.named or queued(unit.mapping))):
        got = take(unit, mode)
        if got and not load64(&unit.head.word) & DIED:
            return True
    return enter_slowly(lock, unit, mode, seconds, got)


cdef inline bint leave(BaseLock lock) except -1:
    cdef xctx_unit_lock *unit = unit_lock_here(lock)
    if unit.depth == 1 and not unit.shared_by_threads and not unit.busy and not (unit.named and unit.mode != SHARED):
        if not release_unit(unit):
            tell_of_loss()
        if queued(unit.mapping):
            tell_if_queued(unit, ANYTHING)
        return True
    return leave_slowly(lock, <UnitLock>unit.owner)


cdef inline bint leave_block(BaseLock lock) except -1:
    cdef xctx_unit_lock *unit = unit_lock_here(lock)
    # A child that was forked inside a block holds nothing, but leaves the block as well.
    if unit.mode == NONE and lock.mapping.forks != xctx_fork_count():
        return False
    return leave(lock)
