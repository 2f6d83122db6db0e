# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Shared/exclusive locks for threads, greenlets, tasks and processes.

What all of them share is a page or two of memory and the protocol on it, which ``_lock.h`` tells. Here is what one process
makes of it:

    lock ---- memory          the mapping, and the file it is of
      |---- holds: a local of the lock's key:   what each unit has of the lock (*hold*)
      |---- lines: a local of the thread:       the line in the shared table by which this thread's units count

A unit that ends drops its hold, and a thread its line, because stores do that; a hold that is dropped gives back what it
had. So whatever way a thread, greenlet or task comes to its end, nothing of it stays in the table.

In a forked child the stores are empty: it holds nothing, and takes lines of its own.
"""
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from xctx._core cimport (CONTEXT, GREENLET, TASK, THREAD, Key, PyThreadState, as_key, xctx_at_fork_in_child, xctx_lock,
                         xctx_mutex, xctx_next_u64, xctx_tstate, xctx_unlock)
from xctx import _core, _names, _waiting
from xctx._local import local
import os
import time

cdef extern from "_slots.h" nogil:
    ctypedef struct xctx_slot:
        void *what
    xctx_slot *slot_of "xctx_slot_of"(uint64_t serial)
    bint slot_hit "xctx_slot_hit"(xctx_slot *, uint64_t, PyThreadState *, PyObject *)
    void slot_set "xctx_slot_set"(xctx_slot *, uint64_t, PyThreadState *, void *)
    void slot_drop "xctx_slot_drop"(xctx_slot *, uint64_t)
    void slots_empty "xctx_slots_empty"() noexcept

cdef extern from "_lock_hold.h" nogil:
    int NO_LOCKS "XCTX_NO_LOCKS"
    size_t SIZE "XCTX_SIZE"
    uint64_t NAP "XCTX_NAP"
    int USERS "XCTX_USERS"
    int NONE "XCTX_NONE", SHARED "XCTX_SHARED", UPGRADABLE "XCTX_UPGRADABLE", EXCLUSIVE "XCTX_EXCLUSIVE"
    int IDLE "XCTX_IDLE", QUEUE "XCTX_QUEUE"
    uint32_t SEAT "XCTX_SEAT", DIED "XCTX_DIED", HELPER_NAP "XCTX_HELPER_NAP"
    int F_RDLCK, F_WRLCK
    ctypedef struct xctx_head:
        uint32_t word, used, gate
    ctypedef struct xctx_line:
        uint64_t state
        uint32_t flags, owner, thread
    ctypedef struct xctx_mem:
        xctx_head *head
        int carrier
    ctypedef struct xctx_attempt:
        uint8_t phase, want, patient, naps
        uint32_t gate
    ctypedef struct xctx_hold:
        xctx_head *head
        xctx_line *line
        xctx_mem *mem
        uint32_t index, depth, wrote_at
        uint8_t mode, shared, busy, told
        xctx_attempt attempt
    uint32_t fork_count "xctx_fork_count"
    int watch_forks "xctx_watch_forks"()
    uint32_t load32 "xctx_load32"(uint32_t *)
    uint64_t load64 "xctx_load64"(uint64_t *)
    uint32_t readers_in "XCTX_IN"(uint64_t)
    void futex_wait "xctx_futex_wait"(uint32_t *, uint32_t, uint64_t, uint32_t, unsigned)
    int lock_byte "xctx_lock_byte"(int, int, long)
    int new_file "xctx_new_file"()
    xctx_mem *map_memory "xctx_map"(int, int)
    int unmap_memory "xctx_unmap"(xctx_mem *, int *)
    ctypedef void (*xctx_burial)(xctx_head *, uint32_t)
    void bury "xctx_bury"(xctx_head *, uint32_t)
    int claim "xctx_claim"(xctx_mem *, xctx_burial)
    void unclaim "xctx_unclaim"(xctx_mem *, uint32_t)
    xctx_line *line_at "xctx_line_at"(xctx_head *, uint32_t)
    int poll "xctx_poll"(xctx_head *, uint32_t, xctx_attempt *)
    int arm "xctx_arm"(xctx_head *, uint32_t, xctx_attempt *)
    int cancel "xctx_cancel"(xctx_head *, uint32_t, xctx_attempt *, int)
    void leave "xctx_leave"(xctx_head *, xctx_line *)
    void announce "xctx_announce"(xctx_head *, xctx_attempt *)
    uint32_t nap_bit "xctx_nap_bit"(xctx_attempt *)
    int look_for_dead "xctx_look"(xctx_mem *, xctx_attempt *)
    void look_at_all "xctx_look_at_all"(xctx_mem *)
    bint take "xctx_hold_take"(xctx_hold *, int)
    bint spin "xctx_hold_spin"(xctx_hold *)
    void give_back "xctx_hold_release"(xctx_hold *)
    void step_down "xctx_hold_downgrade"(xctx_hold *, int)
    void abandon "xctx_hold_abandon"(xctx_hold *)

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1
    object PyErr_SetFromErrno(object)

cdef tuple MODES = (None, "shared", "upgradable", "exclusive")
cdef uint64_t serials = 0
cdef double FOREVER = float("inf")


class OwnerDiedWarning(RuntimeWarning):
    """One who held a lock exclusively has died, so what the lock guards may be half-written.

    Everyone who acquires the lock is told, in whatever process, until somebody who was told has held it exclusively and
    released it, not by an exception that left a ``with`` block: then it is taken for mended.
    """


slots_empty()
if watch_forks() or xctx_at_fork_in_child(slots_empty):
    raise MemoryError("no room for a fork handler")


# --- what a lock is made of ---------------------------------------------------------------------------------------------

cdef class Memory:
    """The memory that all who have the lock share.

    Thread-safety: nothing changes after it is made.
    Lifetime: ends with the last lock, line and hold of this process that refers to it. A file with a name is removed then,
    where no other process uses it.
    """
    cdef xctx_mem *mem
    cdef str path          # None where it has no name
    cdef uint32_t generation
    cdef object __weakref__

    def __dealloc__(self):
        cdef int fd = -1
        if self.mem != NULL and unmap_memory(self.mem, &fd):
            _names.remove(self.path)
            os.close(fd)

    def nap(self, gate):
        """Sleeps while the gate stands, for those who wait by a helper."""
        cdef uint32_t value = gate
        with nogil:
            futex_wait(&self.mem.head.gate, value, NAP, HELPER_NAP, 3)


cdef Memory memory_of(int fd, str path):
    # Takes over `fd`.
    cdef Memory memory = Memory.__new__(Memory)
    memory.mem = map_memory(fd, path is not None)
    if memory.mem == NULL:
        try:
            PyErr_SetFromErrno(OSError)
        finally:
            os.close(fd)
    memory.path = path
    memory.generation = fork_count
    return memory


cdef class Line:
    """This thread's line in the table."""
    cdef Memory memory
    cdef uint32_t index
    cdef uint32_t generation

    def __dealloc__(self):
        if self.memory is not None and self.generation == fork_count:
            unclaim(self.memory.mem, self.index)


cdef Line new_line(Memory memory):
    cdef Line line = Line.__new__(Line)
    cdef int index = claim(memory.mem, bury)
    if index < 0:
        PyErr_SetFromErrno(OSError)
    line.index = index
    line.generation = fork_count
    line.memory = memory   # last: only what was claimed is given back
    return line


cdef class Hold:
    """What one unit has of one lock. Touched by that unit alone, until it ends."""
    cdef xctx_hold c
    cdef xctx_mutex guard   # of `c` where several threads are one unit: a process, a callable's value
    cdef Line line
    cdef uint64_t serial
    cdef uint32_t generation

    def __dealloc__(self):
        cdef xctx_slot *slot = slot_of(self.serial)
        if slot.what == &self.c:
            slot_drop(slot, self.serial)
        if self.line is not None and self.generation == fork_count:
            abandon(&self.c)


cdef Hold new_hold(Line line, uint64_t serial, bint shared):
    cdef Hold hold = Hold.__new__(Hold)
    hold.c.mem = line.memory.mem
    hold.c.head = line.memory.mem.head
    hold.c.index = line.index
    hold.c.line = line_at(hold.c.head, line.index)
    hold.c.shared = shared
    hold.line = line
    hold.serial = serial
    hold.generation = fork_count
    return hold


# --- the locks ----------------------------------------------------------------------------------------------------------

cdef class SharedLock:
    """A lock that many may hold to read, or one to write.

    It is held by a unit: by default the task, greenlet or thread that acquired it. It can be used by every thread, greenlet
    and process that has it: one forked after it was made, or one it is given to as an argument (of a ``Process``, or among a
    pool's `initargs`), however that is started. With a name, any process of the same user can open it.

    Writers do not starve readers, nor readers writers. Who dies while holding it gives it back.

    Args:
        name: of the lock, by which other processes find it; None for one that only those have to whom it is handed.
        key: what a holder is: one of :mod:`xctx.keys`, or a callable; not ``context``.

    Raises:
        TypeError, ValueError: `name` cannot be a lock's name; the key is ``context``.
        PermissionError: the file of that name is another user's, or a link.
        NotImplementedError: this system has no memory for processes to share that xctx knows to use.

    Thread-safety: all methods may be called from any thread.
    Lifetime: what the processes share lives as long as one of them has the lock; the name, too. A child that is forked while
    its parent holds the lock does not hold it.
    """
    cdef Memory memory            # this and the next four never change after __init__
    cdef str title                # its name; None where it has none
    cdef Key holder               # the key
    cdef object holds
    cdef object lines
    cdef uint64_t serial
    cdef dict rounds              # of those who wait in a hub or loop: that -> rounds
    cdef bint reentrant
    cdef object __weakref__

    def __init__(self, name=None, *, key=None):
        if NO_LOCKS:
            raise NotImplementedError("locks between processes are not known to xctx on this system")
        if name is None:
            fd = new_file()
            if fd < 0:
                PyErr_SetFromErrno(OSError)
            set_up(self, memory_of(fd, None), None, key)
        else:
            name = _names.check_name(name)
            key = checked_key(key)
            fd, path = _names.open_file(name, SIZE, use_file)
            set_up(self, memory_of(fd, path), name, key)

    # --- acquiring

    def acquire(self, exclusive=False, blocking=True, timeout=-1):
        """Acquires the lock for this unit.

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
        cdef xctx_hold *hold = held_here(self)
        cdef int mode = SHARED
        if exclusive is True or (exclusive is not False and exclusive):
            mode = EXCLUSIVE
        if hold.mode == NONE and not hold.shared and take(hold, mode):
            if load32(&hold.head.word) & DIED:
                tell(hold)
            return True
        return acquire(self, mode, blocking, timeout)

    def acquire_upgradable(self, blocking=True, timeout=-1):
        """Acquires the lock to read, beside others, with the right to write later: only one unit at a time has it.

        Args, returns, raises and warns as :meth:`acquire`.
        """
        return acquire(self, UPGRADABLE, blocking, timeout)

    def upgrade(self, blocking=True, timeout=-1):
        """From upgradable to exclusive, when all who read have released. New ones wait. Args as :meth:`acquire`.

        Returns:
            Whether the lock is held exclusively; otherwise it is upgradable still.

        Raises:
            ValueError: this unit does not hold the lock upgradable. Who holds it shared cannot ever upgrade: two of them would
                wait for each other.
        """
        cdef xctx_hold *hold = held_here(self)
        if hold.mode != UPGRADABLE:
            raise ValueError(f"only from upgradable is a lock upgraded; this unit holds it {MODES[hold.mode] or 'not at all'}")
        return upgrade(self, 0, blocking, timeout)

    def downgrade(self, *, upgradable=False):
        """From exclusive or upgradable to shared, with no writer in between.

        Args:
            upgradable: from exclusive to upgradable instead.

        Raises:
            ValueError: this unit does not hold the lock exclusively (or upgradable).
        """
        cdef xctx_hold *hold = held_here(self)
        cdef int mode = UPGRADABLE if upgradable else SHARED
        if hold.mode <= mode:
            raise ValueError(f"cannot downgrade to {MODES[mode]}: this unit holds the lock {MODES[hold.mode] or 'not at all'}")
        step_down(hold, mode)

    def release(self):
        """Takes back one acquisition, the latest, of this unit.

        Raises:
            ValueError: this unit does not hold the lock.
        """
        cdef xctx_hold *hold = held_here(self)
        if hold.depth == 1 and not hold.shared:
            give_back(hold)
        elif not release(find_hold(self)):
            raise ValueError("lock released too many times: this unit does not hold it")

    def __enter__(self):
        """Acquires the lock to read. It is the lock that a ``with`` block gets."""
        cdef xctx_hold *hold = held_here(self)
        if hold.mode == NONE and not hold.shared and take(hold, SHARED):
            if load32(&hold.head.word) & DIED:
                tell(hold)
        else:
            acquire(self, SHARED, True, -1)
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
        return acquire_in_task(self, EXCLUSIVE if exclusive else SHARED, timeout)

    def acquire_upgradable_async(self, timeout=-1):
        """As :meth:`acquire_upgradable`, to be awaited in an asyncio task."""
        return acquire_in_task(self, UPGRADABLE, timeout)

    def __aenter__(self):
        return acquire_in_task(self, SHARED, -1, self)

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
        return MODES[held_here(self).mode]

    @property
    def count(self):
        """How often this unit has acquired the lock and not released it."""
        return held_here(self).depth

    @property
    def owner_died(self):
        """Whether a writer died and nobody has written since (see :class:`OwnerDiedWarning`)."""
        look_at_all(ready(self).mem)
        return bool(load32(&self.memory.mem.head.word) & DIED)

    @property
    def readers(self):
        """How many units hold the lock shared, in all processes. It may have changed by now."""
        cdef xctx_head *head = ready(self).mem.head
        cdef uint32_t index
        look_at_all(self.memory.mem)
        count = 0
        for index in range(load32(&head.used)):
            count += readers_in(load64(&line_at(head, index).state))
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
            A list of (mode, pid, the kernel's number of the thread, how many units).
        """
        cdef xctx_head *head = ready(self).mem.head
        cdef xctx_line *line
        cdef uint32_t index, flags, inside
        cdef list found = []
        look_at_all(self.memory.mem)
        for index in range(load32(&head.used)):
            line = line_at(head, index)
            flags = load32(&line.flags)
            inside = readers_in(load64(&line.state))
            if flags:
                found.append((MODES[flags & 3], load32(&line.owner), load32(&line.thread), 1))
            if inside:
                found.append(("shared", load32(&line.owner), load32(&line.thread), inside))
        return found

    def __repr__(self):
        if self.memory is None:
            return object.__repr__(self)
        held = ", ".join(f"{mode} by {pid}" if count == 1 else f"{mode} by {pid} ({count})"
                         for mode, pid, _, count in self.holders())
        name = "" if self.title is None else f" {self.title!r}"
        return f"<xctx.{type(self).__name__}{name}: {held or 'free'}>"

    def __reduce__(self):
        if self.title is not None:
            return open_named, (type(self), self.title, self.holder)
        from multiprocessing import reduction
        from multiprocessing.context import assert_spawning
        assert_spawning(self)   # raises a RuntimeError that tells what to do
        return handed_on, (type(self), reduction.DupFd(ready(self).mem.carrier), self.holder)


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
    set_up(lock, memory_of(fd, None), None, key)
    return lock


def use_file(fd, alone):
    """Locks the byte of a file that tells whether anybody uses it; True where that could be had."""
    return lock_byte(fd, F_WRLCK if alone else F_RDLCK, USERS) == 0


cdef Key checked_key(object key):
    cdef Key checked = as_key(_core.task if key is None else key)
    if checked.rung == CONTEXT:
        raise ValueError("a lock is held by something that runs: under the key 'context' there is no such thing")
    return checked


cdef void set_up(SharedLock lock, Memory memory, str name, object key) except *:
    global serials
    lock.holder = checked_key(key)
    if lock.memory is not None:
        raise RuntimeError("a lock is initialised once")
    lock.holds = local(key=lock.holder)
    lock.lines = local(key=_core.thread)
    lock.rounds = {}
    lock.title = name
    lock.serial = xctx_next_u64(&serials)
    lock.memory = memory


cdef Memory ready(SharedLock lock):
    if lock.memory is None:
        raise RuntimeError("this lock was not initialised: a subclass calls super().__init__()")
    return lock.memory


# --- what this unit has ---------------------------------------------------------------------------------------------------

cdef inline xctx_hold *held_here(SharedLock lock) except NULL:
    # Borrowed: this unit keeps it alive.
    cdef PyThreadState *tstate = xctx_tstate()
    cdef xctx_slot *slot = slot_of(lock.serial)
    if slot_hit(slot, lock.serial, tstate, <PyObject*>lock):
        return <xctx_hold*>slot.what
    return &find_hold(lock).c


cdef Hold find_hold(SharedLock lock):
    cdef PyThreadState *tstate = xctx_tstate()
    cdef uint64_t ver = tstate.context_ver
    cdef Hold hold
    cdef Line line
    ready(lock)
    hold = getattr(lock.holds, "hold", None)
    if hold is None:
        line = getattr(lock.lines, "line", None)
        if line is None:
            line = lock.lines.line = new_line(lock.memory)
        hold = lock.holds.hold = new_hold(line, lock.serial, lock.holder.rung not in (THREAD, GREENLET, TASK))
    # Where a callable says who runs, it must be asked each time.
    if not hold.c.shared and tstate.context_ver == ver:
        slot_set(slot_of(lock.serial), lock.serial, tstate, &hold.c)
    return hold


cdef void tell(xctx_hold *hold) except *:
    """Tells the new holder that a writer died."""
    import warnings
    cdef int mode = hold.mode
    hold.told = True
    try:
        warnings.warn("one who held this lock exclusively died: what it guards may be half-written", OwnerDiedWarning, 1)
    except BaseException:
        hold.told = False
        if mode != NONE:
            give_back(hold)
        raise


cdef bint leave_block(SharedLock lock, object failed) except -1:
    cdef xctx_hold *hold = held_here(lock)
    if failed is not None:
        hold.told = False   # what was to be mended may not be
    # A child that was forked inside a block holds nothing, and leaves it all the same.
    if hold.mode == NONE and lock.memory.generation != fork_count:
        return False
    lock.release()
    return True


# --- acquiring, where it is not had at once -------------------------------------------------------------------------------

cdef double seconds_of(object blocking, object timeout) except? -2:
    cdef double seconds
    if not blocking:
        if timeout is not None and timeout != -1:
            raise ValueError("can't specify a timeout for a non-blocking call")
        return 0
    if timeout is None:
        return FOREVER
    seconds = timeout
    if seconds == -1:
        return FOREVER
    if not seconds >= 0:
        raise ValueError(f"a timeout is a number of seconds, or -1, not {timeout!r}")
    return seconds


cdef bint acquire(SharedLock lock, int mode, object blocking, object timeout) except -1:
    cdef double seconds = seconds_of(blocking, timeout)
    cdef double until = FOREVER if seconds == FOREVER else time.monotonic() + seconds
    cdef Hold hold
    cdef bint first
    cdef int got = -1
    while got < 0:   # again in a child that was forked while this waited
        hold = find_hold(lock)
        xctx_lock(&hold.guard)
        first = hold.c.mode == NONE and not hold.c.busy
        if first:
            hold.c.busy = True
        xctx_unlock(&hold.guard)
        if first:
            try:
                # The caller has made its first look already where there is a try under way.
                got = wait(lock, hold, mode, until)
            finally:
                hold.c.busy = False
        elif hold.c.mode != NONE:
            if not acquired_again(lock, hold, mode):
                return upgrade(lock, hold.c.depth + 1, blocking, timeout)
            return True
        elif time.monotonic() >= until:
            return False
        else:
            # Another thread of this unit is acquiring it: rare enough to be asked for now and then.
            _waiting.pause(0.001)
            PyErr_CheckSignals()
    if got and load32(&hold.c.head.word) & DIED:
        tell(&hold.c)
    return got


cdef bint release(Hold owner) noexcept:
    cdef xctx_hold *hold = &owner.c
    cdef bint held
    xctx_lock(&owner.guard)
    held = hold.depth != 0
    if hold.depth == 1:
        give_back(hold)
    elif held:
        if hold.depth == hold.wrote_at:
            step_down(hold, UPGRADABLE)
        hold.depth -= 1
    xctx_unlock(&owner.guard)
    return held


cdef bint acquired_again(SharedLock lock, Hold owner, int mode) except -1:
    """One acquisition more, of what is held. False where that is an upgrade."""
    cdef xctx_hold *hold = &owner.c
    if not lock.reentrant:
        if hold.mode == SHARED and mode != SHARED:
            raise ValueError("Cannot upgrade a shared lock: two who try wait for each other. Acquire it upgradable, or exclusive")
        raise ValueError(f"Lock not re-entrant: this unit holds it {MODES[hold.mode]}")
    if mode > hold.mode:
        if hold.mode == SHARED:
            raise ValueError("Cannot upgrade a shared lock: two who try wait for each other. Acquire it upgradable, or exclusive")
        return False
    xctx_lock(&owner.guard)
    hold.depth += 1
    xctx_unlock(&owner.guard)
    return True


cdef bint upgrade(SharedLock lock, uint32_t depth, object blocking, object timeout) except -1:
    # `depth`: of the acquisition that this is, or 0.
    cdef double seconds = seconds_of(blocking, timeout)
    cdef double until = FOREVER if seconds == FOREVER else time.monotonic() + seconds
    cdef Hold hold = find_hold(lock)
    cdef int got
    announce(hold.c.head, &hold.c.attempt)
    hold.c.attempt.naps = 0
    got = wait(lock, hold, EXCLUSIVE, until)
    if got < 0:
        raise RuntimeError("forked while it was waiting to upgrade: the child does not hold the lock")
    if got and depth:
        hold.c.depth = hold.c.wrote_at = depth
    return got


cdef int wait(SharedLock lock, Hold owner, int mode, double until) except -2:
    """Waits for what was begun: 1 held, 0 time is up, -1 this is a forked child now, where nothing was begun."""
    cdef xctx_hold *hold = &owner.c
    cdef bint upgrading = hold.mode == UPGRADABLE
    cdef double left
    cdef uint64_t nap
    cdef unsigned turn = 0
    if hold.attempt.phase == IDLE:
        if take(hold, mode):
            return 1
    if spin_or_bury(hold):
        return settled(hold, mode, upgrading)
    if until != FOREVER and time.monotonic() >= until:
        hold.attempt.patient = 1   # one who only tries does not stand behind others
        if poll(hold.head, hold.index, &hold.attempt):
            return settled(hold, mode, upgrading)
        return stopped(hold, mode, upgrading)
    hub = _waiting.hub_here()
    if hub is not None:
        return wait_in_hub(lock, owner, mode, until, hub)
    try:
        while True:
            if arm(hold.head, hold.index, &hold.attempt):
                return settled(hold, mode, upgrading)
            nap = NAP
            if until != FOREVER:
                left = until - time.monotonic()
                if left <= 0:
                    return stopped(hold, mode, upgrading)
                if left * 1e9 < <double>NAP:
                    nap = <uint64_t>(left * 1e9)
            with nogil:
                futex_wait(&hold.head.gate, hold.attempt.gate, nap, nap_bit(&hold.attempt), turn)
            turn += 1
            # Signal handlers run here, and may fork: what was begun is the parent's then.
            PyErr_CheckSignals()
            if owner.generation != fork_count:
                return -1
            hold.attempt.patient = 1
            if poll(hold.head, hold.index, &hold.attempt) or look(hold):
                return settled(hold, mode, upgrading)
    except BaseException:
        if owner.generation == fork_count:
            undo(hold, mode, upgrading)
        raise


cdef bint spin_or_bury(xctx_hold *hold) noexcept:
    return spin(hold) or look(hold)


cdef bint look(xctx_hold *hold) noexcept:
    """Looks for the dead among those it waits for, and then again for the lock."""
    return look_for_dead(hold.mem, &hold.attempt) and poll(hold.head, hold.index, &hold.attempt)


cdef int settled(xctx_hold *hold, int mode, bint upgrading) noexcept:
    hold.mode = mode
    if not upgrading:
        hold.depth = 1
    return 1


cdef int stopped(xctx_hold *hold, int mode, bint upgrading) noexcept:
    """Gives up, unless it has come to its end."""
    return settled(hold, mode, upgrading) if cancel(hold.head, hold.index, &hold.attempt, upgrading) else 0


cdef void undo(xctx_hold *hold, int mode, bint upgrading) noexcept:
    if hold.attempt.phase != IDLE and stopped(hold, mode, upgrading):
        give_back(hold)


cdef int wait_in_hub(SharedLock lock, Hold owner, int mode, double until, object hub) except -2:
    """As `wait`, for a greenlet: the hub runs meanwhile."""
    cdef xctx_hold *hold = &owner.c
    cdef bint upgrading = hold.mode == UPGRADABLE
    rounds = lock.rounds.get(hub)
    if rounds is None:
        for other in [other for other in lock.rounds if getattr(other, "dead", False)]:
            lock.rounds.pop(other, None)
        rounds = lock.rounds.setdefault(hub, _waiting.HubRounds(hub))
    hold.attempt.naps = 1
    try:
        while True:
            if arm(hold.head, hold.index, &hold.attempt):
                return settled(hold, mode, upgrading)
            left = until - time.monotonic()
            if left <= 0:
                return stopped(hold, mode, upgrading)
            rounds.wait(lock.memory.nap, hold.attempt.gate, left)
            if owner.generation != fork_count:
                return -1
            hold.attempt.patient = 1
            if poll(hold.head, hold.index, &hold.attempt) or look(hold):
                return settled(hold, mode, upgrading)
    except BaseException:
        if owner.generation == fork_count:
            undo(hold, mode, upgrading)
        raise


# --- tasks ------------------------------------------------------------------------------------------------------------------

cdef class Attempt:
    """A task's way to the lock: what `_waiting.acquire` goes by."""
    cdef SharedLock lock
    cdef Hold hold
    cdef int mode

    def arm(self):
        """A last look: None where the lock is held, otherwise the gate to sleep at."""
        if arm(self.hold.c.head, self.hold.c.index, &self.hold.c.attempt):
            self.done()
            return None
        return self.hold.c.attempt.gate

    @property
    def nap(self):
        """What sleeps in the kernel. It keeps nothing alive of what the task holds, for it may end after the task."""
        return self.lock.memory.nap

    def look(self):
        """Looks again after a round, and looks for the dead. Whether the lock is held."""
        cdef xctx_hold *hold = &self.hold.c
        if self.hold.generation != fork_count:
            raise RuntimeError("forked while a task was waiting for the lock: the child does not wait on")
        hold.attempt.patient = 1
        if poll(hold.head, hold.index, &hold.attempt) or look(hold):
            self.done()
            return True
        return False

    def cancel(self):
        """Gives up. Whether the lock is held all the same."""
        if self.hold.generation == fork_count and stopped(&self.hold.c, self.mode, False):
            self.done()
            return True
        self.hold.c.busy = False
        return False

    def give_up(self):
        """Gives up, and gives the lock back where it is held all the same."""
        if self.hold.generation == fork_count:
            undo(&self.hold.c, self.mode, False)
        self.hold.c.busy = False

    cdef void done(self) except *:
        settled(&self.hold.c, self.mode, False)
        self.hold.c.busy = False
        if load32(&self.hold.c.head.word) & DIED:
            tell(&self.hold.c)


cdef Attempt begin(SharedLock lock, int mode):
    """None where the lock is held at once."""
    cdef Hold hold = find_hold(lock)
    cdef Attempt attempt
    if hold.c.mode != NONE:
        if not acquired_again(lock, hold, mode):
            raise ValueError("an upgrade is not awaited: use upgrade()")
        return None
    if hold.c.busy:
        raise ValueError("this unit is acquiring the lock already")
    hold.c.busy = True
    attempt = Attempt.__new__(Attempt)
    attempt.lock = lock
    attempt.hold = hold
    attempt.mode = mode
    if take(&hold.c, mode) or spin_or_bury(&hold.c):
        attempt.done()
        return None
    hold.c.attempt.naps = 1
    return attempt


async def acquire_in_task(SharedLock lock, int mode, object timeout, object result=None):
    cdef double seconds = seconds_of(True, timeout)

    def start():
        return begin(lock, mode)

    got = await _waiting.acquire(start, lock.rounds, -1 if seconds == FOREVER else seconds)
    return got if result is None else result


cdef class Block:
    """What ``lock.exclusive()`` gives: acquires at the start of a ``with`` block, and releases at its end."""
    cdef SharedLock lock   # this and the next never change
    cdef int mode

    def __enter__(self):
        cdef xctx_hold *hold = held_here(self.lock)
        if hold.mode == NONE and not hold.shared and take(hold, self.mode):
            if load32(&hold.head.word) & DIED:
                tell(hold)
        else:
            acquire(self.lock, self.mode, True, -1)
        return self.lock

    def __exit__(self, exc_type=None, exc=None, traceback=None):
        leave_block(self.lock, exc_type)
        return False

    def __aenter__(self):
        return acquire_in_task(self.lock, self.mode, -1, self.lock)

    async def __aexit__(self, exc_type=None, exc=None, traceback=None):
        leave_block(self.lock, exc_type)
        return False


cdef Block block_of(SharedLock lock, int mode):
    cdef Block block = Block.__new__(Block)
    block.lock = lock
    block.mode = mode
    return block
