# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Shared/exclusive locks for threads, greenlets, tasks and processes: what a unit may do with one, and when.

    SharedLock ---- Mapping                  the memory that all processes share
       |---- unit_locks, a local of its key:     UnitLock, what each unit has of the lock
       |---- rows, a local of the thread:        Row, by which the units of a thread count in the shared table

The stores drop a unit's values when the unit ends, and a UnitLock that is dropped gives back what it had. So whatever way a
thread, greenlet or task ends, nothing of it stays in the table. In a forked child the stores are empty: the child holds
nothing, and takes rows of its own.
"""
cimport cython
from cpython.object cimport Py_TYPE, PyObject, PyTypeObject
from libc.stdint cimport uint32_t, uint64_t

from xctx._core cimport Key, as_key
from xctx._lock.unit_lock cimport (ANYTHING, DIED, EXCLUSIVE, FORKED, HELD, NONE, PAUSE_MS, READERS_MAY_ENTER, SHARED,
                                   SLOT_IS_FREE, UPGRADABLE, WAITS, Attempt, Mapping, Row, UnitLock, announce_upgrade,
                                   clean_up_all, load32, load64, mapping_of, named_mapping, new_attempt,
                                   new_mapping, new_row, new_unit_lock, pause, queued, readers_in,
                                   refuse_without_loop, release_unit, row_at, set_forget, step_down, take,
                                   tell_if_queued, wait, xctx_head, xctx_row, xctx_unit_lock)
from xctx._runtime.parking cimport TaskWaiter, task_waiter
from xctx._runtime.python cimport PyThreadState, xctx_forbid_instances, xctx_lock, xctx_mend_metatype, xctx_tstate, xctx_unlock
from xctx._runtime.runtime cimport (connect, xctx_cache_drop, xctx_cache_entry, xctx_cache_entry_of, xctx_cache_hit,
                                    xctx_cache_set, xctx_fork_count, xctx_next_serial)
from xctx._runtime.scheduling cimport current_loop, monotonic
from xctx import _core
from xctx._stores.local import local
import os
import warnings

connect()

cdef tuple MODES = (None, "shared", "upgradable", "exclusive")
cdef double FOREVER = float("inf")
cdef object NO_LIMIT = -1


cdef void forget(uint64_t serial, xctx_unit_lock *unit) noexcept:
    cdef xctx_cache_entry *entry = xctx_cache_entry_of(serial)
    if entry.what == unit:
        xctx_cache_drop(entry, serial)


set_forget(forget)


class OwnerDiedWarning(RuntimeWarning):
    """One who held a lock exclusively has died, so what the lock guards may be half-written.

    Everyone who acquires the lock is warned, in whatever process, until somebody who was told has held it exclusively and
    released it, not by an exception that left a ``with`` block: then it is taken for mended.
    """


@cython.no_gc_clear
cdef class SharedLock:
    """A lock that many may hold to read, or one to write.

    It is held by a unit: by default the task, greenlet or thread that acquired it. It can be used by every thread, greenlet
    and process that has it: one forked after it was made, or one it is given to as an argument (of a ``Process``, or among a
    pool's `initargs`), however that is started. With a name, any process of the same user can open it.

    Writers do not starve readers, nor readers writers, nor writers one another. Who dies while holding it gives it back: a
    process that is killed, a thread, greenlet or task that ends. One that is stopped (SIGSTOP) goes on holding it.

    While it waits, a thread sleeps, and a greenlet lets gevent's hub run. A task waits with ``async with`` and the methods
    that end in ``_async``; the others stop its event loop, and all tasks of that with it.

    Args:
        name: of the lock, by which other processes find it; None for one that only those have to whom it is handed.
        key: what a holder is: one of :mod:`xctx.keys`, or a callable; not ``context``.

    Raises:
        TypeError, ValueError: `name` cannot be a lock's name, or there is a file of that name that is no lock's; the key is
            ``context``.
        PermissionError: the file of that name, or its directory, is another user's, open to others, or a link.
        NotImplementedError: this system has no memory for processes to share that xctx knows to use.

    Each method that looks at the lock may, on its first use in a thread, raise OSError (on Linux, where /proc is not mounted,
    or where the program has closed descriptors that are not its own, as daemons do) or RuntimeError (510 processes use it).

    Thread-safety: all methods may be called from any thread.
    Lifetime: what the processes share lives as long as one of them has the lock; the name, too. A child that is forked while
    its parent holds the lock does not hold it.
    """
    cdef Mapping mapping          # this and the next six never change after __init__
    cdef str title                # its name; None where it has none
    cdef Key holder               # the key
    cdef object unit_locks        # a local of the key: each unit's UnitLock
    cdef object rows              # a local of the thread: its Row
    cdef uint64_t serial
    cdef bint reentrant
    cdef object __weakref__

    def __init__(self, name=None, *, key=None):
        key = checked_key(key)
        if self.mapping is not None:
            raise RuntimeError("a lock is initialised once")
        if name is None:
            set_up(self, new_mapping(), None, key)
        else:
            set_up(self, named_mapping(name), name, key)

    # --- acquiring

    def acquire(self, exclusive=False, blocking=True, timeout=-1):
        """Acquires the lock for this unit. In a task it stops the event loop while it waits: see :meth:`acquire_async`.

        Args:
            exclusive: to write, rather than to read beside others.
            blocking: False to try only.
            timeout: how many seconds to wait; -1 for as long as it takes.

        Returns:
            Whether the lock is held.

        Raises:
            ValueError: this unit holds the lock already (a :class:`SharedRLock`: for reading, and asks to write); `timeout` is
                negative, or given together with ``blocking=False``.

        Warns:
            OwnerDiedWarning: one who was writing died. Where the warning is made an error, the lock is not acquired.
        """
        cdef int mode = SHARED
        cdef double seconds = FOREVER
        if exclusive is True or (exclusive is not False and exclusive):
            mode = EXCLUSIVE
        if blocking is not True or timeout is not NO_LIMIT:
            seconds = seconds_of(blocking, timeout)
        return enter(self, mode, seconds)

    def acquire_upgradable(self, blocking=True, timeout=-1):
        """Acquires the lock to read, beside others, with the right to write later: only one unit at a time has it.

        Args, returns, raises and warns as :meth:`acquire`.
        """
        return enter(self, UPGRADABLE, seconds_of(blocking, timeout))

    def upgrade(self, blocking=True, timeout=-1):
        """From upgradable to exclusive, when all who read have released. New ones wait. Args as :meth:`acquire`.

        Returns:
            Whether the lock is held exclusively; otherwise it is upgradable still.

        Raises:
            ValueError: this unit does not hold the lock upgradable. Who holds it shared cannot ever upgrade: two of them would
                wait for each other.
        """
        return upgrade(self, seconds_of(blocking, timeout))

    def upgrade_async(self, timeout=-1):
        """As :meth:`upgrade`, to be awaited in an asyncio task: other tasks go on reading, and release, meanwhile."""
        return upgrade_in_task(self, seconds_of(True, timeout))

    def downgrade(self, *, upgradable=False):
        """From exclusive or upgradable to shared, with no writer in between.

        Args:
            upgradable: from exclusive to upgradable instead.

        Raises:
            ValueError: this unit does not hold the lock exclusively (or upgradable).
        """
        downgrade(self, UPGRADABLE if upgradable else SHARED)

    def release(self):
        """Takes back one acquisition, the latest, of this unit.

        Raises:
            ValueError: this unit does not hold the lock.
        """
        leave(self)

    def __enter__(self):
        """Acquires the lock to read. It is the lock that a ``with`` block gets."""
        enter(self, SHARED, FOREVER)
        return self

    def __exit__(self, exc_type=None, exc=None, traceback=None):
        leave_block(self, exc_type)
        return False

    def shared(self):
        """``with lock.shared():`` is the same as ``with lock:``, ``async with`` too."""
        return self

    def exclusive(self):
        """``with lock.exclusive():`` or ``async with lock.exclusive():`` to write in the block."""
        return block_of(self, EXCLUSIVE)

    def upgradable(self):
        """``with lock.upgradable():`` to read in the block, and perhaps :meth:`upgrade` in it; ``async with`` too."""
        return block_of(self, UPGRADABLE)

    def acquire_async(self, exclusive=False, timeout=-1):
        """As :meth:`acquire`, in an asyncio task: to be awaited. Cancelling it leaves no trace.

        Returns:
            An awaitable of whether the lock is held.
        """
        return acquire_in_task(self, EXCLUSIVE if exclusive else SHARED, seconds_of(True, timeout))

    def acquire_upgradable_async(self, timeout=-1):
        """As :meth:`acquire_upgradable`, to be awaited in an asyncio task."""
        return acquire_in_task(self, UPGRADABLE, seconds_of(True, timeout))

    def __aenter__(self):
        return acquire_in_task(self, SHARED, FOREVER, self)

    async def __aexit__(self, exc_type=None, exc=None, traceback=None):
        leave_block(self, exc_type)
        return False

    # --- looking

    @property
    def name(self):
        """The name by which other processes find it, or None."""
        return self.title

    @property
    def key(self):
        """What a holder is: the key it was made with."""
        return self.holder

    @property
    def mode(self):
        """What this unit holds the lock for: 'shared', 'upgradable', 'exclusive', or None."""
        return MODES[unit_lock_here(self).mode]

    @property
    def count(self):
        """How often this unit has acquired the lock and not released it."""
        return unit_lock_here(self).depth

    @property
    def owner_died(self):
        """Whether a writer died and nobody has written since (see :class:`OwnerDiedWarning`)."""
        clean_up_all(ready(self))
        return bool(load32(&self.mapping.head.word) & DIED)

    @property
    def readers(self):
        """How many units hold the lock shared, in all processes. It may have changed by now."""
        cdef xctx_head *head = ready(self).head
        cdef uint32_t index
        clean_up_all(self.mapping)
        count = 0
        for index in range(load32(&head.used)):
            count += readers_in(load64(&row_at(head, index).readers))
        return count

    @property
    def waiters(self):
        """How many units wait for the lock, in all processes. It may have changed by now."""
        cdef xctx_head *head = ready(self).head
        cdef uint32_t index
        clean_up_all(self.mapping)
        count = 0
        for index in range(load32(&head.used)):
            count += load32(&row_at(head, index).waiters)
        return count

    @property
    def owner(self):
        """Who holds the lock exclusively or upgradable: (mode, pid, the kernel's number of the thread), or None."""
        for holder in self.holders():
            if holder[0] != "shared":
                return holder[:3]
        return None

    def locked(self):
        """Whether anyone holds the lock, in any way. It may have changed by now."""
        return bool(self.holders())

    def holders(self):
        """Who holds the lock, for debugging. It may have changed by now.

        Returns:
                A list of (mode, pid, the kernel's number of the thread or 0 where several share a place, how many units).
        """
        cdef xctx_head *head = ready(self).head
        cdef xctx_row *row
        cdef uint32_t index, flags, inside
        cdef list found = []
        clean_up_all(self.mapping)
        for index in range(load32(&head.used)):
            row = row_at(head, index)
            flags = load32(&row.mode)
            inside = readers_in(load64(&row.readers))
            if flags:
                found.append((MODES[flags & 3], load32(&row.owner), load32(&row.thread), 1))
            if inside:
                found.append(("shared", load32(&row.owner), load32(&row.thread), inside))
        return found

    def __repr__(self):
        if self.mapping is None:
            return object.__repr__(self)
        held = []
        for mode, pid, _, count in self.holders():
            held.append(f"{mode} by {pid}" if count == 1 else f"{mode} by {pid} ({count})")
        name = "" if self.title is None else f" {self.title!r}"
        return f"<xctx.{type(self).__name__}{name}: {', '.join(held) or 'free'}>"

    def __reduce__(self):
        if self.title is not None:
            return open_named, (type(self), self.title, self.holder)
        from multiprocessing import reduction
        from multiprocessing.context import assert_spawning
        assert_spawning(self)   # raises a RuntimeError that tells what to do
        return handed_on, (type(self), reduction.DupFd(ready(self).carrier), self.holder)


@cython.no_gc_clear
cdef class SharedRLock(SharedLock):
    """A :class:`SharedLock` that its holder may acquire again.

    A release takes back the latest acquisition; the lock is free again when all are taken back. Acquiring it to read where it
    is held for anything, or to write where it is held to write, never waits: not for a writer who waits for this unit
    either. Acquiring it to write where it is held upgradable upgrades it until that is released.
    """

    def __cinit__(self):
        self.reentrant = True


def open_named(cls, name, key):
    """How a lock with a name is unpickled."""
    return cls(name, key=key)


def handed_on(cls, carrier, key):
    """How a lock without a name is unpickled, in a process that is being started."""
    cdef SharedLock lock = cls.__new__(cls)
    fd = carrier.detach()
    os.set_inheritable(fd, False)
    set_up(lock, mapping_of(fd, None), None, checked_key(key))
    return lock


cdef Key checked_key(object key):
    cdef Key checked = as_key(_core.task if key is None else key)
    if checked.in_context:
        raise ValueError(f"a lock is held by something that runs: under the key {checked.name!r} there is no such thing")
    return checked


cdef void set_up(SharedLock lock, Mapping mapping, str name, Key key) except *:
    lock.holder = key
    lock.unit_locks = local(key=key)
    lock.rows = local(key=_core.thread)
    lock.title = name
    lock.serial = xctx_next_serial()
    lock.mapping = mapping


cdef Mapping ready(SharedLock lock):
    if lock.mapping is None:
        raise RuntimeError("this lock was not initialised: a subclass calls super().__init__()")
    return lock.mapping


# --- what this unit has ---------------------------------------------------------------------------------------------------

cdef inline xctx_unit_lock *unit_lock_here(SharedLock lock) except NULL:
    # Borrowed: this unit keeps it alive.
    cdef PyThreadState *tstate = xctx_tstate()
    cdef xctx_cache_entry *entry = xctx_cache_entry_of(lock.serial)
    if xctx_cache_hit(entry, lock.serial, tstate, <PyObject*>lock):
        return <xctx_unit_lock*>entry.what
    return &find_unit_lock(lock).c


cdef UnitLock find_unit_lock(SharedLock lock):
    cdef PyThreadState *tstate = xctx_tstate()
    cdef uint64_t ver = tstate.context_ver
    cdef UnitLock owner
    cdef Row row
    ready(lock)
    owner = getattr(lock.unit_locks, "unit_lock", None)
    if owner is None:
        row = getattr(lock.rows, "row", None)
        if row is None:
            row = lock.rows.row = new_row(lock.mapping)
        owner = lock.unit_locks.unit_lock = new_unit_lock(row, lock.serial, lock.holder.shared_by_threads)
    # A callable that says who runs must be asked each time.
    if not owner.c.shared_by_threads and tstate.context_ver == ver:
        xctx_cache_set(xctx_cache_entry_of(lock.serial), lock.serial, tstate, &owner.c)
    return owner


# --- acquiring ------------------------------------------------------------------------------------------------------------

cdef inline bint enter(SharedLock lock, int mode, double seconds) except -1:
    cdef xctx_unit_lock *unit = unit_lock_here(lock)
    if unit.any != 0 or mode != SHARED and queued(unit.mapping):
        return acquire(lock, None, mode, seconds)
    if not take(unit, mode):
        return acquire(lock, <UnitLock>unit.owner, mode, seconds)
    if load32(&unit.head.word) & DIED:
        warn(<UnitLock>unit.owner)
    return True


cdef bint acquire(SharedLock lock, UnitLock begun, int mode, double seconds) except -1:
    # `begun`: this unit's, where an attempt is under way.
    cdef double until = FOREVER if seconds == FOREVER else monotonic() + seconds
    cdef UnitLock owner = begun
    cdef int found = BEGUN, got
    while True:
        if owner is None:
            owner = find_unit_lock(lock)
            found = begin(owner, mode, lock.reentrant)
        if found == BEGUN:
            got = finish(owner, mode, until, True)
            if got >= 0:
                return got
            # This is a forked child by now, which begins anew.
        elif found == COUNTED:
            return True
        elif found == MISUSED:
            misuse(owner, mode)
        elif monotonic() >= until:
            return False
        else:
            pause()
        owner = None


cdef int finish(UnitLock owner, int mode, double until, bint acquiring) except -2:
    """The rest of an attempt: HELD, TIME_IS_UP, or FORKED where this is a child by now."""
    cdef bint upgrading = owner.c.mode == UPGRADABLE
    cdef int got = wait(new_attempt(owner, mode, until, acquiring))
    if got == FORKED and upgrading:
        raise RuntimeError("forked while it was waiting to upgrade: the child does not hold the lock")
    if got == HELD and acquiring:
        warn_if_died(owner)
    return got


cdef bint upgrade(SharedLock lock, double seconds) except -1:
    cdef double until = FOREVER if seconds == FOREVER else monotonic() + seconds
    return finish(begin_upgrade(lock), EXCLUSIVE, until, False)


cdef UnitLock begin_upgrade(SharedLock lock):
    cdef UnitLock owner = find_unit_lock(lock)
    cdef int found = MISUSED
    xctx_lock(&owner.guard)
    if owner.c.mode == UPGRADABLE and owner.c.busy:
        found = BUSY
    elif owner.c.mode == UPGRADABLE:
        found = BEGUN
        owner.c.busy = True
        announce_upgrade(owner.c.head, &owner.c.attempt)
    xctx_unlock(&owner.guard)
    if found == BUSY:
        raise ValueError("this unit is upgrading the lock already")
    if found == MISUSED:
        raise ValueError(f"only from upgradable is a lock upgraded; this unit holds it {MODES[owner.c.mode] or 'not at all'}")
    return owner


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


# What `begin` finds.
cdef enum:
    BEGUN, COUNTED, BUSY, MISUSED


cdef int begin(UnitLock owner, int mode, bint reentrant) noexcept:
    """One acquisition more of what is held, or from now on the unit's lock is busy with an attempt."""
    cdef xctx_unit_lock *unit = &owner.c
    cdef int found = BEGUN
    xctx_lock(&owner.guard)
    if unit.mode != NONE and not (reentrant and (mode <= unit.mode or unit.mode == UPGRADABLE)):
        found = MISUSED
    elif unit.busy:
        found = BUSY   # with an attempt of another thread or task that is the same unit
    elif unit.mode != NONE and mode <= unit.mode:
        unit.depth += 1
        found = COUNTED
    else:
        unit.busy = True
        if unit.mode == UPGRADABLE:
            announce_upgrade(unit.head, &unit.attempt)
    xctx_unlock(&owner.guard)
    return found


cdef bint misuse(UnitLock owner, int mode) except -1:
    cdef int held = owner.c.mode
    if held == SHARED and mode != SHARED:
        raise ValueError("Cannot upgrade a shared lock: two who try wait for each other. Acquire it upgradable, or exclusive")
    raise ValueError(f"Lock not re-entrant: this unit holds it {MODES[held]}")


cdef void warn_if_died(UnitLock owner) except *:
    if load32(&owner.c.head.word) & DIED and not owner.c.warned:
        warn(owner)


cdef void warn(UnitLock owner) except *:
    """Tells the new holder that a writer died."""
    owner.c.warned = True
    try:
        warnings.warn("one who held this lock exclusively died: what it guards may be half-written", OwnerDiedWarning, 1)
    except BaseException:
        if owner.forks == xctx_fork_count():
            owner.c.warned = False   # so that others are warned
            release(owner)
        raise


# --- releasing -------------------------------------------------------------------------------------------------------------

cdef int release(UnitLock owner) except -1:
    """COUNTED, or why it was not released."""
    cdef xctx_unit_lock *unit = &owner.c
    cdef int found = COUNTED
    cdef int what = 0
    xctx_lock(&owner.guard)
    if unit.depth == 0:
        found = MISUSED
    elif unit.busy:
        found = BUSY
    elif unit.depth == 1:
        release_unit(unit)
        what = ANYTHING
    else:
        if unit.depth == unit.wrote_at:
            step_down(unit, UPGRADABLE)
            what = READERS_MAY_ENTER
        unit.depth -= 1
    xctx_unlock(&owner.guard)
    if what:
        tell_if_queued(unit, what)
    return found


cdef inline bint leave(SharedLock lock) except -1:
    cdef xctx_unit_lock *unit = unit_lock_here(lock)
    if unit.depth == 1 and not unit.shared_by_threads and not unit.busy:
        release_unit(unit)
        if queued(unit.mapping):
            tell_if_queued(unit, ANYTHING)
        return True
    cdef int found = release(<UnitLock>unit.owner)
    if found == MISUSED:
        raise ValueError("lock released too many times: this unit does not hold it")
    if found == BUSY:
        raise ValueError("this unit is upgrading the lock at this moment: it cannot be released")
    return True


cdef inline bint leave_block(SharedLock lock, object failed) except -1:
    cdef xctx_unit_lock *unit = unit_lock_here(lock)
    if failed is not None:
        unit.warned = False   # what was to be mended may not be
    # A child that was forked inside a block holds nothing, and leaves it all the same.
    if unit.mode == NONE and lock.mapping.forks != xctx_fork_count():
        return False
    return leave(lock)


cdef bint downgrade(SharedLock lock, int mode) except -1:
    cdef UnitLock owner = find_unit_lock(lock)
    cdef int held
    cdef bint busy
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


# --- tasks ------------------------------------------------------------------------------------------------------------------

async def acquire_in_task(SharedLock lock, int mode, double seconds, object result=True):
    """Gives `result` where the lock is held, and False where it is not."""
    cdef double until = FOREVER if seconds == FOREVER else monotonic() + seconds
    cdef UnitLock owner
    cdef TaskWaiter waiter
    cdef int found
    while True:
        owner = find_unit_lock(lock)
        if owner.c.any == 0 and (mode == SHARED or not queued(owner.c.mapping)):
            if take(&owner.c, mode):
                warn_if_died(owner)
                return result
            found = BEGUN
        else:
            found = begin(owner, mode, lock.reentrant)
        if found == BEGUN:
            break
        if found == COUNTED:
            return result
        if found == MISUSED:
            misuse(owner, mode)
        if monotonic() >= until:
            return False
        loop = current_loop()
        if loop is None:
            refuse_without_loop()
        waiter = task_waiter(loop, None)
        try:
            await waiter.begin(PAUSE_MS * 1e-3)
        finally:
            waiter.finish()
    if not await wait_in_task(new_attempt(owner, mode, until, True)):
        return False
    warn_if_died(owner)
    return result


async def upgrade_in_task(SharedLock lock, double seconds):
    cdef double until = FOREVER if seconds == FOREVER else monotonic() + seconds
    return await wait_in_task(new_attempt(begin_upgrade(lock), EXCLUSIVE, until, False))


async def wait_in_task(Attempt attempt):
    """The driver for tasks, as `wait` is for threads and greenlets. Whether the lock is held."""
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
    return found == HELD


@cython.final
@cython.no_gc_clear
cdef class LockBlock:
    """What ``lock.exclusive()`` gives: acquires at the start of a ``with`` block, and releases at its end."""
    cdef SharedLock lock   # this and the next never change
    cdef int mode

    def __enter__(self):
        enter(self.lock, self.mode, FOREVER)
        return self.lock

    def __exit__(self, exc_type=None, exc=None, traceback=None):
        leave_block(self.lock, exc_type)
        return False

    def __aenter__(self):
        return acquire_in_task(self.lock, self.mode, FOREVER, self.lock)

    async def __aexit__(self, exc_type=None, exc=None, traceback=None):
        leave_block(self.lock, exc_type)
        return False


xctx_forbid_instances(<PyTypeObject*>LockBlock)


# The type of what these functions give: Cython's own.
cdef object _awaitable = upgrade_in_task(None, 0)
xctx_mend_metatype(Py_TYPE(_awaitable))
_awaitable.close()


cdef LockBlock block_of(SharedLock lock, int mode):
    cdef LockBlock block = LockBlock.__new__(LockBlock)
    block.lock = lock
    block.mode = mode
    return block
