# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""What one process makes of a lock's shared memory, whose protocol ``_lock/protocol.h`` tells: who has it mapped, which line
of the table is whose, what a unit holds, and how it waits.

    memory          the mapping, and the file it is of
     |--- line      a thread's place in the shared table
           |--- hold    what one unit has of one lock; where it waits, its try

Each refers to the one above it, and gives back what it had there as it dies. Nothing refers back, so the collector need not
look at them; and it must not take apart a hold before that has given back.
"""
cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from xctx._runtime.runtime cimport connect
from xctx._runtime.scheduling cimport current_hub
import os
import time

cdef extern from "xctx/_lock/memory.h" nogil:
    int NO_LOCKS "XCTX_NO_LOCKS"
    size_t SIZE "XCTX_SIZE"
    uint8_t FRESH "XCTX_FRESH", PATIENT "XCTX_PATIENT", FAMISHED "XCTX_FAMISHED"
    uint32_t HELPER_NAP "XCTX_HELPER_NAP"
    int USERS "XCTX_USERS"
    int LINES "XCTX_LINES"
    int F_RDLCK, F_WRLCK
    uint32_t fork_count "xctx_fork_count()"
    int watch "xctx_watch"()
    uint64_t nap_time "xctx_nap_time"(xctx_head *)
    void futex_wait "xctx_futex_wait"(uint32_t *, uint32_t, uint64_t, uint32_t)
    int lock_byte "xctx_lock_byte"(int, int, long)
    int new_file "xctx_new_file"()
    xctx_mem *map_memory "xctx_map"(int, const char *)
    xctx_head *head_of "xctx_head_of"(xctx_mem *)
    void unmap_memory "xctx_unmap"(xctx_mem *)
    void quit_all "xctx_quit_all"()
    int claim "xctx_claim"(xctx_mem *)
    void unclaim "xctx_unclaim"(xctx_mem *, uint32_t)
    int look_for_dead "xctx_look"(xctx_mem *, xctx_attempt *)
    void bury_the_dead "xctx_look_at_all"(xctx_mem *)

cdef extern from "xctx/_lock/hold.h" nogil:
    int poll "xctx_poll"(xctx_head *, uint32_t, xctx_attempt *)
    int arm "xctx_arm"(xctx_head *, uint32_t, xctx_attempt *)
    int cancel "xctx_cancel"(xctx_head *, uint32_t, xctx_attempt *, int)
    uint32_t nap_bit "xctx_nap_bit"(xctx_attempt *)
    bint spin "xctx_hold_spin"(xctx_hold *)
    void abandon "xctx_hold_abandon"(xctx_hold *)

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1
    object PyErr_SetFromErrno(object)

cdef double FOREVER = float("inf")
cdef hold_forget forget_hold = NULL

connect()
if watch():
    raise MemoryError("no room for the handlers of forks and of the end")


cdef void set_forget(hold_forget forget) noexcept:
    global forget_hold
    forget_hold = forget


cdef uint32_t forks() noexcept:
    """How many forks this process is away from the one that imported this."""
    return fork_count


# --- memory, lines, holds -----------------------------------------------------------------------------------------------

cdef class Memory:
    """The memory that all who have the lock share.

    Lifetime: ends with the last lock, line and hold of this process that refers to it. A file with a name is removed then,
    where no other process uses it.
    """

    def __dealloc__(self):
        if self.mem != NULL:
            unmap_memory(self.mem)

    def nap(self, gate):
        """Sleeps while the gate stands, for those who wait by a helper."""
        cdef uint32_t value = gate
        with nogil:
            futex_wait(&self.head.gate, value, nap_time(self.head), HELPER_NAP)


cdef Memory memory_of(int fd, str path):
    # Takes over `fd`.
    cdef Memory memory = Memory.__new__(Memory)
    cdef bytes encoded
    cdef const char *name = NULL
    if path is not None:
        encoded = os.fsencode(path)
        name = encoded
    memory.mem = map_memory(fd, name)
    if memory.mem == NULL:
        try:
            PyErr_SetFromErrno(OSError)
        finally:
            os.close(fd)
    memory.head = head_of(memory.mem)
    memory.carrier = -1 if path is not None else fd
    memory.generation = fork_count
    memory.rounds = {}
    return memory


cdef Memory new_memory():
    if NO_LOCKS:
        raise NotImplementedError("locks between processes are not known to xctx on this system")
    cdef int fd = new_file()
    if fd < 0:
        PyErr_SetFromErrno(OSError)
    return memory_of(fd, None)


cdef Memory named_memory(object name):
    if NO_LOCKS:
        raise NotImplementedError("locks between processes are not known to xctx on this system")
    from xctx._lock import names
    fd, path = names.open_file(names.check_name(name), SIZE, use_file)
    cdef Memory memory = memory_of(fd, path)
    names.watch_children(leave_names)
    return memory


def leave_names():
    """As this process ends: removes the files that no other uses."""
    quit_all()


def use_file(fd, alone):
    """Locks the byte of a file that tells whether anybody uses it; True where that could be had."""
    return lock_byte(fd, F_WRLCK if alone else F_RDLCK, USERS) == 0


cdef void look_at_all(Memory memory) noexcept:
    bury_the_dead(memory.mem)


@cython.no_gc
cdef class Line:
    """A thread's line in the table, or one that several have."""

    def __dealloc__(self):
        if self.memory is not None and self.generation == fork_count:
            unclaim(self.memory.mem, self.index)


cdef Line new_line(Memory memory):
    cdef Line line = Line.__new__(Line)
    cdef int index = claim(memory.mem)
    if index == -1:
        PyErr_SetFromErrno(OSError)
    if index < 0:
        raise RuntimeError(f"all {LINES} places of this lock are taken by other processes")
    line.index = index
    line.generation = fork_count
    line.memory = memory   # last: only what was claimed is given back
    return line


@cython.no_gc
cdef class Hold:
    """What one unit has of one lock. Touched by that unit alone, until it ends."""

    def __dealloc__(self):
        forget_hold(self.serial, &self.c)
        if self.line is not None and self.generation == fork_count:
            abandon(&self.c)


cdef Hold new_hold(Line line, uint64_t serial, bint common):
    cdef Hold hold = Hold.__new__(Hold)
    hold.c.mem = line.memory.mem
    hold.c.head = line.memory.head
    hold.c.index = line.index
    hold.c.line = line_at(hold.c.head, line.index)
    hold.c.owner = <PyObject*>hold
    hold.c.common = common
    hold.line = line
    hold.serial = serial
    hold.generation = fork_count
    return hold


# --- waiting --------------------------------------------------------------------------------------------------------------

cdef object module_waiting = None


cdef object waiting():
    """The module, imported as it is first needed: importing xctx stays cheap."""
    global module_waiting
    if module_waiting is None:
        from xctx._lock import waiting as waiting_module
        module_waiting = waiting_module
    return module_waiting


cdef int wait(Hold owner, int mode, double until) except -2:
    """Waits for what was begun: 1 held, 0 time is up, -1 this is a forked child now, where nothing was begun.

    The hold is busy, and whoever calls says when it is not.
    """
    cdef xctx_hold *hold = &owner.c
    cdef bint upgrading = hold.mode == UPGRADABLE
    cdef double left
    cdef uint64_t nap
    try:
        if hold.attempt.phase == IDLE and poll_first(hold, mode) or spin(hold) or look(hold):
            return settled(hold, mode, upgrading)
        if until != FOREVER and time.monotonic() >= until:
            return stopped(hold, mode, upgrading)
        # Whatever Python code runs from here on may be interrupted, or fork: what was begun is the parent's then.
        module = waiting()
        hub = current_hub()
        hold.attempt.naps = hub is not None
        while owner.generation == fork_count:
            if arm(hold.head, hold.index, &hold.attempt):
                return settled(hold, mode, upgrading)
            left = until if until == FOREVER else until - time.monotonic()
            if left <= 0:
                return stopped(hold, mode, upgrading)
            if hub is not None:
                module.wait_in_hub(owner.line.memory.rounds, hub, owner.line.memory.nap, hold.attempt.gate, left)
            else:
                nap = nap_time(hold.head)
                if left * 1e9 < <double>nap:
                    nap = <uint64_t>(left * 1e9)
                with nogil:
                    futex_wait(&hold.head.gate, hold.attempt.gate, nap, nap_bit(&hold.attempt))
                PyErr_CheckSignals()
            if owner.generation == fork_count and looked_again(hold):
                return settled(hold, mode, upgrading)
        return -1
    except BaseException:
        if owner.generation == fork_count:
            undo(hold, mode, upgrading)
        raise
    finally:
        hold.attempt.naps = 0


cdef bint poll_first(xctx_hold *hold, int mode) noexcept:
    hold.attempt.want = mode
    return poll(hold.head, hold.index, &hold.attempt)


cdef bint look(xctx_hold *hold) noexcept:
    """Looks for the dead among those it waits for, and then again for the lock."""
    return look_for_dead(hold.mem, &hold.attempt) and poll(hold.head, hold.index, &hold.attempt)


cdef bint looked_again(xctx_hold *hold) noexcept:
    """After a nap."""
    if hold.attempt.patient == FRESH:
        hold.attempt.patient = PATIENT
    return poll(hold.head, hold.index, &hold.attempt) or look(hold)


cdef int settled(xctx_hold *hold, int mode, bint upgrading) noexcept:
    hold.mode = mode
    if not upgrading:
        hold.depth = 1
    return 1


cdef int stopped(xctx_hold *hold, int mode, bint upgrading) noexcept:
    """Gives up, unless it has come to its end."""
    cdef uint8_t patient = hold.attempt.patient
    if hold.attempt.phase == QUEUE:
        # A last look by one who does not stand behind others: whoever else is in the queue may be dead.
        hold.attempt.patient = FAMISHED
        if poll(hold.head, hold.index, &hold.attempt):
            return settled(hold, mode, upgrading)
        hold.attempt.patient = patient
    return settled(hold, mode, upgrading) if cancel(hold.head, hold.index, &hold.attempt, upgrading) else 0


cdef void undo(xctx_hold *hold, int mode, bint upgrading) noexcept:
    if hold.attempt.phase != IDLE and cancel(hold.head, hold.index, &hold.attempt, upgrading):
        settled(hold, mode, upgrading)
        give_back(hold)


@cython.no_gc
cdef class Attempt:
    """A task's way to the lock: what `waiting.acquire` goes by. It gives up as it dies, unless it has come to its end."""

    def __dealloc__(self):
        self.end()

    cdef void end(self) noexcept:
        if self.under_way:
            self.under_way = False
            if self.hold.generation == fork_count:
                undo(&self.hold.c, self.mode, self.upgrading)
            self.hold.c.attempt.naps = self.hold.c.busy = False

    cdef bint held(self, bint got) noexcept:
        if got:
            self.under_way = False
            settled(&self.hold.c, self.mode, self.upgrading)
            self.hold.c.attempt.naps = self.hold.c.busy = False
        return got

    def begin(self):
        """The first looks. Whether the lock is held."""
        return self.held(self.hold.c.attempt.phase == IDLE and poll_first(&self.hold.c, self.mode)
                         or spin(&self.hold.c) or look(&self.hold.c))

    def arm(self):
        """A last look: None where the lock is held, otherwise the gate to sleep at."""
        if self.held(arm(self.hold.c.head, self.hold.c.index, &self.hold.c.attempt)):
            return None
        return self.hold.c.attempt.gate

    @property
    def nap(self):
        """What sleeps in the kernel. It keeps nothing alive of what the task holds, for it may end after the task."""
        return self.hold.line.memory.nap

    @property
    def rounds(self):
        return self.hold.line.memory.rounds

    def look(self):
        """Looks again after a round, and looks for the dead. Whether the lock is held."""
        if self.hold.generation != fork_count:
            raise RuntimeError("forked while a task was waiting for the lock: the child does not wait on")
        return self.held(looked_again(&self.hold.c))

    def cancel(self):
        """Gives up. Whether the lock is held all the same."""
        got = self.held(self.hold.generation == fork_count and stopped(&self.hold.c, self.mode, self.upgrading))
        self.end()
        return got

    def give_up(self):
        """Gives up, and gives the lock back where it is held all the same."""
        self.end()


cdef Attempt new_attempt(Hold hold, int mode):
    """Of a hold that is busy for it."""
    cdef Attempt attempt = Attempt.__new__(Attempt)
    attempt.hold = hold
    attempt.mode = mode
    attempt.upgrading = hold.c.mode == UPGRADABLE
    hold.c.attempt.naps = 1
    attempt.under_way = True
    return attempt
