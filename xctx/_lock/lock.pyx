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
from xctx._lock.unit_lock cimport (ANYTHING, DIED, EXCLUSIVE, FORKED, HELD, NONE, OVERTAKEN, PAUSE_MS, READERS_MAY_ENTER,
                                   SHARED, SLOT_IS_FREE, UPGRADABLE, WAITS, Attempt, Mapping, Row, UnitLock, and64,
                                   announce_upgrade, check_locks, clean_up_all, counts, has_row, is_beneath, load32, load64,
                                   has_lost_name, mapping_of, new_attempt, new_mapping, new_row, new_unit_lock, overtake,
                                   pause, queued, reads_on, readers_in, refuse_task, refuse_without_loop, release_unit, row_at,
                                   set_forget, set_stores_of, step_down, take, tell_if_queued, tell_of_loss, tell_of_removal,
                                   wait, xctx_head, xctx_row, xctx_unit_lock)
from xctx._runtime.parking cimport TaskWaiter, done, task_waiter
from xctx._runtime.python cimport (PyThread_get_thread_ident, PyThreadState, xctx_forbid_instances, xctx_lock,
                                   xctx_mend_metatype, xctx_taken, xctx_tstate, xctx_unlock)
from xctx._runtime.runtime cimport (connect, xctx_cache_drop, xctx_cache_entry, xctx_cache_entry_of, xctx_cache_hit,
                                    xctx_cache_set, xctx_fork_count, xctx_next_serial)
from xctx._runtime.scheduling cimport current_hub, current_loop, monotonic
from xctx._runtime.units cimport Unit
from xctx import _core
from xctx._stores.local import local
from xctx._lock import names
import errno
import os
import sys
import _warnings   # underscored for a cheap start: each interpreter has this loaded

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

cdef tuple MODES = (None, "shared", "upgradable", "exclusive")
cdef tuple ON_DEATH = ("warn", "raise", "ignore")
cdef double FOREVER = float("inf")
cdef object NO_LIMIT = -1
cdef object _units_of = None


cdef void forget(uint64_t serial, xctx_unit_lock *unit) noexcept:
    cdef xctx_cache_entry *entry = xctx_cache_entry_of(serial)
    if entry.what == unit:
        xctx_cache_drop(entry, serial)


set_forget(forget)


class OwnerDiedWarning(RuntimeWarning):
    """A unit that held a lock exclusively has died, so what the lock guards may be half-written.

    Each unit that acquires the lock is warned, in whatever process, until one that holds it exclusively has mended what it
    guards and says so by :meth:`SharedLock.mark_consistent`. A writer is warned each time; a reader, once in each task, greenlet
    or thread. A lock that was made with ``on_death="raise"`` raises this instead, and then it is not held.
    """


@cython.final
cdef class Common:
    """What those locks of one process have in common that lead to the same memory: one name is one lock, however often it is
    opened.

    Lifetime: of the locks. A Row refers to the mapping alone, and a `local` releases its rows when it dies; so nothing here
    is kept alive by what it keeps.
    """
    cdef Mapping mapping          # this and the next two never change
    cdef object rows              # a local of the thread: its Row
    cdef dict holders             # key -> Holders; for the keys of the ladder alone
    cdef object __weakref__


@cython.final
cdef class Holders:
    """The units of one key that hold the lock, or wait for it."""
    cdef object unit_locks        # this and the next never change. A local of the key: each unit's UnitLock
    cdef uint64_t serial


xctx_forbid_instances(<PyTypeObject*>Common)
xctx_forbid_instances(<PyTypeObject*>Holders)


@cython.no_gc_clear
cdef class SharedLock:
    """SharedLock(name=None, *, key=None, on_death='warn')\n--\n\nA lock that many may hold to read, or one to write.

    It is held by a unit: by default the task, greenlet or thread that acquired it. It can be used by every thread, greenlet
    and process that has it: one forked after it was made, or one it is given to as an argument (of a ``Process``, or among a
    pool's `initargs`), however that is started. With a name, any process of the same user can open it.

    Writers do not starve readers, nor readers writers, nor writers one another. Whatever dies while holding it gives it back: a
    process that is killed, a thread, greenlet or task that ends. A process that is stopped (SIGSTOP) goes on holding it.

    While it waits, a thread sleeps, and a greenlet lets gevent's hub run. A task waits with ``async with`` and the methods
    that end in ``_async``; the others stop its event loop, and all tasks of that with it. Units that wait for one another's
    locks in a circle, in whatever processes, are found in a second or two: the one that came last gets a RuntimeError.

    Args:
        name: of the lock, by which other processes find it; None for one that only those have to whom it is handed.
        key: what a holder is: one of :mod:`xctx.keys`, or a callable; not ``context``.
        on_death: what acquiring does where a writer has died and nobody has called :meth:`mark_consistent` since:
            "warn" (:class:`OwnerDiedWarning`), "raise" it and not hold the lock, or "ignore" it.

    Raises:
        TypeError, ValueError: `name` cannot be a lock's name, or there is a file of that name that is no lock's; the key is
            ``context``; `on_death` is none of these.
        PermissionError: the file of that name, or its directory, is another user's, open to others, or a link.
        OSError: no room is left for the memory that processes share, or no descriptor.
        NotImplementedError: this is not Linux.

    A process has one descriptor for each lock. A program that closes descriptors which are not its own, as daemons do, goes on
    excluding others and being excluded, until it has to find out whether a process that holds the lock is alive: then it gets
    an OSError. So may the first use in a forked process, where /proc is not mounted. The file of a named lock may be removed
    by others; all who use it get a FileNotFoundError then.

    Thread-safety: all methods may be called from any thread.
    Lifetime: what the processes share lives as long as one of them has the lock; the name, too. A child that is forked while
    its parent holds the lock does not hold it.
    """
    cdef Mapping mapping          # this and the next nine never change after __init__
    cdef str title                # its name; None where it has none
    cdef str place                # its path, where the user has chosen that
    cdef Key holder               # the key
    cdef int on_death             # an index of ON_DEATH
    cdef Common common
    cdef object unit_locks        # this and the next two are those of Common and Holders
    cdef object rows
    cdef uint64_t serial
    cdef bint reentrant
    cdef object __weakref__

    def __init__(self, name=None, *, key=None, on_death="warn"):
        key = checked_key(key)
        cdef int how = checked_on_death(on_death)
        cdef Common common
        if self.mapping is not None:
            raise RuntimeError("a lock is initialised once")
        check_locks()
        try:
            common = new_common(new_mapping()) if name is None else names.open_named(name, new_common_of)
        except OSError as error:
            tell_of_limit(error)
            raise
        set_up(self, common, name, None, key, how)

    @classmethod
    def at(cls, path, *, create=True, mode=0o600, key=None, on_death="warn"):
        """The lock whose file is at a path of the user's choice: for a group of users, or containers that share a volume.

        The file is made where it does not exist. It is never removed, and grows with the number of threads that use the lock.
        Any process that may open the file for writing may use the lock. It must be on a file system of this machine: processes
        that map a file of another machine do not see each other's changes.

        Args:
            path: of the file; its directory must exist.
            create: False to raise FileNotFoundError where there is no file.
            mode: the permissions of a new file, whatever the umask.
            key: what a holder is, as for a lock with a name.
            on_death: what acquiring does after a writer's death, as for a lock with a name.

        Returns:
            The lock, of the class on which this is called.

        Raises:
            ValueError: the file is no lock's.
            FileNotFoundError: there is no such file and ``create=False``, or no such directory.
            OSError: the file cannot be opened, there is no room, or it is on a file system of the network (NFS, SMB, 9P).
            NotImplementedError: this is not Linux.
        """
        cdef SharedLock lock = cls.__new__(cls)
        checked = checked_key(key)
        cdef int how = checked_on_death(on_death)
        cdef Common common
        check_locks()
        path = os.path.abspath(os.fsdecode(path))
        try:
            common = names.open_at(path, create, mode, new_common_of)
        except OSError as error:
            tell_of_limit(error)
            raise
        set_up(lock, common, None, path, checked, how)
        return lock

    # --- acquiring

    def acquire(self, exclusive=False, blocking=True, timeout=-1):
        """Acquires the lock for this unit. In a task it stops the event loop while it waits: see :meth:`acquire_async`.

        A wait that a signal's handler, ``gevent.Timeout`` or the like ends by an exception leaves no trace.

        Args:
            exclusive: to write, rather than to read beside others.
            blocking: False to try only.
            timeout: how many seconds to wait; -1 for as long as it takes.

        Returns:
            Whether the lock is held.

        Raises:
            ValueError: this unit holds the lock already (of a :class:`SharedRLock`: to read, and it asks to write); `timeout` is
                negative, or given together with ``blocking=False``.
            RuntimeError: the wait could not end: another unit of this thread has the lock and cannot run meanwhile, or units
                wait for one another's locks in a circle. Or this process counts as dead, because it closed descriptors.
            FileNotFoundError: the lock's file was removed while it was used.
            OSError: no room is left for this thread in the shared memory; or nothing tells whether a holder is alive, because
                no descriptor is left or the program closed the lock's.

        Warns:
            OwnerDiedWarning: a writer died. Where the warning is made an error, the lock is not acquired.
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

        Args:
            blocking: False to try only.
            timeout: how many seconds to wait; -1 for as long as it takes.

        Returns:
            Whether the lock is held.

        Raises and warns as :meth:`acquire`.
        """
        return enter(self, UPGRADABLE, seconds_of(blocking, timeout))

    def upgrade(self, blocking=True, timeout=-1):
        """From upgradable to exclusive, when all others that read have released. New ones wait.

        Args:
            blocking: False to try only.
            timeout: how many seconds to wait; -1 for as long as it takes.

        Returns:
            Whether the lock is held exclusively; otherwise it is upgradable still.

        Raises:
            ValueError: this unit does not hold the lock upgradable. A unit that holds it shared can never upgrade: two such
                units would wait for each other.
            RuntimeError, FileNotFoundError, OSError: as for :meth:`acquire`.
        """
        return upgrade(self, seconds_of(blocking, timeout))

    def upgrade_async(self, timeout=-1):
        """As :meth:`upgrade`, in an asyncio task: other tasks go on reading, and release, meanwhile.

        Args:
            timeout: how many seconds to wait; -1 for as long as it takes.

        Returns:
            An awaitable of whether the lock is held exclusively; otherwise it is upgradable still. Cancelling it leaves it
            upgradable.

        Raises:
            ValueError, RuntimeError, FileNotFoundError, OSError: when awaited, as for :meth:`upgrade`; RuntimeError also
                where it is awaited in another thread, or without an event loop.
        """
        return upgrade_in_task(self, find_unit_lock(self), seconds_of(True, timeout))

    def downgrade(self, *, upgradable=False):
        """From exclusive or upgradable to shared, with no writer in between.

        Args:
            upgradable: from exclusive to upgradable instead.

        Raises:
            ValueError: this unit does not hold the lock exclusively (or upgradable), or is upgrading it at this moment.
            RuntimeError: this process closed descriptors, and so was taken for dead and does not hold the lock any more.
        """
        downgrade(self, UPGRADABLE if upgradable else SHARED)

    def release(self):
        """Takes back one acquisition, the latest, of this unit.

        Raises:
            ValueError: this unit does not hold the lock, or is upgrading it at this moment.
            RuntimeError: this process closed descriptors, and so was taken for dead: it has not held the lock of late.
            FileNotFoundError: the unit wrote, and the lock's file was removed meanwhile: others may have written, too. The lock
                is released all the same.
        """
        leave(self)

    def __enter__(self):
        """Acquires the lock to read. It is the lock that a ``with`` block gets."""
        enter(self, SHARED, FOREVER)
        return self

    def __exit__(self, exc_type=None, exc=None, traceback=None):
        leave_block(self)
        return False

    def shared(self, timeout=-1):
        """``with lock.shared():`` is the same as ``with lock:``, ``async with`` too.

        Args:
            timeout: how many seconds to wait before a TimeoutError; -1 for as long as it takes.

        Returns:
            What ``with`` and ``async with`` take, any number of times. Entering it gives the lock; it raises and warns as
            :meth:`acquire`.

        Raises:
            ValueError: `timeout` is negative.
        """
        if timeout is NO_LIMIT:
            return self
        return block_of(self, SHARED, timeout, False)

    def exclusive(self, timeout=-1, *, mend=False):
        """``with lock.exclusive():`` or ``async with lock.exclusive():`` to write in the block.

        Args:
            timeout: how many seconds to wait before a TimeoutError; -1 for as long as it takes.
            mend: True where the block is to mend what a dead writer left: then nothing is warned about or raised.

        Returns:
            As :meth:`shared`.

        Raises:
            ValueError: `timeout` is negative.
        """
        return block_of(self, EXCLUSIVE, timeout, mend)

    def upgradable(self, timeout=-1):
        """``with lock.upgradable():`` to read in the block, and perhaps :meth:`upgrade` in it; ``async with`` too.

        Args:
            timeout: how many seconds to wait before a TimeoutError; -1 for as long as it takes.

        Returns:
            As :meth:`shared`.

        Raises:
            ValueError: `timeout` is negative.
        """
        return block_of(self, UPGRADABLE, timeout, False)

    def acquire_async(self, exclusive=False, timeout=-1):
        """As :meth:`acquire`, in an asyncio task: to be awaited. Cancelling it leaves no trace.

        It is this task that holds the lock then, also where ``asyncio.wait_for``, ``gather`` or ``create_task`` has another
        task do the waiting. It must wait in the thread that called this, and this task must not end before it has.

        Args:
            exclusive: to write, rather than to read beside others.
            timeout: how many seconds to wait; -1 for as long as it takes, 0 to try only.

        Returns:
            An awaitable of whether the lock is held. With ``timeout=0`` another task that awaits it for one that holds the lock
            already gets False, where that one itself gets the ValueError.

        Raises:
            ValueError: `timeout` is negative.
            ValueError, RuntimeError, FileNotFoundError, OSError: when awaited, as for :meth:`acquire`. RuntimeError also where
                it is awaited in another thread, or without an event loop, or the task that asked has ended.
        """
        return acquiring(acquire_in_task(self, find_unit_lock(self), self.holder.find(True), EXCLUSIVE if exclusive else SHARED,
                                         seconds_of(True, timeout), False), True, None)

    def acquire_upgradable_async(self, timeout=-1):
        """As :meth:`acquire_upgradable`, in an asyncio task.

        Args:
            timeout: how many seconds to wait; -1 for as long as it takes, 0 to try only.

        Returns:
            An awaitable of whether the lock is held; as for :meth:`acquire_async`, which says what it raises.
        """
        return acquiring(acquire_in_task(self, find_unit_lock(self), self.holder.find(True), UPGRADABLE,
                                         seconds_of(True, timeout), False), True, None)

    def __aenter__(self):
        return acquiring(acquire_in_task(self, find_unit_lock(self), self.holder.find(True), SHARED, FOREVER, False), self, None)

    def __aexit__(self, exc_type=None, exc=None, traceback=None):
        leave_block(self)
        return LEFT

    # --- looking

    @property
    def name(self):
        """The name by which other processes find it, or None."""
        return self.title

    @property
    def key(self):
        """The key that it was made with, which says what a holder is."""
        return self.holder

    @property
    def mode(self):
        """How this unit holds the lock, as 'shared', 'upgradable', 'exclusive', or None where it does not."""
        return MODES[unit_lock_here(self).mode]

    @property
    def count(self):
        """How often this unit has acquired the lock and not released it, 0 where it does not hold it."""
        return unit_lock_here(self).depth

    @property
    def path(self):
        """The path of its file, or None where it has no name."""
        return ready(self).path

    @property
    def owner_died(self):
        """Whether a writer died and nobody has called :meth:`mark_consistent` since. The same in all processes."""
        clean_up_all(ready(self))
        return bool(load64(&self.mapping.head.word) & DIED)

    def mark_consistent(self):
        """Says that what the lock guards is whole again after a writer died: from now on nobody is told of that death.

        Raises:
            ValueError: this unit does not hold the lock exclusively.
            RuntimeError: this process closed descriptors, and so was taken for dead and does not hold the lock any more.
        """
        cdef xctx_unit_lock *unit = unit_lock_here(self)
        if unit.mode != EXCLUSIVE:
            raise ValueError("only a unit that holds the lock exclusively can say that all is mended; this one holds it "
                             f"{MODES[unit.mode] or 'not at all'}")
        if not has_row(unit):
            tell_of_loss()
        and64(&unit.head.word, ~<uint64_t>DIED)

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
        """Who holds the lock exclusively or upgradable, as the first three elements of what :meth:`holders` gives, or None."""
        for holder in self.holders():
            if holder[0] != "shared":
                return holder[:3]
        return None

    def locked(self):
        """Whether anyone holds the lock, in any way. It may have changed by now.

        Raises:
            OSError: as for :meth:`holders`.
        """
        return bool(self.holders())

    def holders(self):
        """Who holds the lock, for debugging. It may have changed by now.

        Returns:
            A list of (mode, pid, the kernel's number of the thread or 0 where several share a row, how many units).

        Raises:
            OSError: no descriptor is left, or the program closed the lock's, so that nothing tells which holders are alive.
                The attributes :attr:`owner`, :attr:`readers`, :attr:`waiters` and :attr:`owner_died` raise it as well.
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
                found.append((MODES[flags & 3], load32(&row.pid), load32(&row.thread), 1))
            if inside:
                found.append(("shared", load32(&row.pid), load32(&row.thread), inside))
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
        how = ON_DEATH[self.on_death]
        if self.title is not None:
            return open_named, (type(self), self.title, self.holder, how)
        if self.place is not None:
            return open_at, (type(self), self.place, self.holder, how)
        from multiprocessing import reduction
        from multiprocessing.context import assert_spawning
        assert_spawning(self)   # raises a RuntimeError that tells what to do
        return handed_on, (type(self), reduction.DupFd(ready(self).c.carrier), self.holder, how)


@cython.no_gc_clear
cdef class SharedRLock(SharedLock):
    """SharedRLock(name=None, *, key=None, on_death='warn')\n--\n\nA :class:`SharedLock` that its holder may acquire again.

    A release takes back the latest acquisition; the lock is free again when all are taken back. Acquiring it to read where it
    is held for anything, or to write where it is held to write, never waits: not for a writer who waits for this unit
    either. Acquiring it to write where it is held upgradable upgrades it until that is released.
    """

    def __cinit__(self):
        self.reentrant = True


def open_named(cls, name, key, on_death="warn"):
    """How a lock with a name is unpickled."""
    return cls(name, key=key, on_death=on_death)


def open_at(cls, path, key, on_death):
    """How a lock at a path is unpickled."""
    return cls.at(path, create=False, key=key, on_death=on_death)


def serial_of(SharedLock lock not None):
    """The number by which the UnitLocks of the lock know it; 0 where it was not initialised."""
    return lock.serial


def view_of(lock, cls, key, on_death="ignore"):
    """The same lock as another object: of the class `cls`, and held by units of another key."""
    cdef SharedLock other = <SharedLock?>lock
    cdef SharedLock view = cls.__new__(cls)
    set_up(view, other.common, other.title, other.place, checked_key(key), checked_on_death(on_death))
    return view


def handed_on(cls, carrier, key, on_death="warn"):
    """How a lock without a name is unpickled, in a process that is being started."""
    cdef SharedLock lock = cls.__new__(cls)
    fd = carrier.detach()
    os.set_inheritable(fd, False)
    set_up(lock, new_common(mapping_of(fd, None, False)), None, None, checked_key(key), checked_on_death(on_death))
    return lock


def new_common_of(fd, path, lasting):
    """For an open file with a name; takes over `fd`."""
    return new_common(mapping_of(fd, path, lasting))


cdef Common new_common(Mapping mapping):
    cdef Common common = Common.__new__(Common)
    common.rows = local(key=_core.thread)
    common.holders = {}
    common.mapping = mapping
    return common


cdef int checked_on_death(object how) except -1:
    if how not in ON_DEATH:
        raise ValueError(f"on_death is 'warn', 'raise' or 'ignore', not {how!r}")
    return ON_DEATH.index(how)


cdef Key checked_key(object key):
    cdef Key checked = as_key(_core.task if key is None else key)
    if checked.in_context:
        raise ValueError(f"a lock is held by something that runs: under the key {checked.name!r} there is no such thing")
    return checked


cdef void set_up(SharedLock lock, Common common, str name, str place, Key key, int on_death) except *:
    global _units_of
    cdef Holders holders = None
    if _units_of is None:   # now, and not in the midst of waiting
        from xctx._stores.inspection import stores_of, units_of
        _units_of = units_of
        set_stores_of(stores_of)
    if key.func is None:
        holders = common.holders.get(key)
    if holders is None:
        holders = Holders.__new__(Holders)
        holders.unit_locks = local(key=key)
        holders.serial = xctx_next_serial()
        if key.func is None:
            holders = common.holders.setdefault(key, holders)
    lock.holder = key
    lock.on_death = on_death
    lock.common = common
    lock.unit_locks = holders.unit_locks
    lock.serial = holders.serial
    lock.rows = common.rows
    lock.title = name
    lock.place = place
    lock.mapping = common.mapping


cdef int tell_of_limit(object error) except -1:
    """Raises in the place of an error which says no more than that no descriptor is left."""
    if error.errno == errno.EMFILE:
        raise OSError(errno.EMFILE, f"{error.strerror}: this process has a descriptor for each of its locks, and may have no "
                                    "more (RLIMIT_NOFILE)") from None
    return 0


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
    if ready(lock).path is not None and has_lost_name(lock.mapping.c):
        tell_of_removal(lock.mapping)
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
    cdef int got = UNTRIED
    if unit.any == 0 and (reads_on(unit) if mode == SHARED else not (unit.named or queued(unit.mapping))):
        got = take(unit, mode)
        if got and not load64(&unit.head.word) & DIED:
            return True
    return enter_slowly(lock, unit, mode, seconds, got)


cdef bint enter_slowly(SharedLock lock, xctx_unit_lock *unit, int mode, double seconds, int got) except -1:
    # `got`: of a first look, if there was one.
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


cdef bint acquire(SharedLock lock, UnitLock begun, int mode, double seconds, bint mend) except -1:
    # `begun`: this unit's, where an attempt is under way.
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
            # It begins anew: in a forked child, or after a signal handler that used the lock.
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
    """This unit is busy with an attempt of code that this interrupted, or of another task or thread of the unit."""
    cdef bint here = not owner.c.shared_by_threads or owner.c.thread == PyThread_get_thread_ident()
    if is_beneath(owner):
        return overtake(owner)
    if until == FOREVER and here and current_hub() is None:
        raise RuntimeError("this unit waits for the lock already, in a task or greenlet of this thread that could not go on "
                           "while this code waits as well")
    return pause()


cdef int finish(SharedLock lock, UnitLock owner, int mode, double until, bint acquiring) except -2:
    """The rest of an attempt: HELD, TIME_IS_UP, or FORKED or OVERTAKEN, and it must begin anew."""
    cdef bint upgrading = owner.c.mode == UPGRADABLE
    cdef Attempt attempt = new_attempt(owner, mode, until, acquiring)
    cdef int got
    if until == FOREVER and attempt.task is not None and current_hub() is not None:
        refuse_to_stop_the_holder(lock, owner, mode)
    got = wait(attempt)
    if got == FORKED and upgrading:
        raise RuntimeError("forked while it was waiting to upgrade: the child does not hold the lock")
    return got


cdef bint upgrade(SharedLock lock, double seconds) except -1:
    cdef double until = FOREVER if seconds == FOREVER else monotonic() + seconds
    cdef UnitLock owner
    cdef int got = OVERTAKEN
    while got == OVERTAKEN:
        owner = find_unit_lock(lock)
        begin_upgrade(owner)
        got = finish(lock, owner, EXCLUSIVE, until, False)
    return got


cdef int refuse_to_stop_the_holder(SharedLock lock, UnitLock owner, int mode) except -1:
    """Raises where a task is about to wait in a hub, which stops its event loop, and another task of that loop has the lock.

    Greenlets of the hub go on meanwhile and may give the lock back. No further task of the loop can get it.
    """
    cdef object loop = current_loop()
    cdef UnitLock other
    for unit, kept in _units_of(lock.unit_locks):
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
    UNTRIED = -1

cdef enum:
    BEGUN, COUNTED, BUSY, MISUSED, LOST


cdef int begin(UnitLock owner, int mode, bint reentrant) noexcept:
    """One acquisition more of what is held, or from now on the unit's lock is busy with an attempt."""
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


cdef int tell_of_death_if_any(SharedLock lock, UnitLock owner) except -1:
    if load64(&owner.c.head.word) & DIED:
        tell_of_death(lock, owner)
    return 0


cdef int tell_of_death(SharedLock lock, UnitLock owner) except -1:
    """Tells the new holder that a writer died: one that reads once, so that reading stays fast meanwhile."""
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
            owner.c.told = deaths - 1   # it is told the next time, too
            release(owner)
        raise
    return 0


cdef str DEATH = "one who held this lock exclusively died: what it guards may be half-written"


cdef int warn() except -1:
    """Warns the caller of the lock. Not by `warn` of warnings, which shows what it has shown once for a line no more."""
    try:
        frame = sys._getframe(0)
        # The lock over PostgreSQL takes this one: its caller is meant.
        while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith("xctx."):
            frame = frame.f_back
    except ValueError:   # called by C alone
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


cdef inline bint leave(SharedLock lock) except -1:
    cdef xctx_unit_lock *unit = unit_lock_here(lock)
    if unit.depth == 1 and not unit.shared_by_threads and not unit.busy and not (unit.named and unit.mode != SHARED):
        if not release_unit(unit):
            tell_of_loss()
        if queued(unit.mapping):
            tell_if_queued(unit, ANYTHING)
        return True
    return leave_slowly(lock, <UnitLock>unit.owner)


cdef bint leave_slowly(SharedLock lock, UnitLock owner) except -1:
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


cdef inline bint leave_block(SharedLock lock) except -1:
    cdef xctx_unit_lock *unit = unit_lock_here(lock)
    # A child that was forked inside a block holds nothing, and leaves it all the same.
    if unit.mode == NONE and lock.mapping.forks != xctx_fork_count():
        return False
    return leave(lock)


cdef bint downgrade(SharedLock lock, int mode) except -1:
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


# --- tasks ------------------------------------------------------------------------------------------------------------------

async def acquire_in_task(SharedLock lock, UnitLock owner, Unit asker, int mode, double seconds, bint mend):
    """Whether the lock is held by the unit `asker`, whose `owner` is. To be awaited through `acquiring`."""
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
    """Whether the unit has run to its end; the object may be there a while longer."""
    if asker.ended:
        return True
    is_done = getattr(asker(), "done", None)   # a task
    return is_done is not None and is_done()


cdef int check_asker(UnitLock owner) except -1:
    """Whether what runs here may wait for the unit that asked for the lock."""
    if owner.row.thread != PyThread_get_thread_ident() and not owner.c.shared_by_threads:
        raise RuntimeError("this was asked for in another thread, whose unit would hold the lock: ask for it in a coroutine that "
                           "runs here")
    if owner.forks != xctx_fork_count():
        raise RuntimeError("forked while a task was waiting for the lock: the child does not wait on")
    return 0


async def upgrade_in_task(SharedLock lock, UnitLock owner, double seconds):
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


@cython.final
@cython.no_gc_clear
cdef class Asker:
    """The unit that asks for a lock, for code that waits and releases in its place, perhaps in another task of its thread."""
    cdef SharedLock lock          # this and the next two never change
    cdef UnitLock owner
    cdef Unit unit

    @property
    def count(self):
        """How often the unit has acquired the lock and not released it."""
        return self.owner.c.depth

    def acquire_async(self, mode, timeout, mend=False):
        """As the lock's method of that name, any number of times. `mode` is one of 'shared', 'upgradable' and 'exclusive'."""
        return acquiring(acquire_in_task(self.lock, self.owner, self.unit, MODES.index(mode), seconds_of(True, timeout), mend),
                         True, None)

    def release(self):
        """Takes back one acquisition, the latest, of the unit."""
        leave_slowly(self.lock, self.owner)


def asker_of(lock):
    """The unit that calls this."""
    cdef Asker asker = Asker.__new__(Asker)
    asker.lock = <SharedLock?>lock
    asker.owner = find_unit_lock(asker.lock)
    asker.unit = asker.lock.holder.find(True)
    return asker


xctx_forbid_instances(<PyTypeObject*>Asker)


@cython.final
@cython.no_gc_clear
cdef class LockBlock:
    """What ``lock.exclusive()`` gives: acquires at the start of a ``with`` block, and releases at its end."""
    cdef SharedLock lock   # this and the rest never change
    cdef int mode
    cdef double seconds
    cdef bint mend

    def __enter__(self):
        cdef bint held
        if self.mend:
            held = acquire(self.lock, None, self.mode, self.seconds, True)
        else:
            held = enter(self.lock, self.mode, self.seconds)
        if not held:
            self.give_up()
        return self.lock

    def __exit__(self, exc_type=None, exc=None, traceback=None):
        leave_block(self.lock)
        return False

    def __aenter__(self):
        return acquiring(acquire_in_task(self.lock, find_unit_lock(self.lock), self.lock.holder.find(True), self.mode,
                                         self.seconds, self.mend), self.lock, self)

    def __aexit__(self, exc_type=None, exc=None, traceback=None):
        leave_block(self.lock)
        return LEFT

    cdef int give_up(self) except -1:
        raise TimeoutError(f"the lock was not free to hold it {MODES[self.mode]} within {self.seconds:g} s")


@cython.final
@cython.no_gc_clear
cdef class Acquiring:
    """The coroutine that acquires a lock in a task.

    What a coroutine gives is told by an exception. If that were made when the lock is held, and there were no memory for it,
    the lock would stay held and nobody would know. So it is made before the first step.

    Thread-safety: as any coroutine.
    """
    cdef object steps      # the coroutine of acquire_in_task. This and the next two never change
    cdef object result     # what is given if the lock is held
    cdef LockBlock block   # the one that this enters, or None
    cdef object told       # the exception that tells it; None before the first step

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
        """Takes a step. The last one gives NULL, and `told` tells the result."""
        if self.told is None:
            self.told = StopIteration(self.result)
        if PyIter_Send(self.steps, value, given) == PYGEN_NEXT:
            return True
        held = xctx_taken(given[0])
        given[0] = NULL
        if held is not True:
            self.told = StopIteration(self.outcome(held))
        return False

    cdef object outcome(self, object held):
        if held:
            return self.result
        if self.block is not None:
            self.block.give_up()
        return False


cdef PyObject *next_step(PyObject *o) except? NULL:
    # Not a method, which would give the exception a traceback.
    cdef PyObject *given = NULL
    if not (<Acquiring>o).has_next(None, &given):
        PyErr_SetObject(StopIteration, (<Acquiring>o).told)
    return given


give_next(<PyTypeObject*>Acquiring, next_step)


cdef Acquiring acquiring(object steps, object result, LockBlock block):
    cdef Acquiring made = Acquiring.__new__(Acquiring)
    made.steps = steps
    made.result = result
    made.block = block
    return made


xctx_forbid_instances(<PyTypeObject*>Acquiring)
xctx_forbid_instances(<PyTypeObject*>LockBlock)


# What `__aexit__` gives. A lock is released without waiting; a coroutine that released it would have to be made first, which
# fails where there is no memory, and the lock would stay held.
cdef object LEFT = done(None)


# --- locks that count only while a grant is good ------------------------------------------------------------------------------

cdef extern from *:
    """
    #include <time.h>
    /* Goes on while the machine sleeps, where there is such a clock. */
    static double xctx_lock_clock(void) {
        struct timespec now;
    #ifdef CLOCK_BOOTTIME
        if (clock_gettime(CLOCK_BOOTTIME, &now) == 0) return now.tv_sec + now.tv_nsec * 1e-9;
    #endif
    #ifdef CLOCK_MONOTONIC
        if (clock_gettime(CLOCK_MONOTONIC, &now) == 0) return now.tv_sec + now.tv_nsec * 1e-9;
    #endif
        return 0;
    }
    """
    double xctx_lock_clock() nogil


def clock():
    """Seconds since some moment, by the clock of grants."""
    return xctx_lock_clock()


@cython.final
cdef class Grant:
    """Until when it is certain that something outside of this process lets its units hold a lock.

    Thread-safety: a number that is written and read as a whole.
    """
    cdef public double until

    def good(self):
        """Whether that is now."""
        return xctx_lock_clock() < self.until


@cython.no_gc_clear
cdef class Granted:
    """The base of a lock that consists of a local lock and a grant. A block of it is one of the local lock.

    A subclass has methods for where the local lock is not free at once, or the grant is not good: `_acquire_slowly(exclusive,
    blocking, timeout)`, `_enter_slowly()`, `_release_slowly()` and `_leave_slowly(exc)`; and `_put_back(local)`, which releases
    the local lock that was acquired just now.
    """
    cdef SharedLock inner         # the local lock; this and the rest are changed by `_bind` alone
    cdef Grant grant
    cdef bint forked              # the object was made in a process from which this one was forked

    def _bind(self, inner, grant, forked):
        self.inner = <SharedLock?>inner
        self.grant = <Grant?>grant
        self.forked = forked

    def acquire(self, exclusive=False, blocking=True, timeout=-1):
        """Acquires the lock for this unit. In a task it stops the event loop while it waits: see ``acquire_async``.

        Args:
            exclusive: to write, rather than to read beside others.
            blocking: False to try only, which may ask the server, but waits for no other unit.
            timeout: how many seconds to wait; -1 for as long as it takes.

        Returns:
            Whether the lock is held.

        Raises:
            ValueError: as for :class:`xctx.SharedLock`; or the server is a pooler or a standby.
            ConnectionError: the server cannot be reached.
            LockLost: this unit holds the lock already, and lost it.
        """
        if self.inner is None:
            raise RuntimeError("this lock was not initialised: a subclass calls super().__init__()")
        if blocking is True and timeout is NO_LIMIT and enter(self.inner, EXCLUSIVE if exclusive else SHARED, 0):
            if xctx_lock_clock() < self.grant.until:
                return True
            self._put_back(self.inner)
        return self._acquire_slowly(exclusive, blocking, timeout)

    def release(self):
        """Takes back one acquisition, the latest, of this unit.

        Raises:
            ValueError: this unit does not hold the lock.
            LockLost: it was lost meanwhile. It is released all the same.
        """
        if self.inner is None or not xctx_lock_clock() < self.grant.until:
            self._release_slowly()
        else:
            leave(self.inner)

    def __enter__(self):
        """Acquires the lock to read. It is the lock that a ``with`` block gets."""
        if self.inner is None:
            raise RuntimeError("this lock was not initialised: a subclass calls super().__init__()")
        if enter(self.inner, SHARED, 0):
            if xctx_lock_clock() < self.grant.until:
                return self
            self._put_back(self.inner)
        self._enter_slowly()
        return self

    def __exit__(self, exc_type=None, exc=None, traceback=None):
        if self.inner is None or self.forked or not xctx_lock_clock() < self.grant.until:
            return self._leave_slowly(exc)
        leave_block(self.inner)
        return False


# The type of what these functions give: Cython's own.
cdef object _awaitable = upgrade_in_task(None, None, 0)
xctx_mend_metatype(Py_TYPE(_awaitable))
_awaitable.close()


cdef LockBlock block_of(SharedLock lock, int mode, object timeout, bint mend):
    cdef LockBlock block = LockBlock.__new__(LockBlock)
    block.lock = lock
    block.mode = mode
    block.seconds = FOREVER if timeout is NO_LIMIT else seconds_of(True, timeout)
    block.mend = mend
    return block
