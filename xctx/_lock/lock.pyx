# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Shared/exclusive locks for threads, greenlets, tasks and processes: what a unit may do with one, and when.

    SharedLock ---- Mapping                  the memory that all processes share
       |---- unit_locks, a local of its key:     UnitLock, what each unit has of the lock
       |---- rows, a local of the thread:        Row, by which the units of a thread count in the shared table

The stores drop a unit's values when the unit ends, and a UnitLock that is dropped gives back what it had. So however a
thread, greenlet or task ends, nothing of it stays in the table. In a forked child the stores are empty: it holds
nothing, and takes rows of its own.
"""
cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.object cimport PyTypeObject
from libc.math cimport INFINITY as FOREVER
from libc.stdint cimport uint32_t, uint64_t

from xctx._core cimport Key, as_key
from xctx._lock.acquisition cimport (MODES, NO_LIMIT, ON_DEATH, BaseLock, acquire, downgrade, enter, find_unit_lock, leave,
                                     leave_block, prepare_to_wait, ready, seconds_of, tell_of_timeout, unit_lock_here,
                                     upgrade)
from xctx._lock.tasks cimport acquiring
from xctx._lock.mappings cimport (Mapping, check_locks, clean_up_all, device_of, inode_of, mapping_of, new_mapping,
                                  tell_of_loss)
from xctx._lock.protocol cimport (DIED, EXCLUSIVE, SHARED, UPGRADABLE, and64, interpreter_of, load32, load64, readers_in,
                                  row_at, xctx_head, xctx_row)
from xctx._lock.unit_lock cimport has_row, xctx_unit_lock
from xctx._runtime.parking cimport done
from xctx._runtime.python cimport xctx_forbid_instances, xctx_load_u64, xctx_store_u64
from xctx._runtime.runtime cimport connect, xctx_next_serial
from xctx import _core
from xctx._runtime import copies, interpreter
from xctx._stores.local import local
from xctx._lock import names
from xctx._lock.holder import Holder
from xctx._lock.tasks import upgrade_in_task
import errno
import os

connect()


@cython.final
cdef class Common:
    """What the SharedLocks of one process that use the same memory have in common: one name is one lock, however often it is
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


@cython.final
cdef class Handle:
    """What goes to another interpreter in place of a lock without a name: the number of the descriptor and what file that is,
    in memory that both can read. The descriptor stays open while this is on its way."""
    cdef Common common            # this and the next never change
    cdef uint64_t[3] numbers      # descriptor, device, inode

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.numbers, sizeof(self.numbers), True, flags)


xctx_forbid_instances(<PyTypeObject*>Handle)
xctx_forbid_instances(<PyTypeObject*>Common)
xctx_forbid_instances(<PyTypeObject*>Holders)


@cython.no_gc_clear
cdef class SharedLock(BaseLock):
    """SharedLock(name=None, *, key=None, on_death='warn')\n--\n\nA lock that many units may hold to read, or one to write.

    It is held by a unit: by default the task, greenlet or thread that acquired it. Every thread, greenlet and process that has
    it can use it: a process that was forked after it was made, or gets it as an argument (of a ``Process``, or among a
    pool's `initargs`), however it is started. With a name, any process of the same user can open it.

    Writers do not starve readers, nor readers writers, nor writers one another. A holder that dies gives it back: a
    process that is killed, a thread, greenlet or task that ends. A process that is stopped (SIGSTOP) goes on holding it.

    While it waits, a thread sleeps, and a greenlet lets gevent's hub run. A task waits with ``async with`` and the methods
    that end in ``_async``; the others stop its event loop, and all tasks of that with it. Units that wait for one another's
    locks in a circle, in whatever processes, are found in a second or two: the one that came last gets a RuntimeError.

    Args:
        name: of the lock, by which other processes find it; None for a lock that only those can use to whom it is handed.
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
    an OSError. Where /proc is not mounted, the first use in a forked process may raise one, too. If others remove the file of a
    named lock, all its users get a FileNotFoundError.

    Thread-safety: all methods may be called from any thread.
    Lifetime: what the processes share lives as long as one of them has the lock; the name, too. A child that is forked while
    its parent holds the lock does not hold it.
    """
    cdef str title                # its name; None where it has none. This and the next two never change after __init__
    cdef str place                # its path, where the user has chosen that
    cdef Common common
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

        A wait that is ended by an exception of a signal handler, ``gevent.Timeout`` or the like leaves no trace.

        Args:
            exclusive: to write, rather than to read beside others.
            blocking: False to try only.
            timeout: how many seconds to wait; -1 for as long as it takes.

        Returns:
            Whether the lock is held.

        Raises:
            ValueError: this unit holds the lock already (a :class:`SharedRLock`: to read, and asks to write); `timeout` is
                negative, or given together with ``blocking=False``.
            RuntimeError: the wait could not end: another unit of this thread has the lock and cannot run meanwhile, or units
                wait for one another's locks in a circle. Or this process counts as dead, because it closed descriptors.
            FileNotFoundError: the lock's file was removed while it was used.
            OSError: no room is left for this thread in the shared memory; or it cannot be found out whether a holder is alive,
                because no descriptor is left or the program closed the lock's.

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
        """From upgradable to exclusive, once all other readers have released. New readers wait.

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
            RuntimeError: this process closed descriptors, and so was taken for dead: it had lost the lock already.
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
            mend: True if the block mends what a dead writer left: it neither warns of the death nor raises for it.

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

        This task then holds the lock, even where ``asyncio.wait_for``, ``gather`` or ``create_task`` has another task do the
        waiting. That task must run in the thread that called this, and this task must not end before the wait does.

        Args:
            exclusive: to write, rather than to read beside others.
            timeout: how many seconds to wait; -1 for as long as it takes, 0 to try only.

        Returns:
            An awaitable of whether the lock is held. With ``timeout=0``, where this task holds the lock already, another task
            that awaits it gets False, and this task itself the ValueError.

        Raises:
            ValueError: `timeout` is negative.
            ValueError, RuntimeError, FileNotFoundError, OSError: when awaited, as for :meth:`acquire`. RuntimeError also where
                it is awaited in another thread, or without an event loop, or the task that asked has ended.
        """
        return acquiring(self, EXCLUSIVE if exclusive else SHARED, seconds_of(True, timeout), False, None)

    def acquire_upgradable_async(self, timeout=-1):
        """As :meth:`acquire_upgradable`, in an asyncio task.

        Args:
            timeout: how many seconds to wait; -1 for as long as it takes, 0 to try only.

        Returns:
            An awaitable of whether the lock is held; as for :meth:`acquire_async`, which says what it raises.
        """
        return acquiring(self, UPGRADABLE, seconds_of(True, timeout), False, None)

    def __aenter__(self):
        return acquiring(self, SHARED, FOREVER, False, self)

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
        """The exclusive or upgradable holder, as the first three elements of its entry in :meth:`holders`, or None."""
        for holder in self.holders():
            if holder[0] != "shared":
                return holder[:3]
        return None

    def locked(self):
        """Whether any unit holds the lock, in any mode. It may have changed by now.

        Raises:
            OSError: as for :meth:`holders`.
        """
        return bool(self.holders())

    def holders(self):
        """The holders of the lock, for debugging. They may have changed by now.

        Returns:
            A list of (mode, pid, the kernel's number of the thread or 0 where several share a row, how many units). Each entry
            also has the attribute ``interpreter``: which one of that process the holder is in, 0 for the main one.

        Raises:
            OSError: no descriptor is left, or the program closed the lock's, so that it is unknown which holders are alive.
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
                found.append(holder_of(row, MODES[flags & 3], 1))
            if inside:
                found.append(holder_of(row, "shared", inside))
        return found

    def __repr__(self):
        if self.mapping is None:
            return object.__repr__(self)
        held = []
        for holder in self.holders():
            mode, pid, _, count = holder
            who = f"interpreter {holder.interpreter} of {pid}" if holder.interpreter else pid
            held.append(f"{mode} by {who}" if count == 1 else f"{mode} by {who} ({count})")
        name = "" if self.title is None else f" {self.title!r}"
        return f"<xctx.{type(self).__name__}{name}: {', '.join(held) or 'free'}>"

    def __reduce__(self):
        how = ON_DEATH[self.on_death]
        if self.title is not None:
            return open_named, (type(self), self.title, self.holder, how)
        if self.place is not None:
            return open_at, (type(self), self.place, self.holder, how)
        crossing = interpreter.is_crossing()
        if crossing:
            handle = bytes(handle_of(self))
            if crossing != interpreter.TRIED:
                copies.send_file(*numbers_of(handle))
            return handed_over, (type(self), handle, self.holder, how)
        from multiprocessing import reduction
        from multiprocessing.context import assert_spawning
        assert_spawning(self)   # raises a RuntimeError that says what to do
        return handed_on, (type(self), reduction.DupFd(ready(self).c.carrier), self.holder, how)

    def _cross(self):
        if self.title is None and self.place is None:
            return __name__, "handed_over", type(self), memoryview(handle_of(self)), self.holder, ON_DEATH[self.on_death]
        maker, args = self.__reduce__()
        return __name__, maker.__name__, *args


@cython.no_gc_clear
cdef class SharedRLock(SharedLock):
    """SharedRLock(name=None, *, key=None, on_death='warn')\n--\n\nA :class:`SharedLock` that its holder may acquire again.

    A release takes back the latest acquisition; the lock is free again when all are taken back. Acquiring it to read where it
    is held in any mode, or to write where it is held to write, never waits, not even for a writer that waits for this unit.
    Acquiring it to write where it is held upgradable upgrades it until that acquisition is released.
    """

    def __cinit__(self):
        self.reentrant = True


if hasattr(copies, "let_cross"):   # from 3.14 on
    copies.let_cross(SharedLock)
    copies.let_cross(SharedRLock)


cdef object holder_of(xctx_row *row, str mode, uint32_t units):
    cdef uint32_t number = interpreter_of(row)
    holder = Holder((mode, load32(&row.pid), load32(&row.thread), units))
    if number:
        holder.interpreter = number
    return holder


def open_named(cls, name, key, on_death="warn"):
    """How a lock with a name is unpickled."""
    return cls(name, key=key, on_death=on_death)


def open_at(cls, path, key, on_death):
    """How a lock at a path is unpickled."""
    return cls.at(path, create=False, key=key, on_death=on_death)


def serial_of(SharedLock lock not None):
    """The number by which the UnitLocks of the lock know it; 0 where it was not initialised."""
    return xctx_load_u64(&lock.serial)   # another thread may be making the lock


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


cdef Handle handle_of(SharedLock lock):
    cdef Mapping mapping = ready(lock)
    cdef Handle handle = Handle.__new__(Handle)
    handle.common = lock.common
    handle.numbers = [mapping.c.carrier, device_of(mapping.c), inode_of(mapping.c)]
    if not names.note(mapping.c.carrier, (device_of(mapping.c), inode_of(mapping.c)), lock.common):
        raise OSError(errno.EBADF, "the program closed the descriptor of this lock, so it cannot go to another interpreter")
    return handle


def handed_over(cls, handle, key, on_death):
    """How a lock without a name arrives in another interpreter of this process.

    Args:
        handle: a memoryview of a Handle, or its bytes where the lock was pickled: then nothing has kept it meanwhile.

    Raises:
        RuntimeError: the descriptor is another file's by now, or none's.
    """
    cdef SharedLock lock = cls.__new__(cls)
    with memoryview(handle) as memory:
        fd = copies.receive_file(*numbers_of(memory))
    if fd is None:
        raise RuntimeError("a lock without a name has not arrived: the interpreter that sent it had let go of it by then, or "
                           "closed its descriptor")
    set_up(lock, names.once(fd, None, False, new_common_of), None, None, checked_key(key), checked_on_death(on_death))
    return lock


cdef list numbers_of(object handle):
    return memoryview(handle).cast("B").cast("Q").tolist()


def new_common_of(fd, path, lasting):
    """For an open file; takes over `fd`."""
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
    cdef Holders holders = None
    prepare_to_wait()
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
    xctx_store_u64(&lock.serial, holders.serial)
    lock.rows = common.rows
    lock.title = name
    lock.place = place
    lock.mapping = common.mapping


cdef int tell_of_limit(object error) except -1:
    """Replaces an error that says only that no descriptor is left."""
    if error.errno == errno.EMFILE:
        raise OSError(errno.EMFILE, f"{error.strerror}: this process has a descriptor for each of its locks, and may have no "
                                    "more (RLIMIT_NOFILE)") from None
    return 0


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
            tell_of_timeout(self.mode, self.seconds)
        return self.lock

    def __exit__(self, exc_type=None, exc=None, traceback=None):
        leave_block(self.lock)
        return False

    def __aenter__(self):
        return acquiring(self.lock, self.mode, self.seconds, self.mend, self.lock)

    def __aexit__(self, exc_type=None, exc=None, traceback=None):
        leave_block(self.lock)
        return LEFT


xctx_forbid_instances(<PyTypeObject*>LockBlock)


# What `__aexit__` gives. Releasing need not wait. A coroutine that released would have to be allocated first; if that failed,
# the lock would stay held.
cdef object LEFT = done(None)


cdef LockBlock block_of(SharedLock lock, int mode, object timeout, bint mend):
    cdef LockBlock block = LockBlock.__new__(LockBlock)
    block.lock = lock
    block.mode = mode
    block.seconds = FOREVER if timeout is NO_LIMIT else seconds_of(True, timeout)
    block.mend = mend
    return block
