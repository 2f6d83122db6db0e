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

from cpython.ref cimport Py_DECREF, Py_INCREF

from xctx._core cimport xctx_lock, xctx_unlock
from xctx._runtime.parking cimport (Waiter, task_waiter, wake_again, wake_all, waiter_here, xctx_choose, xctx_queue,
                                    xctx_queue_add, xctx_queue_remove, xctx_waiter)
from xctx._runtime.runtime cimport connect
from xctx._runtime.scheduling cimport current_hub, monotonic
from xctx._runtime.scheduling import start_system_thread
from _weakref import ReferenceType
import os

cdef extern from "xctx/_lock/memory.h" nogil:
    int NO_LOCKS "XCTX_NO_LOCKS"
    size_t SIZE "XCTX_SIZE"
    uint8_t FRESH "XCTX_FRESH", PATIENT "XCTX_PATIENT", FAMISHED "XCTX_FAMISHED"
    uint32_t HELPER_NAP "XCTX_HELPER_NAP", FAMINE "XCTX_FAMINE"
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
    void grow_hungry "xctx_grow_hungry"(xctx_attempt *)
    void join_queue "xctx_join"(xctx_attempt *)
    void hand_on "xctx_hand_on"(xctx_head *)
    void or32 "xctx_or32"(uint32_t *, uint32_t)
    void add32 "xctx_add32"(uint32_t *, uint32_t)
    int outlook "xctx_outlook"(xctx_mem *, xctx_hold *)
    int SERVED "XCTX_SERVED", LOCAL "XCTX_LOCAL", KERNEL "XCTX_KERNEL"
    void add_queued "xctx_add_queued"(xctx_mem *, int)
    void abandon "xctx_hold_abandon"(xctx_hold *)

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1
    object PyErr_SetFromErrno(object)

cdef double FOREVER = float("inf")
cdef double LOOK_AGAIN = 0.1     # seconds after which the first of a queue look for the dead
cdef double WITHOUT_HELP = 0.01  # likewise, where no thread could be started to sleep for them
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
            if queued(self.c.mem):
                tell_all(self.line.memory)


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


# --- units of this process that wait, in order ---------------------------------------------------------------------------

cdef class LocalQueue:
    """Those greenlets of one hub, or tasks of one event loop, that wait for one lock, in the order in which they came.

    Of those who want to write only the first looks at the shared memory; to the others, and to other processes, it stands
    for them all, as one thread would. Those who want to read have been counted in the shared memory, and are let in
    together. A unit of this process that gives something back wakes those whom it serves. While another process is in the
    way, one thread, the helper, sleeps in the kernel for the whole queue.

    Nobody who runs elsewhere waits in such a queue, so a loop that is stopped keeps nobody waiting but its own.

    Thread-safety: all is guarded by `memory.mem.guard`, but what is said to be of the loop's thread.
    Lifetime: as long as somebody waits in it, or the helper runs. It does not keep an event loop alive.
    """

    def tick(self):
        """Runs in the hub or loop. The first ones look for the dead; in a forked child nobody else wakes any of them."""
        cdef xctx_waiter *chain = NULL
        cdef xctx_waiter *waiter
        cdef Waiter first_writer = None, first_reader = None
        cdef bint forked = self.generation != fork_count
        xctx_lock(&self.memory.mem.guard)
        if forked:
            choose_all(&self.writers, &chain)
            choose_all(&self.readers, &chain)
        else:
            if self.writers.first != NULL:
                first_writer = <Waiter>self.writers.first.owner
            if self.readers.first != NULL:
                first_reader = <Waiter>self.readers.first.owner
        xctx_unlock(&self.memory.mem.guard)
        if first_writer is None and first_reader is None:
            self.stop_timer()
        elif self.of_loop:
            self.timer = self.home().call_later(LOOK_AGAIN, self.tick)
        wake_all(chain)
        if first_writer is not None:
            wake_again(first_writer)
        if first_reader is not None:
            wake_again(first_reader)

    cdef object home_now(self):
        return self.home() if self.of_loop else self.home

    cdef void start_timer(self, object home) except *:
        if self.of_loop:
            self.timer = home.call_later(LOOK_AGAIN, self.tick)
        else:
            # It also tells the hub that what it waits for may come from elsewhere.
            self.timer = home.loop.timer(LOOK_AGAIN, LOOK_AGAIN)
            self.timer.start(self.tick)

    cdef void stop_timer(self) except *:
        timer, self.timer = self.timer, None
        if timer is None:
            return
        if self.of_loop:
            timer.cancel()
        else:
            timer.stop()
            timer.close()

    def help(self):
        """The helper thread: sleeps in the kernel until all whom it sleeps for can go on, or need it no more."""
        cdef xctx_head *head = self.memory.head
        cdef uint32_t gate, bits = HELPER_NAP, wanted
        cdef bint slept = False
        try:
            while True:
                gate = load32(&head.gate)
                or32(&head.word, bits)
                wanted = self.serve()
                if slept and bits & FAMINE and not wanted & FAMINE:
                    hand_on(head)   # the wake-up may have been one that goes to a single sleeper
                slept = False
                if not self.helped:
                    break
                if wanted != bits:
                    bits = wanted   # and a last look with these
                    continue
                with nogil:
                    futex_wait(&head.gate, gate, nap_time(head), bits)
                slept = True
        except BaseException:
            self.helped = False   # those who wait look again by the timer, and then start another
            raise

    cdef uint32_t serve(self) except 0:
        """Wakes those who may go on, and gives the bits to sleep with. `helped` is over where nobody needs it any more."""
        cdef xctx_waiter *chain = NULL
        cdef xctx_waiter *waiter
        cdef Hold hold
        cdef bint more = False
        cdef int found
        cdef uint32_t bits = HELPER_NAP
        xctx_lock(&self.memory.mem.guard)
        waiter = self.writers.first
        if waiter != NULL and waiter.parked and not waiter.chosen:
            hold = <Hold>(<Waiter>waiter.owner).subject
            grow_hungry(&hold.c.attempt)
            self.famished = is_famished(&hold.c)
            found = outlook(self.memory.mem, &hold.c)
            if found == SERVED:
                xctx_choose(waiter, &chain)
            more = found == KERNEL
        waiter = self.readers.first
        while waiter != NULL:
            if waiter.parked and not waiter.chosen:
                found = outlook(self.memory.mem, &(<Hold>(<Waiter>waiter.owner).subject).c)
                if found == SERVED:
                    xctx_choose(waiter, &chain)
                more |= found == KERNEL
            waiter = waiter.next
        self.helped = more
        if self.famished:
            bits |= FAMINE
        xctx_unlock(&self.memory.mem.guard)
        wake(self.memory, chain)
        return bits


cdef inline bint is_famished(xctx_hold *hold) noexcept:
    return hold.attempt.phase == QUEUE and hold.attempt.patient == FAMISHED


cdef LocalQueue local_queue(Memory memory, object home, bint of_loop, bint create):
    """The queue of a hub or loop, or None."""
    cdef LocalQueue queue = None
    cdef LocalQueue found = None
    cdef PyObject *each
    if home is None or not (create or queued(memory.mem)):
        return None
    while True:
        xctx_lock(&memory.mem.guard)
        each = memory.mem.queues if found is None else found.next
        queue = <LocalQueue>each if each != NULL else None
        xctx_unlock(&memory.mem.guard)
        if queue is None:
            break
        if queue.home_now() is home:
            return queue
        found = queue
    if not create:
        return None
    queue = LocalQueue.__new__(LocalQueue)
    queue.memory = memory
    queue.home = ReferenceType(home) if of_loop else home
    queue.of_loop = of_loop
    queue.generation = fork_count
    queue.start_timer(home)
    xctx_lock(&memory.mem.guard)
    queue.next = memory.mem.queues
    memory.mem.queues = <PyObject*>queue
    queue.listed = True
    Py_INCREF(queue)
    xctx_unlock(&memory.mem.guard)
    return queue


cdef bint unlist(LocalQueue queue) noexcept:
    """Under the guard. True where the memory's reference to the queue is the caller's now."""
    cdef PyObject **at = &queue.memory.mem.queues
    if not queue.listed or queue.generation != fork_count:
        return False
    while at[0] != <PyObject*>queue:
        at = &(<LocalQueue>at[0]).next
    at[0] = queue.next
    queue.next = NULL
    queue.listed = False
    return True


cdef int tell_queues(Memory memory, int what) except -1:
    """Wakes those whom a unit of this process has served by what it gave back just now."""
    cdef xctx_waiter *chain = NULL
    cdef xctx_waiter *waiter
    cdef PyObject *each
    cdef LocalQueue queue
    cdef Hold hold
    cdef xctx_mem *mem = memory.mem
    cdef PyObject **end
    cdef PyObject *served = NULL
    cdef int found
    xctx_lock(&mem.guard)
    each = mem.queues
    while each != NULL:
        queue = <LocalQueue>each
        each = queue.next
        waiter = queue.readers.first if what & READERS_MAY_ENTER else NULL
        while waiter != NULL:
            if waiter.parked and not waiter.chosen:
                found = outlook(mem, &(<Hold>(<Waiter>waiter.owner).subject).c)
                if found == SERVED or found == KERNEL and not queue.helped:
                    xctx_choose(waiter, &chain)
            waiter = waiter.next
        waiter = queue.writers.first
        if waiter == NULL or not waiter.parked or waiter.chosen:
            continue
        hold = <Hold>(<Waiter>waiter.owner).subject
        found = outlook(mem, &hold.c)
        if found == KERNEL and not queue.helped:
            xctx_choose(waiter, &chain)
        elif found == SERVED and (hold.c.attempt.phase != QUEUE or what & SLOT_IS_FREE and served == NULL):
            xctx_choose(waiter, &chain)
            if hold.c.attempt.phase == QUEUE:
                served = <PyObject*>queue
    if served != NULL and (<LocalQueue>served).next != NULL:
        # It goes to the end, so that the queues of several loops have their turns.
        queue = <LocalQueue>served
        unlist(queue)
        end = &mem.queues
        while end[0] != NULL:
            end = &(<LocalQueue>end[0]).next
        end[0] = served
        queue.listed = True
    xctx_unlock(&mem.guard)
    return wake(memory, chain)


cdef void choose_all(xctx_queue *queue, xctx_waiter **chain) noexcept:
    cdef xctx_waiter *waiter = queue.first
    while waiter != NULL:
        waiter.chosen = False   # those who had chosen it are not in this process
        xctx_choose(waiter, chain)
        waiter = waiter.next


cdef int wake(Memory memory, xctx_waiter *chain) except -1:
    if chain != NULL and wake_all(chain):
        forget_the_gone(memory)
    return 0


cdef int forget_the_gone(Memory memory) except -1:
    """Drops the queues of loops and hubs that have ended, and has others go on in the place of those who waited there."""
    cdef LocalQueue queue, before = None
    cdef PyObject *each
    cdef bint dropped, any = False
    while True:
        xctx_lock(&memory.mem.guard)
        each = memory.mem.queues if before is None else before.next
        queue = <LocalQueue>each if each != NULL else None
        xctx_unlock(&memory.mem.guard)
        if queue is None:
            break
        home = queue.home_now()
        gone = home is None or (home.is_closed() if queue.of_loop else home.loop is None or home.dead)
        if not gone:
            before = queue
            continue
        xctx_lock(&memory.mem.guard)
        dropped = unlist(queue)
        if dropped:
            any = True
            add_queued(memory.mem, -<int>(queue.writers.count + queue.readers.count))
        xctx_unlock(&memory.mem.guard)
        if dropped:
            # What waits there is kept alive by what waited: neither the loop nor its tasks are the queue's any more.
            disband(queue, &queue.writers)
            disband(queue, &queue.readers)
            Py_DECREF(queue)
    if any:
        tell_queues(memory, READERS_MAY_ENTER | SLOT_IS_FREE | READERS_LEFT)
    return 0


cdef void tell_all(Memory memory) noexcept:
    """As an object dies."""
    tell_queues(memory, READERS_MAY_ENTER | SLOT_IS_FREE | READERS_LEFT)


cdef void disband(LocalQueue queue, xctx_queue *part) noexcept:
    cdef xctx_waiter *waiter
    while True:
        xctx_lock(&queue.memory.mem.guard)
        waiter = part.first
        if waiter != NULL:
            xctx_queue_remove(part, waiter)
        xctx_unlock(&queue.memory.mem.guard)
        if waiter == NULL:
            return
        Py_DECREF(<object>waiter.owner)   # the queue's reference


cdef int told(xctx_hold *hold, int what) except -1:
    """After `hold` gave something back: tells those who wait in this process."""
    if queued(hold.mem):
        tell_queues((<Hold>hold.owner).line.memory, what)
    return 0


# --- a try ----------------------------------------------------------------------------------------------------------------

@cython.no_gc_clear   # the collector must not take it apart before it has given up
cdef class Attempt:
    """A unit's try to get the lock, of which one look has been in vain: what it does between two sleeps.

    `begin` and `look_again` say how it stands. While they give WAITS, the unit sleeps: a thread in the kernel, a greenlet or
    task with `waiter`. The hold is busy with it until `end`, which undoes what has not come to its end.

    Thread-safety: for the unit alone whose try it is. Lifetime: as long as the unit waits; it gives up as it dies.
    """

    def __dealloc__(self):
        if self.under_way:
            self.end()

    cdef int begin(self, object home, bint of_loop) except? -2:
        """The first looks. `home`: the hub that runs this greenlet, or the loop (`of_loop`) of this task."""
        cdef xctx_hold *hold = &self.hold.c
        cdef Memory memory = self.hold.line.memory
        cdef LocalQueue queue = local_queue(memory, home, of_loop, False)
        if (self.until > monotonic() and hold.attempt.phase == IDLE and not self.upgrading and self.mode != SHARED
                and queue is not None and queue.writers.count):
            hold.attempt.want = self.mode   # behind those who wait here already
            join_queue(&hold.attempt)
        else:
            if hold.attempt.phase == IDLE:
                hold.attempt.want = self.mode
                if poll(hold.head, hold.index, &hold.attempt):
                    return self.have()
            if hold.attempt.phase == COUNTED:
                told(hold, READERS_LEFT)   # it was in for a moment
            if home is None and spin(hold) or self.look_for_dead():
                return self.have()
        if self.until <= monotonic():
            return self.give_up()
        if of_loop and home is None:
            raise RuntimeError("a task waits in an asyncio event loop, and none is running here")
        if home is not None:
            if of_loop:
                self.waiter = task_waiter(home, self.hold)
            else:
                self.waiter = waiter_here(home, self.hold)
            self.queue = local_queue(memory, home, of_loop, True)
            self.reads = hold.attempt.phase == COUNTED
            xctx_lock(&memory.mem.guard)
            if self.reads:
                xctx_queue_add(&self.queue.readers, &self.waiter.node, False)
            else:
                # One that has the writer slot already waits for nobody here.
                xctx_queue_add(&self.queue.writers, &self.waiter.node, hold.attempt.phase == SEATED)
            add_queued(memory.mem, 1)
            xctx_unlock(&memory.mem.guard)
        self.counted = True
        add32(&hold.line.waiters, 1)
        return self.before_sleep()

    cdef int look_again(self) except? -2:
        cdef xctx_hold *hold = &self.hold.c
        cdef bint looks = True
        if self.hold.generation != fork_count:
            return FORKED
        if self.waiter is None:
            if hold.attempt.patient == FRESH:
                hold.attempt.patient = PATIENT
        else:
            xctx_lock(&hold.mem.guard)
            self.waiter.node.parked = self.waiter.node.chosen = False
            looks = self.reads or self.is_first()
            xctx_unlock(&hold.mem.guard)
        if looks and (poll(hold.head, hold.index, &hold.attempt) or self.waiter is None and self.look_for_dead()):
            return self.have()
        return self.before_sleep()

    cdef bint is_first(self) noexcept:
        # Under the guard.
        return self.queue.writers.first == &self.waiter.node or self.queue.readers.first == &self.waiter.node

    cdef int before_sleep(self) except? -2:
        """The last look."""
        cdef xctx_hold *hold = &self.hold.c
        cdef xctx_waiter *node
        cdef LocalQueue queue = self.queue
        cdef double left
        cdef int found
        cdef bint first, start, other_queues
        if self.waiter is None and arm(hold.head, hold.index, &hold.attempt):
            return self.have()
        while True:
            left = self.until if self.until == FOREVER else self.until - monotonic()
            if left <= 0:
                return self.give_up()
            self.seconds = left
            if self.waiter is None:
                return WAITS
            node = &self.waiter.node
            xctx_lock(&hold.mem.guard)
            first = self.is_first()
            node.parked = True
            start = False
            found = LOCAL
            if first or self.reads:
                if not self.reads:
                    grow_hungry(&hold.attempt)
                    queue.famished = is_famished(hold)
                found = outlook(hold.mem, hold)
                start = found == KERNEL and not queue.helped
                if start:
                    queue.helped = True
                elif found == SERVED:
                    node.parked = False
            other_queues = hold.mem.queues != <PyObject*>queue or queue.next != NULL
            xctx_unlock(&hold.mem.guard)
            if found == LOCAL:
                return WAITS
            if found == SERVED:
                if poll(hold.head, hold.index, &hold.attempt):
                    return self.have()
                continue
            if start:
                try:
                    start_system_thread(queue.help)
                except RuntimeError:   # there are too many: it looks for itself, often
                    queue.helped = False
                    self.seconds = min(left, WITHOUT_HELP)
                if other_queues:
                    tell_queues(self.hold.line.memory, 0)   # some may have counted on this process so far
            if first and self.look_for_dead():
                return self.have()
            return WAITS

    cdef bint look_for_dead(self) noexcept:
        """Looks for the dead among those it waits for, and then again for the lock."""
        cdef xctx_hold *hold = &self.hold.c
        return look_for_dead(hold.mem, &hold.attempt) and poll(hold.head, hold.index, &hold.attempt)

    cdef int sleep(self) except -1:
        """Of a thread."""
        cdef xctx_hold *hold = &self.hold.c
        cdef uint64_t nap = nap_time(hold.head)
        if self.seconds * 1e9 < <double>nap:
            nap = <uint64_t>(self.seconds * 1e9)
        with nogil:
            futex_wait(&hold.head.gate, hold.attempt.gate, nap, nap_bit(&hold.attempt))
        return PyErr_CheckSignals()

    cdef int have(self) except? -2:
        self.under_way = False
        self.settle(True)
        self.leave(True)
        return HELD

    cdef void settle(self, bint held) noexcept:
        cdef xctx_hold *hold = &self.hold.c
        xctx_lock(&self.hold.guard)
        if held:
            hold.mode = self.mode
            if not self.upgrading:
                hold.depth = 1
            elif self.again:
                hold.depth += 1
                hold.wrote_at = hold.depth
        hold.busy = False
        xctx_unlock(&self.hold.guard)

    cdef int give_up(self) except? -2:
        """The time is up. Has the lock all the same where it has come to its end, or nobody is in the way."""
        cdef xctx_hold *hold = &self.hold.c
        cdef uint8_t phase = hold.attempt.phase
        cdef uint8_t patient = hold.attempt.patient
        if phase == QUEUE and (self.waiter is None or self.queue.writers.first == &self.waiter.node):
            # A last look by one who does not stand behind others: whoever else is in the queue may be dead.
            hold.attempt.patient = FAMISHED
            if poll(hold.head, hold.index, &hold.attempt):
                return self.have()
            hold.attempt.patient = patient
            phase = hold.attempt.phase
        if cancel(hold.head, hold.index, &hold.attempt, self.upgrading):
            return self.have()
        self.under_way = False
        self.settle(False)
        self.leave(False)
        if phase == SEATED:
            told(hold, READERS_MAY_ENTER | SLOT_IS_FREE)
        return TIME_IS_UP

    cdef int end(self) except -1:
        """It was killed, cancelled or interrupted; in a forked child nothing was ever begun."""
        cdef xctx_hold *hold = &self.hold.c
        cdef uint8_t phase = hold.attempt.phase
        if not self.under_way:
            return 0
        self.under_way = False
        if self.hold.generation == fork_count and phase != IDLE:
            if cancel(hold.head, hold.index, &hold.attempt, self.upgrading):
                hold.mode = self.mode   # only a reader comes to its end so
                give_back(hold)
        self.settle(False)
        self.leave(False)
        if self.hold.generation == fork_count:
            told(hold, READERS_MAY_ENTER | SLOT_IS_FREE | READERS_LEFT)
        return 0

    cdef int leave(self, bint served) except -1:
        """Leaves the queue, and the count of those who wait."""
        cdef xctx_waiter *chain = NULL
        cdef xctx_hold *hold = &self.hold.c
        cdef LocalQueue queue = self.queue
        cdef xctx_queue *part
        cdef Waiter waiter = self.waiter
        cdef bint unlinked = False, last = False
        if self.counted and self.hold.generation == fork_count:
            add32(&hold.line.waiters, <uint32_t>-1)
        self.counted = False
        if queue is None:
            return 0
        self.queue = None
        xctx_lock(&hold.mem.guard)
        if waiter.node.linked:
            unlinked = True
            part = &queue.readers if self.reads else &queue.writers
            if part.first == &waiter.node and part == &queue.writers:
                queue.famished = False
            if not served and part.first == &waiter.node and waiter.node.next != NULL:
                xctx_choose(waiter.node.next, &chain)
            xctx_queue_remove(part, &waiter.node)
            if queue.generation == fork_count and queue.listed:
                add_queued(hold.mem, -1)
            if queue.writers.count + queue.readers.count == 0:
                last = unlist(queue)
        xctx_unlock(&hold.mem.guard)
        if unlinked:
            Py_DECREF(waiter)   # the queue's reference
        if queue.writers.count + queue.readers.count == 0:
            queue.stop_timer()
        if last:
            Py_DECREF(queue)
        return wake(queue.memory, chain)


cdef Attempt new_attempt(Hold hold, int mode, double until, bint again):
    """Of a hold that is busy for it. `again`: an upgrade is one acquisition more."""
    cdef Attempt attempt = Attempt.__new__(Attempt)
    attempt.hold = hold
    attempt.mode = mode
    attempt.upgrading = hold.c.mode == UPGRADABLE
    attempt.until = until
    attempt.again = again
    attempt.under_way = True
    return attempt


cdef int wait(Attempt attempt) except? -2:
    """HELD, TIME_IS_UP, or FORKED where this is a child by now, in which nothing was begun. For threads and greenlets."""
    cdef int found
    try:
        found = attempt.begin(current_hub(), False)
        while found == WAITS:
            if attempt.waiter is None:
                attempt.sleep()
            else:
                attempt.waiter.park(attempt.seconds)
            found = attempt.look_again()
        return found
    finally:
        attempt.end()


cdef int pause() except -1:
    """Until a fellow of this unit may be done: rare enough to be asked for now and then."""
    return waiter_here(current_hub(), None).park(PAUSE_MS * 1e-3)
