# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""What one process has of a lock whose shared memory ``_lock/protocol.h`` describes: the mapping, the rows of the table that
its threads own, what each unit holds, and how units wait.

    Mapping        the file that is mapped
      |--- Row          a thread's row in the shared table
      |      |--- UnitLock    what one unit has of one lock
      |--- LocalQueue   the units of one hub or event loop that wait
                          Attempt    one unit's way from its first look to holding the lock, or to giving up

A row refers to its mapping, and a unit's lock to its row; each gives back what it had there when it dies. Nothing refers
back, so the collector need not look at these, and it must not take one apart before that has given back.
"""
cimport cython
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from xctx._runtime.parking cimport (Waiter, task_waiter, wake_again, wake_all, waiter_here, xctx_choose, xctx_queue,
                                    xctx_queue_add, xctx_queue_remove, xctx_waiter)
from xctx._runtime.python cimport (PyErr_CheckSignals, PyErr_SetFromErrno, PyThread_get_thread_ident,
                                   xctx_forbid_instances, xctx_lock, xctx_unlock)
from xctx._runtime.runtime cimport connect, xctx_fork_count
from xctx._runtime.scheduling cimport (current_hub, current_loop, monotonic, running_greenlet, running_task,
                                       runs_eventlet)
from xctx._runtime.scheduling import start_system_thread
from xctx._runtime.units cimport Unit
from xctx._core cimport Key
from xctx._stores.local cimport local
from xctx import _core
from _weakref import ReferenceType
import errno
import os

cdef extern from "errno.h" nogil:
    int c_errno "errno"

cdef extern from "xctx/_lock/mapping.h" nogil:
    int NO_LOCKS "XCTX_NO_LOCKS"
    size_t LEAST_SIZE "XCTX_LEAST_SIZE"
    uint8_t FRESH "XCTX_FRESH", PATIENT "XCTX_PATIENT", STARVES "XCTX_STARVES"
    uint32_t HELPERS_SLEEP "XCTX_HELPERS_SLEEP", STARVING "XCTX_STARVING"
    int USERS "XCTX_USERS"
    int ROWS "XCTX_ROWS"
    int F_RDLCK, F_WRLCK
    int set_up_mappings "xctx_set_up_mappings"()
    uint64_t sleep_time "xctx_sleep_time"(xctx_head *)
    void futex_wait "xctx_futex_wait"(uint32_t *, uint32_t, uint64_t, uint32_t)
    int lock_byte "xctx_lock_byte"(int, int, long)
    int new_file "xctx_new_file"()
    int reserve_first "xctx_reserve_first"(int)
    xctx_mapping *map_file "xctx_map"(int, const char *, int)
    int come_alive "xctx_come_alive"(xctx_mapping *)
    xctx_head *head_of "xctx_head_of"(xctx_mapping *)
    void unmap "xctx_unmap"(xctx_mapping *)
    void quit_all "xctx_quit_all"()
    int claim "xctx_claim_row"(xctx_mapping *)
    void unclaim "xctx_unclaim_row"(xctx_mapping *, uint32_t)
    int look_for_dead "xctx_look_for_dead"(xctx_mapping *, xctx_attempt *)
    bint look_for_name "xctx_look_for_name"(xctx_mapping *)
    int LONGEST_CYCLE "XCTX_LONGEST_CYCLE"
    int A_THREAD "XCTX_THREAD", A_GREENLET "XCTX_GREENLET", A_TASK "XCTX_TASK"
    int STUCK_WRITER "XCTX_STUCK_WRITER", STUCK_READER "XCTX_STUCK_READER"
    void say_stuck "xctx_say_stuck"(const xctx_link *, xctx_mapping *, uint32_t, int)
    void unsay_stuck "xctx_unsay_stuck"(const xctx_link *, xctx_mapping *, uint32_t)
    int say_thread_stuck "xctx_say_thread_stuck"(const xctx_link *)
    void unsay_thread_stuck "xctx_unsay_thread_stuck"(const xctx_link *)
    int find_cycle "xctx_find_cycle"(xctx_link *)
    int clean_up_all_dead "xctx_clean_up_all_dead"(xctx_mapping *)

cdef extern from "xctx/_lock/unit_lock.h" nogil:
    int poll "xctx_poll"(xctx_head *, uint32_t, xctx_attempt *)
    int prepare_sleep "xctx_prepare_sleep"(xctx_head *, uint32_t, xctx_attempt *)
    int cancel "xctx_unit_cancel"(xctx_unit_lock *, int)
    uint32_t sleep_flag "xctx_sleep_flag"(xctx_attempt *)
    bint spin "xctx_unit_spin"(xctx_unit_lock *)
    void grow_impatient "xctx_grow_impatient"(xctx_attempt *)
    void want_slot "xctx_want_slot"(xctx_attempt *)
    void hand_on "xctx_hand_on"(xctx_head *)
    void or64 "xctx_or64"(uint64_t *, uint64_t)
    uint64_t add64 "xctx_add64"(uint64_t *, uint64_t)
    void add32 "xctx_add32"(uint32_t *, uint32_t)
    void store32 "xctx_store32"(uint32_t *, uint32_t)
    void store64 "xctx_store64"(uint64_t *, uint64_t)
    void leave_row "xctx_leave"(xctx_head *, xctx_row *)
    uint64_t monotonic_ns "xctx_monotonic_ns"()
    int outlook "xctx_outlook"(xctx_unit_lock *)
    int SERVED "XCTX_SERVED", LOCAL "XCTX_LOCAL", KERNEL "XCTX_KERNEL"
    void add_queued "xctx_add_queued"(xctx_mapping *, int)
    void abandon "xctx_unit_abandon"(xctx_unit_lock *)

cdef double FOREVER = float("inf")
cdef double LOOK_AGAIN = 0.1     # seconds after which the first units of a queue look for the dead
cdef double WITHOUT_HELP = 0.01  # likewise, where no helper could be started
cdef double LONG_DOUBT = 1       # how long descriptors may be lacking; without one nothing tells which processes are dead
cdef double look_for_cycles = 1  # how long a unit has waited when it looks for a deadlock
cdef object _stores_of = None
cdef forget_function forget_unit_lock = NULL

connect()
if set_up_mappings():
    raise MemoryError("no room for the handlers of forks and of the end")


cdef void set_forget(forget_function forget) noexcept:
    global forget_unit_lock
    forget_unit_lock = forget


cdef void set_stores_of(object function) noexcept:
    global _stores_of
    _stores_of = function


# --- mapping, rows, what a unit has -------------------------------------------------------------------------------------

cdef class Mapping:
    """This process's mapping of the memory that all processes which have the lock share.

    Thread-safety: may be used by any thread. Lifetime: ends with the last lock, row and unit's lock of this process that
    refers to it. A file with a name is removed then, if no other process uses it.
    """

    def __dealloc__(self):
        if self.c != NULL:
            unmap(self.c)


cdef Mapping mapping_of(int fd, str path, bint lasting):
    # Takes over `fd`.
    cdef Mapping mapping = Mapping.__new__(Mapping)
    cdef bytes encoded
    cdef const char *name = NULL
    cdef int failed
    if path is not None:
        encoded = os.fsencode(path)
        name = encoded
    mapping.c = map_file(fd, name, lasting)
    if mapping.c == NULL:
        failed = c_errno
        os.close(fd)
        if failed == errno.ENOLCK:
            raise ValueError(f"the file of the lock {path!r} is something else, or the lock of another version of xctx")
        raise OSError(failed, os.strerror(failed))
    mapping.head = head_of(mapping.c)
    mapping.path = path
    mapping.forks = xctx_fork_count()
    # At once: a program that changes its root directory or uses up its descriptors later goes on using the lock.
    failed = come_alive(mapping.c)
    if failed:
        raise OSError(failed, os.strerror(failed))
    return mapping


cdef int check_locks() except -1:
    if NO_LOCKS:
        raise NotImplementedError("locks between processes are not known to xctx on this system")
    return 0


cdef Mapping new_mapping():
    check_locks()
    cdef int fd = new_file()
    if fd < 0:
        PyErr_SetFromErrno(OSError)
    return mapping_of(fd, None, False)


def reserve_file(fd):
    """Gives a new file the memory of the first rows.

    Raises:
        OSError: there is no room, or the file system cannot tell.
    """
    if reserve_first(fd):
        PyErr_SetFromErrno(OSError)


def look_for_deadlocks_at_once(on):
    """Has each unit that begins to wait for a lock look for a deadlock first, rather than after a second."""
    global look_for_cycles
    look_for_cycles = 0 if on else 1


def leave_names():
    """As this process ends: removes the files that no other uses."""
    quit_all()


def use_file(fd, alone):
    """Locks the byte of a file that tells whether anybody uses it; True where that could be had."""
    return lock_byte(fd, F_WRLCK if alone else F_RDLCK, USERS) == 0


cdef int clean_up_all(Mapping mapping) except -1:
    if clean_up_all_dead(mapping.c):
        PyErr_SetFromErrno(OSError)
    return 0


cdef bint has_lost_name(xctx_mapping *mapping) noexcept:
    return look_for_name(mapping)


cdef int tell_of_removal(Mapping mapping) except -1:
    raise FileNotFoundError(f"the file of this lock, {mapping.path!r}, was removed while it was used: others who open it get "
                            f"another lock, so this one is of no use any more")


cdef int tell_of_loss() except -1:
    raise RuntimeError("this process closed the lock's descriptor, so others take it for dead: it does not hold the lock, and "
                       "cannot get it")


@cython.no_gc
cdef class Row:
    """A row of the table that a thread of this process owns, alone or together with other threads.

    Lifetime: of the thread, which keeps it in a `local`, and of all that units of that thread have by it.
    """

    def __dealloc__(self):
        if self.mapping is not None and self.forks == xctx_fork_count():
            unclaim(self.mapping.c, self.index)


cdef Row new_row(Mapping mapping):
    cdef Row row = Row.__new__(Row)
    cdef int index = claim(mapping.c)
    if index == -1 and c_errno == errno.EACCES:
        raise PermissionError(errno.EACCES, f"this process, which was forked since the lock was opened, may not open the file of "
                                            f"the lock {mapping.path!r}")
    if index == -1:
        PyErr_SetFromErrno(OSError)
    if index < 0:
        raise RuntimeError(f"all {ROWS} rows of this lock are taken by other processes")
    row.index = <uint32_t>index
    row.forks = xctx_fork_count()
    row.thread = PyThread_get_thread_ident()
    row.mapping = mapping   # last: only what was claimed is given back
    return row


@cython.no_gc
cdef class UnitLock:
    """What one unit has of one lock.

    Thread-safety: only the unit touches it, until it ends; with `guard` where several threads are one unit. While an attempt
    is parked, other threads look at it under the guard of the mapping. Lifetime: of the unit, which keeps it in a `local`.
    """

    def __dealloc__(self):
        forget_unit_lock(self.serial, &self.c)
        if self.row is not None and self.forks == xctx_fork_count():
            abandon(&self.c)
            if queued(self.c.mapping):
                tell_as_it_dies(self.row.mapping)


cdef UnitLock new_unit_lock(Row row, uint64_t serial, bint shared_by_threads):
    cdef UnitLock made = UnitLock.__new__(UnitLock)
    made.c.mapping = row.mapping.c
    made.c.token = row.mapping.c.token
    made.c.named = row.mapping.path is not None
    made.c.head = row.mapping.head
    made.c.index = row.index
    made.c.row = row_at(made.c.head, row.index)
    if shared_by_threads:
        # Any thread of the unit may release, so what the row's holder waits for is not what this thread does.
        store32(&made.c.row.thread, 0)
    made.c.owner = <PyObject*>made
    made.c.shared_by_threads = shared_by_threads
    made.c.precarious = row.mapping.c.own >= 0
    made.row = row
    made.serial = serial
    made.forks = xctx_fork_count()
    return made


# --- queues of units that wait --------------------------------------------------------------------------------------------

cdef enum:
    NOBODY_NEEDS_HELP = 1   # none of the word's flags


cdef class LocalQueue:
    """The greenlets of one hub, or the tasks of one event loop, that wait for one lock, in the order in which they came.

    Of the units that want to write only the first looks at the shared memory. To other processes it stands for all of them,
    as one thread would. Units that want to read are counted in the shared memory, and are admitted together. A unit of this
    process that gives something back wakes those that can go on now. While another process is in the way, one thread, the
    helper, sleeps in the kernel for the whole queue.

    All units of a queue run in one thread. So a loop that stands still, or that has ended, keeps only its own units waiting.

    Thread-safety: guarded by `mapping.c.guard`, except for the fields that say otherwise. Lifetime: as long as a unit waits
    in it or the helper runs. It does not keep an event loop alive.
    """

    def tick(self):
        """Runs in the hub or loop: the first units look for the dead, and those that have waited for long for a deadlock. In a
        forked child all are woken, which nobody else does."""
        cdef xctx_waiter *chain = NULL
        cdef Waiter first_writer = None, first_reader = None
        cdef bint forked = self.forks != xctx_fork_count()
        cdef double now = monotonic()
        xctx_lock(&self.mapping.c.guard)
        if forked:
            choose_all(&self.writers, &chain)
            choose_all(&self.readers, &chain)
        else:
            choose_due(&self.writers, now, &chain)
            choose_due(&self.readers, now, &chain)
            if self.writers.first != NULL:
                first_writer = <Waiter>self.writers.first.owner
            if self.readers.first != NULL:
                first_reader = <Waiter>self.readers.first.owner
        xctx_unlock(&self.mapping.c.guard)
        if first_writer is None and first_reader is None:
            self.stop_timer()
        elif self.of_loop:
            self.timer = self.home().call_later(LOOK_AGAIN, tick, self.ticking)
        wake_all(chain)
        if first_writer is not None:
            wake_again(first_writer)
        if first_reader is not None:
            wake_again(first_reader)

    cdef object home_now(self):
        return self.home() if self.of_loop else self.home

    cdef void start_timer(self, object home) except *:
        self.ticking = [self]
        if self.of_loop:
            self.timer = home.call_later(LOOK_AGAIN, tick, self.ticking)
        else:
            # It also keeps the hub running: the lock may be released by a thread or process that the hub does not know.
            self.timer = home.loop.timer(LOOK_AGAIN, LOOK_AGAIN)
            self.timer.start(tick, self.ticking)

    cdef void stop_timer(self) except *:
        timer, self.timer = self.timer, None
        if timer is None:
            return
        self.ticking.clear()
        if self.of_loop:
            timer.cancel()
        else:
            timer.stop()
            timer.close()

    def help(self):
        """The helper thread: sleeps in the kernel until none of the units needs it any more."""
        cdef xctx_head *head = self.mapping.head
        cdef uint32_t wake_counter, flags = HELPERS_SLEEP, wanted
        cdef bint slept = False
        try:
            while True:
                wake_counter = load32(&head.wake_counter)
                or64(&head.word, flags)
                wanted = self.serve()
                if slept and flags & STARVING and not wanted & STARVING:
                    hand_on(head)   # a wake-up for starving writers goes to one sleeper alone, and that may have been this
                slept = False
                if wanted & NOBODY_NEEDS_HELP:
                    break
                if wanted != flags:
                    flags = wanted   # and one more look with these
                    continue
                with nogil:
                    futex_wait(&head.wake_counter, wake_counter, sleep_time(head), flags)
                slept = True
        except BaseException:
            self.helped = False   # the first units look again by the timer, and then start another helper
            raise

    cdef uint32_t serve(self) except 0:
        """Wakes the units that can go on, and gives the flags to sleep with, or NOBODY_NEEDS_HELP: then there is no helper."""
        cdef xctx_waiter *chain = NULL
        cdef xctx_waiter *waiter
        cdef UnitLock owner
        cdef bint more = False
        cdef int found
        cdef uint32_t wanted = HELPERS_SLEEP
        xctx_lock(&self.mapping.c.guard)
        waiter = self.writers.first
        if waiter != NULL and waiter.parked and not waiter.chosen:
            owner = <UnitLock>(<Waiter>waiter.owner).subject
            grow_impatient(&owner.c.attempt)
            self.starves = is_starving(&owner.c)
            found = outlook(&owner.c)
            if found == SERVED:
                xctx_choose(waiter, &chain)
            more = found == KERNEL
        waiter = self.readers.first
        while waiter != NULL:
            if waiter.parked and not waiter.chosen:
                found = outlook(&(<UnitLock>(<Waiter>waiter.owner).subject).c)
                if found == SERVED:
                    xctx_choose(waiter, &chain)
                more |= found == KERNEL
            waiter = waiter.next
        self.helped = more
        if not more:
            wanted = NOBODY_NEEDS_HELP
        if self.starves:
            wanted |= STARVING
        xctx_unlock(&self.mapping.c.guard)
        wake(self.mapping, chain)
        return wanted


def tick(ticking):
    """What a queue's timer calls."""
    for queue in ticking:
        queue.tick()
        break   # that may have stopped the timer


cdef inline bint is_starving(xctx_unit_lock *unit) noexcept:
    return unit.attempt.phase == QUEUE and unit.attempt.patience == STARVES


cdef LocalQueue local_queue(Mapping mapping, object home, bint of_loop, bint create):
    """The queue of a hub or loop, or None."""
    cdef LocalQueue queue = None
    cdef LocalQueue found = None
    cdef PyObject *each
    if home is None or not (create or queued(mapping.c)):
        return None
    while True:
        xctx_lock(&mapping.c.guard)
        each = mapping.c.queues if found is None else found.next
        queue = <LocalQueue>each if each != NULL else None
        xctx_unlock(&mapping.c.guard)
        if queue is None:
            break
        if queue.home_now() is home:
            return queue
        found = queue
    if not create:
        return None
    queue = LocalQueue.__new__(LocalQueue)
    queue.mapping = mapping
    queue.home = ReferenceType(home) if of_loop else home
    queue.of_loop = of_loop
    queue.forks = xctx_fork_count()
    queue.start_timer(home)
    xctx_lock(&mapping.c.guard)
    queue.next = mapping.c.queues
    mapping.c.queues = <PyObject*>queue
    queue.listed = True
    Py_INCREF(queue)
    xctx_unlock(&mapping.c.guard)
    return queue


cdef bint unlist(LocalQueue queue) noexcept:
    """Under the guard. True where the mapping's reference to the queue is the caller's now."""
    cdef PyObject **at = &queue.mapping.c.queues
    if not queue.listed or queue.forks != xctx_fork_count():
        return False
    while at[0] != <PyObject*>queue:
        at = &(<LocalQueue>at[0]).next
    at[0] = queue.next
    queue.next = NULL
    queue.listed = False
    return True


cdef int tell_queues(Mapping mapping, int what) except -1:
    """Wakes the units that can go on since a unit of this process gave something back: `what` says what.

    Of the writers that want the slot one is woken, each time of another queue.
    """
    cdef xctx_waiter *chain = NULL
    cdef xctx_waiter *waiter
    cdef PyObject *each
    cdef LocalQueue queue
    cdef UnitLock owner
    cdef xctx_mapping *shared = mapping.c
    cdef PyObject **end
    cdef PyObject *served = NULL
    cdef int found
    xctx_lock(&shared.guard)
    each = shared.queues
    while each != NULL:
        queue = <LocalQueue>each
        each = queue.next
        waiter = queue.readers.first if what & READERS_MAY_ENTER else NULL
        while waiter != NULL:
            if waiter.parked and not waiter.chosen:
                found = outlook(&(<UnitLock>(<Waiter>waiter.owner).subject).c)
                if found == SERVED or found == KERNEL and not queue.helped:
                    xctx_choose(waiter, &chain)
            waiter = waiter.next
        waiter = queue.writers.first
        if waiter == NULL or not waiter.parked or waiter.chosen:
            continue
        owner = <UnitLock>(<Waiter>waiter.owner).subject
        found = outlook(&owner.c)
        if found == KERNEL and not queue.helped:
            xctx_choose(waiter, &chain)
        elif found == SERVED and (owner.c.attempt.phase != QUEUE or what & SLOT_IS_FREE and served == NULL):
            xctx_choose(waiter, &chain)
            if owner.c.attempt.phase == QUEUE:
                served = <PyObject*>queue
    if served != NULL and (<LocalQueue>served).next != NULL:
        # To the end of the list, so that each queue has its turn.
        queue = <LocalQueue>served
        unlist(queue)
        end = &shared.queues
        while end[0] != NULL:
            end = &(<LocalQueue>end[0]).next
        end[0] = served
        queue.listed = True
    xctx_unlock(&shared.guard)
    return wake(mapping, chain)


cdef void choose_all(xctx_queue *queue, xctx_waiter **chain) noexcept:
    cdef xctx_waiter *waiter = queue.first
    while waiter != NULL:
        waiter.chosen = False   # by a waker in the parent
        xctx_choose(waiter, chain)
        waiter = waiter.next


cdef void choose_due(xctx_queue *queue, double now, xctx_waiter **chain) noexcept:
    cdef xctx_waiter *waiter = queue.first
    while waiter != NULL:
        if waiter.parked and waiter.since <= now:
            xctx_choose(waiter, chain)
        waiter = waiter.next


cdef int wake(Mapping mapping, xctx_waiter *chain) except -1:
    if chain != NULL and wake_all(chain):
        forget_the_gone(mapping)
    return 0


cdef int forget_the_gone(Mapping mapping) except -1:
    """Drops the queues of loops and hubs that have ended, and wakes others in the place of the units that waited there."""
    cdef LocalQueue queue, before = None
    cdef PyObject *each
    cdef bint dropped, any = False
    while True:
        xctx_lock(&mapping.c.guard)
        each = mapping.c.queues if before is None else before.next
        queue = <LocalQueue>each if each != NULL else None
        xctx_unlock(&mapping.c.guard)
        if queue is None:
            break
        home = queue.home_now()
        gone = home is None or (home.is_closed() if queue.of_loop else home.loop is None or home.dead)
        if not gone:
            before = queue
            continue
        xctx_lock(&mapping.c.guard)
        dropped = unlist(queue)
        if dropped:
            any = True
            add_queued(mapping.c, -<int>(queue.writers.count + queue.readers.count))
        xctx_unlock(&mapping.c.guard)
        if dropped:
            # The queue's references would keep the waiters alive, and those the tasks, and those the queue.
            disband(queue, &queue.writers)
            disband(queue, &queue.readers)
            Py_DECREF(queue)
    if any:
        tell_queues(mapping, ANYTHING)
    return 0


cdef void tell_as_it_dies(Mapping mapping) noexcept:
    tell_queues(mapping, ANYTHING)


cdef void disband(LocalQueue queue, xctx_queue *part) noexcept:
    cdef xctx_waiter *waiter
    while True:
        xctx_lock(&queue.mapping.c.guard)
        waiter = part.first
        if waiter != NULL:
            xctx_queue_remove(part, waiter)
        xctx_unlock(&queue.mapping.c.guard)
        if waiter == NULL:
            return
        Py_DECREF(<object>waiter.owner)   # the queue's reference


cdef int tell_if_queued(xctx_unit_lock *unit, int what) except -1:
    """`unit` gave something back: tells the units that wait in this process."""
    if queued(unit.mapping):
        tell_queues((<UnitLock>unit.owner).row.mapping, what)
    return 0


# --- an attempt -----------------------------------------------------------------------------------------------------------

@cython.no_gc_clear   # the collector must not take it apart before it has given up
cdef class Attempt:
    """A unit's attempt to get the lock, once a first look has been in vain.

    This is the state machine of waiting; the drivers, `wait` for threads and greenlets and `wait_in_task` of tasks.pyx, do
    nothing but sleep. `begin` and `look_again` say how the attempt stands. While they give WAITS the unit sleeps: a thread in
    the kernel, a greenlet or task with `waiter`. The unit's lock is busy until the attempt comes to its end or `end` undoes
    it.

    Thread-safety: for the unit alone whose attempt it is. Lifetime: of the wait. It gives up when it dies.
    """

    def __dealloc__(self):
        if self.under_way:
            self.end()

    cdef int lost(self) noexcept:
        """0, or FORKED or OVERTAKEN: what the unit's lock tells of an attempt is not of this one any more."""
        if self.owner.forks != xctx_fork_count():
            return FORKED
        return OVERTAKEN if self.owner.c.turn != self.turn else 0

    cdef int begin(self, object home, bint of_loop) except? -2:
        """The first looks. `home` is the hub that runs this greenlet, the event loop of this task (`of_loop`), or None."""
        cdef xctx_unit_lock *unit = &self.owner.c
        cdef Mapping mapping = self.owner.row.mapping
        cdef LocalQueue queue = local_queue(mapping, home, of_loop, False)
        cdef int found = self.lost()
        if found:
            return found
        if unit.named and look_for_name(unit.mapping):
            tell_of_removal(mapping)
        if (self.until > monotonic() and unit.attempt.phase == IDLE and not self.upgrading and self.mode != SHARED
                and queue is not None and queue.writers.count):
            unit.attempt.want = self.mode   # others wait here already: without a look, so that it does not overtake them
            want_slot(&unit.attempt)
        else:
            if unit.attempt.phase == IDLE:
                unit.attempt.want = self.mode
                if poll(unit.head, unit.index, &unit.attempt):
                    return self.have()
            self.tell_that_reader_left()
            found = self.lost()
            if found:
                return found
            if home is None and spin(unit) or self.look_for_dead():
                return self.have()
        if self.until <= monotonic():
            return self.give_up()
        if of_loop and home is None:
            refuse_without_loop()
        if home is not None:
            if of_loop:
                self.waiter = task_waiter(home, self.owner)
            else:
                self.waiter = waiter_here(home, self.owner)
            queue = local_queue(mapping, home, of_loop, True)
            found = self.lost()
            if found:
                return found
            self.queue = queue
            self.reads = unit.attempt.phase == COUNTED
            xctx_lock(&mapping.c.guard)
            if self.reads:
                xctx_queue_add(&self.queue.readers, &self.waiter.node, False)
            else:
                # In front where it has the writer slot already: none of the others can go on before it.
                xctx_queue_add(&self.queue.writers, &self.waiter.node, unit.attempt.phase == HAS_SLOT)
            add_queued(mapping.c, 1)
            xctx_unlock(&mapping.c.guard)
        self.counted = True
        self.link.mapping = unit.mapping
        self.link.index = unit.index
        self.link.unit = A_TASK if of_loop else A_THREAD if home is None else A_GREENLET
        self.link.wait = add64(&unit.head.waits, 1) + 1
        self.link.since = monotonic_ns()
        store64(&unit.row.waiting_since, self.link.since)
        add32(&unit.row.waiters, 1)
        self.cycles_at = monotonic() + look_for_cycles if self.until == FOREVER else FOREVER
        return self.before_sleep()

    cdef int refuse(self) except? -2:
        """Raises where this thread would sleep until one of its own units gives the lock back, which then never runs."""
        cdef xctx_unit_lock *unit = &self.owner.c
        cdef uint32_t slot = <uint32_t>(load64(&unit.head.word) & WRITER_SLOT)
        cdef bint own
        if runs_eventlet():
            raise RuntimeError("a greenlet of eventlet cannot wait for a lock: xctx does not know eventlet's hub, so no other "
                               "greenlet of this thread would run meanwhile. Use the lock in a function that "
                               "eventlet.tpool.execute calls, or acquire it with blocking=False")
        if self.until != FOREVER or not load32(&unit.row.thread):
            return 0
        if unit.attempt.phase == HAS_SLOT:
            own = readers_in(load64(&unit.row.readers)) != 0
        else:
            own = slot == unit.index + 1 and load32(&unit.row.mode) != NONE   # otherwise that one is passed over
        if not own:
            return 0
        if current_loop() is not None:
            refuse_task()
        raise RuntimeError("this wait could not end: another greenlet of this thread, or task of trio's, has the lock, and would "
                           "not go on while this one waits")

    cdef int look_for_held(self) except -1:
        """What the code that waits holds, and cannot give back before its wait ends. A thread's rows tell that of all of its
        units, if it has them for itself."""
        cdef list found = []
        cdef bint thread = self.link.unit == A_THREAD
        cdef Key task = _core.task
        cdef Key greenlet = _core.greenlet
        cdef Key own_thread = _core.thread
        cdef Unit first = task.find(False)
        cdef Unit second = None if self.link.unit == A_TASK else greenlet.find(False)
        cdef Unit third = own_thread.find(False) if thread else None
        # Each once: outside of tasks and greenlets they are the same unit.
        for unit in {id(unit): unit for unit in (first, second, third) if unit is not None}.values():
            for store, names in _stores_of(unit):
                key = (<local>store).key
                held = names.get("unit_lock")
                if type(held) is not UnitLock or (<UnitLock>held).c.mode == NONE:
                    continue
                if key is task or key is greenlet or thread and key is own_thread:
                    found.append(held)
        self.held = found
        return 0

    cdef void say(self) noexcept:
        """Has others find out for what this waits, if they may be waiting for it."""
        cdef xctx_unit_lock *unit = &self.owner.c
        cdef xctx_attempt *attempt = &unit.attempt
        cdef UnitLock held
        self.link.phase = attempt.phase
        self.link.state = attempt.epoch if attempt.phase == COUNTED else attempt.passes
        if self.link.unit == A_THREAD:
            self.said = say_thread_stuck(&self.link) != 0
        if attempt.phase == HAS_SLOT and has_row(unit):
            self.said = True
            say_stuck(&self.link, unit.mapping, unit.index, STUCK_WRITER)
        for held in self.held:
            if has_row(&held.c) and not (self.link.unit == A_THREAD and load32(&held.c.row.thread)):
                self.said = True
                say_stuck(&self.link, held.c.mapping, held.c.index, STUCK_READER if held.c.mode == SHARED else STUCK_WRITER)

    cdef void unsay(self) noexcept:
        cdef UnitLock held
        if not self.said:
            return
        self.said = False
        if self.owner.forks != xctx_fork_count():
            return
        if self.link.unit == A_THREAD:
            unsay_thread_stuck(&self.link)
        unsay_stuck(&self.link, self.owner.c.mapping, self.owner.c.index)
        for held in self.held:
            unsay_stuck(&self.link, held.c.mapping, held.c.index)

    cdef int look_for_cycle(self) except? -2:
        """Raises where this unit, which has waited for long, is the last one of a deadlock."""
        cdef xctx_link links[16]
        cdef int length, each, later = 0
        links[0] = self.link
        length = find_cycle(links)
        if length == 0:
            self.cycles = 0
            return 0
        for each in range(1, length):
            later += links[each].since > links[0].since
        # The last that came closed the cycle, and is to be told. But its process may not have all of the locks, and so may not
        # find the cycle: then the one before it is told a little later, and so on.
        self.cycles += 1
        if self.cycles <= 2 * later:
            return 0
        told = []
        for each in range(length):
            told.append(f"{waiter_of(&links[each])}{', which' if each else ''} waits for {name_of(links[each].mapping)}")
        raise RuntimeError(f"deadlock: {', held by '.join(told)}, held by the first")

    cdef int rest(self, bint looks) except? -2:
        """WAITS: the last step before a sleep."""
        if looks or self.stuck or self.held is not None and self.owner.c.attempt.phase == HAS_SLOT:
            self.say()
        if looks:
            self.stuck = self.said
            if self.said:
                self.look_for_cycle()
        return WAITS

    cdef int look_again(self) except? -2:
        cdef xctx_unit_lock *unit = &self.owner.c
        cdef bint looks = True
        cdef int found = self.lost()
        if found:
            return found
        self.unsay()
        if not counts(unit):
            tell_of_loss()
        if self.waiter is None:
            if unit.attempt.patience == FRESH:
                unit.attempt.patience = PATIENT
        else:
            xctx_lock(&unit.mapping.guard)
            self.waiter.node.parked = self.waiter.node.chosen = False
            looks = self.reads or self.is_first()
            xctx_unlock(&unit.mapping.guard)
        if looks and (poll(unit.head, unit.index, &unit.attempt) or self.look_for_dead()):
            return self.have()
        return self.before_sleep()

    cdef int tell_that_reader_left(self) except -1:
        # A reader that finds a writer announced has been in for a moment, and this process's writer may have seen it there.
        if self.owner.c.attempt.phase == COUNTED:
            tell_if_queued(&self.owner.c, READERS_LEFT)
        return 0

    cdef bint is_first(self) noexcept:
        # Under the guard.
        return self.queue.writers.first == &self.waiter.node or self.queue.readers.first == &self.waiter.node

    cdef int before_sleep(self) except? -2:
        """The last look."""
        cdef xctx_unit_lock *unit = &self.owner.c
        cdef xctx_waiter *node
        cdef LocalQueue queue = self.queue
        cdef double left
        cdef int found
        cdef bint first, start, other_queues, looks
        if self.waiter is None and prepare_sleep(unit.head, unit.index, &unit.attempt):
            return self.have()
        self.tell_that_reader_left()
        while True:
            found = self.lost()
            if found:
                return found
            if unit.named and look_for_name(unit.mapping):
                tell_of_removal(self.owner.row.mapping)
            left = self.until if self.until == FOREVER else self.until - monotonic()
            if left <= 0:
                return self.give_up()
            self.seconds = left
            looks = self.cycles_at != FOREVER and monotonic() >= self.cycles_at
            if looks:
                self.cycles_at = monotonic() + look_for_cycles
                if self.held is None or self.waiter is None:
                    self.look_for_held()
                found = self.lost()
                if found:
                    return found
            if self.waiter is None:
                self.refuse()
                return self.rest(looks)
            node = &self.waiter.node
            xctx_lock(&unit.mapping.guard)
            first = self.is_first()
            node.parked = True
            # To look for a deadlock; not where others cannot wait for this one. The first is woken anyway.
            node.since = self.cycles_at if self.held is None or self.held else FOREVER
            start = False
            found = LOCAL
            if first or self.reads:
                if not self.reads:
                    grow_impatient(&unit.attempt)
                    queue.starves = is_starving(unit)
                found = outlook(unit)
                start = found == KERNEL and not queue.helped
                if start:
                    queue.helped = True
                elif found == SERVED:
                    node.parked = False
            other_queues = unit.mapping.queues != <PyObject*>queue or queue.next != NULL
            xctx_unlock(&unit.mapping.guard)
            if found == LOCAL:
                return self.rest(looks)
            if found == SERVED:
                if poll(unit.head, unit.index, &unit.attempt):
                    return self.have()
                continue
            if start:
                try:
                    start_system_thread(queue.help)
                except RuntimeError:   # the system has no thread left: this unit looks often instead
                    queue.helped = False
                    self.seconds = min(left, WITHOUT_HELP)
                if other_queues:
                    tell_queues(self.owner.row.mapping, 0)   # they may still count on this process, which is not in their way
                found = self.lost()
                if found:
                    return found
            if first and self.look_for_dead():
                return self.have()
            return self.rest(looks)

    cdef int look_for_dead(self) except? -2:
        """Whether one that this waits for has died, or does not follow up, and the lock is held now."""
        cdef xctx_unit_lock *unit = &self.owner.c
        cdef int found = look_for_dead(unit.mapping, &unit.attempt)
        if found >= 0:
            self.doubt = 0
            return found and poll(unit.head, unit.index, &unit.attempt)
        if c_errno in (errno.EMFILE, errno.ENFILE):
            if self.doubt == 0:
                self.doubt = monotonic()
            if monotonic() - self.doubt < LONG_DOUBT:
                return 0
        elif c_errno == errno.EBADF:
            raise OSError(errno.EBADF, "the program closed the descriptor of this lock, so nothing tells whether those who hold "
                                       "it are alive")
        PyErr_SetFromErrno(OSError)

    cdef int sleep(self) except -1:
        """A thread's sleep in the kernel."""
        cdef xctx_unit_lock *unit = &self.owner.c
        cdef uint64_t ns = sleep_time(unit.head)
        if self.seconds * 1e9 < <double>ns:
            ns = <uint64_t>(self.seconds * 1e9)
        with nogil:
            futex_wait(&unit.head.wake_counter, unit.attempt.wake_counter, ns, sleep_flag(&unit.attempt))
        self.unsay()   # before a signal handler runs, which may hold or release locks
        return PyErr_CheckSignals()

    cdef int have(self) except? -2:
        cdef xctx_unit_lock *unit = &self.owner.c
        self.under_way = False
        store64(&unit.row.held_since, monotonic_ns() if self.mode != SHARED else 0)
        self.settle(True)
        try:
            self.leave(True)
        except BaseException:
            self.give_back()   # an interrupt: the caller will never know that it has the lock
            raise
        if unit.named and look_for_name(unit.mapping):
            self.give_back()
            tell_of_removal(self.owner.row.mapping)
        return HELD

    cdef int give_back(self) except -1:
        """What the attempt has got."""
        cdef xctx_unit_lock *unit = &self.owner.c
        if self.owner.forks != xctx_fork_count():
            return 0
        if self.upgrading:
            if self.again:
                unit.depth -= 1
            step_down(unit, UPGRADABLE)
        else:
            release_unit(unit)
        return tell_if_queued(unit, ANYTHING)

    cdef void settle(self, bint held) noexcept:
        cdef xctx_unit_lock *unit = &self.owner.c
        xctx_lock(&self.owner.guard)
        if held:
            unit.mode = self.mode
            if not self.upgrading:
                unit.depth = 1
            elif self.again:
                unit.depth += 1
                unit.wrote_at = unit.depth
        unit.busy = False
        self.owner.attempt = NULL
        xctx_unlock(&self.owner.guard)

    cdef int give_up(self) except? -2:
        """The time is up. The unit has the lock all the same if a last look finds it free, or a writer has admitted it."""
        cdef xctx_unit_lock *unit = &self.owner.c
        cdef uint8_t phase = unit.attempt.phase
        cdef uint8_t patience = unit.attempt.patience
        if phase == QUEUE and (self.waiter is None or self.queue.writers.first == &self.waiter.node):
            # A last look as a starving writer, because those for whom the slot is kept may be dead.
            unit.attempt.patience = STARVES
            if poll(unit.head, unit.index, &unit.attempt):
                return self.have()
            unit.attempt.patience = patience
            phase = unit.attempt.phase
        if cancel(unit, self.upgrading):
            return self.have()
        self.under_way = False
        self.settle(False)
        self.leave(False)
        if phase == HAS_SLOT:
            tell_if_queued(unit, READERS_MAY_ENTER | SLOT_IS_FREE)
        return TIME_IS_UP

    cdef int end(self) except -1:
        """Undoes an attempt that has not come to its end: it was killed, cancelled or interrupted, or another has its place."""
        cdef xctx_unit_lock *unit = &self.owner.c
        if not self.under_way:
            return 0
        self.under_way = False
        if self.lost() != OVERTAKEN:
            if self.owner.forks == xctx_fork_count():
                undo(unit)
            self.settle(False)
        try:
            self.leave(False)
        finally:
            if self.owner.forks == xctx_fork_count():
                tell_if_queued(unit, ANYTHING)
        return 0

    cdef int leave(self, bint served) except -1:
        """Leaves the queue and the count of those that wait. One that was not served may have been woken: it wakes the next."""
        cdef xctx_waiter *chain = NULL
        cdef xctx_unit_lock *unit = &self.owner.c
        cdef LocalQueue queue = self.queue
        cdef xctx_queue *part
        cdef Waiter waiter = self.waiter
        cdef bint unlinked = False, last = False
        self.unsay()
        if self.counted and self.owner.forks == xctx_fork_count() and has_row(unit):
            add32(&unit.row.waiters, <uint32_t>-1)
        self.counted = False
        if queue is None:
            return 0
        self.queue = None
        xctx_lock(&unit.mapping.guard)
        if waiter.node.linked:
            unlinked = True
            part = &queue.readers if self.reads else &queue.writers
            if part.first == &waiter.node and part == &queue.writers:
                queue.starves = False
            if not served and part.first == &waiter.node and waiter.node.next != NULL:
                xctx_choose(waiter.node.next, &chain)
            xctx_queue_remove(part, &waiter.node)
            if queue.forks == xctx_fork_count() and queue.listed:
                add_queued(unit.mapping, -1)
            if queue.writers.count + queue.readers.count == 0:
                last = unlist(queue)
        xctx_unlock(&unit.mapping.guard)
        if unlinked:
            Py_DECREF(waiter)   # the queue's reference
        if queue.writers.count + queue.readers.count == 0:
            queue.stop_timer()
        if last:
            Py_DECREF(queue)
        return wake(queue.mapping, chain)


cdef str waiter_of(xctx_link *link):
    """Who waits."""
    cdef xctx_row *row = row_at(link.mapping.head, link.index)
    cdef uint32_t pid = load32(&row.pid), thread = load32(&row.thread)
    where = f"thread {thread} of process {pid}" if thread else f"process {pid}"   # 0: several threads have the row
    if link.unit == A_TASK:
        return f"a task in {where}"
    if link.unit == A_GREENLET:
        return f"a greenlet in {where}"
    return where if thread else f"a thread of {where}"


cdef str name_of(xctx_mapping *mapping):
    """What people know a lock by."""
    if mapping.path != NULL:
        return os.fsdecode(<bytes>mapping.path)
    return f"a lock without a name ({<size_t>mapping.head:#x} here)"


cdef void undo(xctx_unit_lock *unit) noexcept:
    """Takes an attempt out of the shared memory."""
    if unit.attempt.phase != IDLE and cancel(unit, unit.attempt.upgrades):
        leave_row(unit.head, unit.row)   # a reader that was admitted


cdef Attempt new_attempt(UnitLock owner, int mode, double until, bint again):
    """For a unit's lock that is busy with it, and no longer is if this raises. `again`: an upgrade counts as one more
    acquisition."""
    cdef uint32_t turn = owner.c.turn   # first: whatever allocates may run a finaliser that makes an attempt
    cdef Attempt attempt
    try:
        attempt = Attempt.__new__(Attempt)
        attempt.greenlet = running_greenlet(True)
        attempt.task = running_task()
    except BaseException:
        if owner.c.turn == turn:
            give_up_attempt(owner)
            tell_if_queued(&owner.c, ANYTHING)
        raise
    attempt.turn = turn
    attempt.owner = owner
    attempt.mode = mode
    attempt.until = until
    attempt.again = again
    attempt.under_way = True
    if not attempt.lost():
        attempt.upgrading = owner.c.mode == UPGRADABLE
        owner.attempt = <PyObject*>attempt
    return attempt


cdef bint is_beneath(UnitLock owner) except -1:
    """Whether the attempt with which the unit's lock is busy is that of code which this code interrupted: it goes on when this
    has returned, and not before."""
    cdef Attempt attempt
    if owner.c.shared_by_threads and owner.c.thread != PyThread_get_thread_ident():
        return False
    if owner.attempt == NULL:
        return True   # it has only just begun
    attempt = <Attempt>owner.attempt
    return attempt.greenlet is running_greenlet(True) and attempt.task is running_task()


cdef int overtake(UnitLock owner) except -1:
    """Takes the place of an attempt beneath this code, which then begins anew. A thread that waits for one of the
    interpreter's own locks has no claim on it either that its signal handlers would have to respect."""
    cdef Attempt attempt = <Attempt>owner.attempt if owner.attempt != NULL else None
    give_up_attempt(owner)
    if attempt is not None:
        attempt.leave(False)
    return tell_if_queued(&owner.c, ANYTHING)


cdef void give_up_attempt(UnitLock owner) noexcept:
    """Ends the attempt with which the unit's lock is busy. Its Attempt, if there is one, finds that it is lost."""
    cdef xctx_unit_lock *unit = &owner.c
    xctx_lock(&owner.guard)
    unit.turn += 1
    undo(unit)
    unit.busy = False
    owner.attempt = NULL
    xctx_unlock(&owner.guard)


cdef int wait(Attempt attempt) except? -2:
    """The driver for threads and greenlets. HELD, TIME_IS_UP, or FORKED or OVERTAKEN: it must begin anew."""
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


cdef int refuse_without_loop() except -1:
    raise RuntimeError("a task waits in an asyncio event loop, and none is running here")


cdef int refuse_task() except -1:
    raise RuntimeError("this wait could not end: another task of this event loop has the lock, and would not go on while this "
                       "one waits. Wait with `async with`, or await acquire_async()")


cdef int pause() except -1:
    """Waits for other code of the same unit, which is busy with the lock: so rare that it asks now and then."""
    return waiter_here(current_hub(), None).park(PAUSE_MS * 1e-3)


# Nothing else makes instances of these.
xctx_forbid_instances(<PyTypeObject*>Mapping)
xctx_forbid_instances(<PyTypeObject*>Row)
xctx_forbid_instances(<PyTypeObject*>UnitLock)
xctx_forbid_instances(<PyTypeObject*>LocalQueue)
xctx_forbid_instances(<PyTypeObject*>Attempt)
