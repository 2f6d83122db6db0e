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
from xctx._runtime.python cimport PyErr_CheckSignals, PyErr_SetFromErrno, xctx_forbid_instances, xctx_lock, xctx_unlock
from xctx._runtime.runtime cimport connect, xctx_fork_count
from xctx._runtime.scheduling cimport current_hub, monotonic
from xctx._runtime.scheduling import start_system_thread
from _weakref import ReferenceType
import os

cdef extern from "xctx/_lock/mapping.h" nogil:
    int NO_LOCKS "XCTX_NO_LOCKS"
    size_t SIZE "XCTX_SIZE"
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
    xctx_mapping *map_file "xctx_map"(int, const char *)
    xctx_head *head_of "xctx_head_of"(xctx_mapping *)
    void unmap "xctx_unmap"(xctx_mapping *)
    void quit_all "xctx_quit_all"()
    int claim "xctx_claim_row"(xctx_mapping *)
    void unclaim "xctx_unclaim_row"(xctx_mapping *, uint32_t)
    int look_for_dead "xctx_look_for_dead"(xctx_mapping *, xctx_attempt *)
    void clean_up_all_dead "xctx_clean_up_all_dead"(xctx_mapping *)

cdef extern from "xctx/_lock/unit_lock.h" nogil:
    int poll "xctx_poll"(xctx_head *, uint32_t, xctx_attempt *)
    int prepare_sleep "xctx_prepare_sleep"(xctx_head *, uint32_t, xctx_attempt *)
    int cancel "xctx_cancel"(xctx_head *, uint32_t, xctx_attempt *, int)
    uint32_t sleep_flag "xctx_sleep_flag"(xctx_attempt *)
    bint spin "xctx_unit_spin"(xctx_unit_lock *)
    void grow_impatient "xctx_grow_impatient"(xctx_attempt *)
    void want_slot "xctx_want_slot"(xctx_attempt *)
    void hand_on "xctx_hand_on"(xctx_head *)
    void or32 "xctx_or32"(uint32_t *, uint32_t)
    void add32 "xctx_add32"(uint32_t *, uint32_t)
    int outlook "xctx_outlook"(xctx_unit_lock *)
    int SERVED "XCTX_SERVED", LOCAL "XCTX_LOCAL", KERNEL "XCTX_KERNEL"
    void add_queued "xctx_add_queued"(xctx_mapping *, int)
    void abandon "xctx_unit_abandon"(xctx_unit_lock *)

cdef double FOREVER = float("inf")
cdef double LOOK_AGAIN = 0.1     # seconds after which the first units of a queue look for the dead
cdef double WITHOUT_HELP = 0.01  # likewise, where no helper could be started
cdef forget_function forget_unit_lock = NULL

connect()
if set_up_mappings():
    raise MemoryError("no room for the handlers of forks and of the end")


cdef void set_forget(forget_function forget) noexcept:
    global forget_unit_lock
    forget_unit_lock = forget


# --- mapping, rows, what a unit has -------------------------------------------------------------------------------------

cdef class Mapping:
    """This process's mapping of the memory that all processes which have the lock share.

    Thread-safety: may be used by any thread. Lifetime: ends with the last lock, row and unit's lock of this process that
    refers to it. A file with a name is removed then, if no other process uses it.
    """

    def __dealloc__(self):
        if self.c != NULL:
            unmap(self.c)


cdef Mapping mapping_of(int fd, str path):
    # Takes over `fd`.
    cdef Mapping mapping = Mapping.__new__(Mapping)
    cdef bytes encoded
    cdef const char *name = NULL
    if path is not None:
        encoded = os.fsencode(path)
        name = encoded
    mapping.c = map_file(fd, name)
    if mapping.c == NULL:
        try:
            PyErr_SetFromErrno(OSError)
        finally:
            os.close(fd)
    mapping.head = head_of(mapping.c)
    mapping.carrier = -1 if path is not None else fd
    mapping.forks = xctx_fork_count()
    return mapping


cdef Mapping new_mapping():
    if NO_LOCKS:
        raise NotImplementedError("locks between processes are not known to xctx on this system")
    cdef int fd = new_file()
    if fd < 0:
        PyErr_SetFromErrno(OSError)
    return mapping_of(fd, None)


cdef Mapping named_mapping(object name):
    if NO_LOCKS:
        raise NotImplementedError("locks between processes are not known to xctx on this system")
    from xctx._lock import names
    fd, path = names.open_file(names.check_name(name), SIZE, use_file)
    cdef Mapping mapping = mapping_of(fd, path)
    names.watch_children(leave_names)
    return mapping


def leave_names():
    """As this process ends: removes the files that no other uses."""
    quit_all()


def use_file(fd, alone):
    """Locks the byte of a file that tells whether anybody uses it; True where that could be had."""
    return lock_byte(fd, F_WRLCK if alone else F_RDLCK, USERS) == 0


cdef void clean_up_all(Mapping mapping) noexcept:
    clean_up_all_dead(mapping.c)


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
    if index == -1:
        PyErr_SetFromErrno(OSError)
    if index < 0:
        raise RuntimeError(f"all {ROWS} places of this lock are taken by other processes")
    row.index = index
    row.forks = xctx_fork_count()
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
    made.c.head = row.mapping.head
    made.c.index = row.index
    made.c.row = row_at(made.c.head, row.index)
    made.c.owner = <PyObject*>made
    made.c.shared_by_threads = shared_by_threads
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
        """Runs in the hub or loop: the first units look for the dead. In a forked child all are woken, which nobody else does."""
        cdef xctx_waiter *chain = NULL
        cdef Waiter first_writer = None, first_reader = None
        cdef bint forked = self.forks != xctx_fork_count()
        xctx_lock(&self.mapping.c.guard)
        if forked:
            choose_all(&self.writers, &chain)
            choose_all(&self.readers, &chain)
        else:
            if self.writers.first != NULL:
                first_writer = <Waiter>self.writers.first.owner
            if self.readers.first != NULL:
                first_reader = <Waiter>self.readers.first.owner
        xctx_unlock(&self.mapping.c.guard)
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
            # It also keeps the hub running: the lock may be released by a thread or process that the hub does not know.
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
        """The helper thread: sleeps in the kernel until none of the units needs it any more."""
        cdef xctx_head *head = self.mapping.head
        cdef uint32_t wake_counter, flags = HELPERS_SLEEP, wanted
        cdef bint slept = False
        try:
            while True:
                wake_counter = load32(&head.wake_counter)
                or32(&head.word, flags)
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

    This is the state machine of waiting; the drivers, `wait` for threads and greenlets and `wait_in_task` of lock.pyx, do
    nothing but sleep. `begin` and `look_again` say how the attempt stands. While they give WAITS the unit sleeps: a thread in
    the kernel, a greenlet or task with `waiter`. The unit's lock is busy until the attempt comes to its end or `end` undoes
    it.

    Thread-safety: for the unit alone whose attempt it is. Lifetime: of the wait. It gives up when it dies.
    """

    def __dealloc__(self):
        if self.under_way:
            self.end()

    cdef int begin(self, object home, bint of_loop) except? -2:
        """The first looks. `home` is the hub that runs this greenlet, the event loop of this task (`of_loop`), or None."""
        cdef xctx_unit_lock *unit = &self.owner.c
        cdef Mapping mapping = self.owner.row.mapping
        cdef LocalQueue queue = local_queue(mapping, home, of_loop, False)
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
            self.queue = local_queue(mapping, home, of_loop, True)
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
        add32(&unit.row.waiters, 1)
        return self.before_sleep()

    cdef int look_again(self) except? -2:
        cdef xctx_unit_lock *unit = &self.owner.c
        cdef bint looks = True
        if self.owner.forks != xctx_fork_count():
            return FORKED
        if self.waiter is None:
            if unit.attempt.patience == FRESH:
                unit.attempt.patience = PATIENT
        else:
            xctx_lock(&unit.mapping.guard)
            self.waiter.node.parked = self.waiter.node.chosen = False
            looks = self.reads or self.is_first()
            xctx_unlock(&unit.mapping.guard)
        if looks and (poll(unit.head, unit.index, &unit.attempt) or self.waiter is None and self.look_for_dead()):
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
        cdef bint first, start, other_queues
        if self.waiter is None and prepare_sleep(unit.head, unit.index, &unit.attempt):
            return self.have()
        self.tell_that_reader_left()
        while True:
            left = self.until if self.until == FOREVER else self.until - monotonic()
            if left <= 0:
                return self.give_up()
            self.seconds = left
            if self.waiter is None:
                return WAITS
            node = &self.waiter.node
            xctx_lock(&unit.mapping.guard)
            first = self.is_first()
            node.parked = True
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
                return WAITS
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
                    tell_queues(self.owner.row.mapping, 0)   # they may count on this process still, which has not the lock
            if first and self.look_for_dead():
                return self.have()
            return WAITS

    cdef bint look_for_dead(self) noexcept:
        """Whether a process that this waits for has died, and the lock is held now."""
        cdef xctx_unit_lock *unit = &self.owner.c
        return look_for_dead(unit.mapping, &unit.attempt) and poll(unit.head, unit.index, &unit.attempt)

    cdef int sleep(self) except -1:
        """A thread's sleep in the kernel."""
        cdef xctx_unit_lock *unit = &self.owner.c
        cdef uint64_t ns = sleep_time(unit.head)
        if self.seconds * 1e9 < <double>ns:
            ns = <uint64_t>(self.seconds * 1e9)
        with nogil:
            futex_wait(&unit.head.wake_counter, unit.attempt.wake_counter, ns, sleep_flag(&unit.attempt))
        return PyErr_CheckSignals()

    cdef int have(self) except? -2:
        cdef xctx_unit_lock *unit = &self.owner.c
        self.under_way = False
        self.settle(True)
        try:
            self.leave(True)
        except BaseException:
            # An interrupt: the caller will never know that it has the lock.
            if self.upgrading:
                if self.again:
                    unit.depth -= 1
                step_down(unit, UPGRADABLE)
            else:
                release_unit(unit)
            tell_if_queued(unit, ANYTHING)
            raise
        return HELD

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
        if cancel(unit.head, unit.index, &unit.attempt, self.upgrading):
            return self.have()
        self.under_way = False
        self.settle(False)
        self.leave(False)
        if phase == HAS_SLOT:
            tell_if_queued(unit, READERS_MAY_ENTER | SLOT_IS_FREE)
        return TIME_IS_UP

    cdef int end(self) except -1:
        """Undoes an attempt that has not come to its end: it was killed, cancelled or interrupted, or this is a forked child."""
        cdef xctx_unit_lock *unit = &self.owner.c
        cdef uint8_t phase = unit.attempt.phase
        if not self.under_way:
            return 0
        self.under_way = False
        if self.owner.forks == xctx_fork_count() and phase != IDLE:
            if cancel(unit.head, unit.index, &unit.attempt, self.upgrading):
                unit.mode = self.mode   # a reader that was admitted
                release_unit(unit)
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
        if self.counted and self.owner.forks == xctx_fork_count():
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


cdef Attempt new_attempt(UnitLock owner, int mode, double until, bint again):
    """For a unit's lock that is busy with it. `again`: an upgrade counts as one more acquisition."""
    cdef Attempt attempt = Attempt.__new__(Attempt)
    attempt.owner = owner
    attempt.mode = mode
    attempt.upgrading = owner.c.mode == UPGRADABLE
    attempt.until = until
    attempt.again = again
    attempt.under_way = True
    return attempt


cdef int wait(Attempt attempt) except? -2:
    """The driver for threads and greenlets. HELD, TIME_IS_UP, or FORKED: this is a child by now, where nothing was begun."""
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


cdef int pause() except -1:
    """Waits for other code of the same unit, which is busy with the lock: so rare that it asks now and then."""
    return waiter_here(current_hub(), None).park(PAUSE_MS * 1e-3)


# None of them is made by anybody else.
xctx_forbid_instances(<PyTypeObject*>Mapping)
xctx_forbid_instances(<PyTypeObject*>Row)
xctx_forbid_instances(<PyTypeObject*>UnitLock)
xctx_forbid_instances(<PyTypeObject*>LocalQueue)
xctx_forbid_instances(<PyTypeObject*>Attempt)
