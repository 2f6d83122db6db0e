# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""The state of each unit of a process in a lock, and how units that wait there are woken when others give something back.

    Mapping        the file that is mapped
      |--- Row          a thread's row in the shared table
      |      |--- UnitLock    what one unit has of one lock
      |--- LocalQueue   the units of one hub or event loop that wait

A row refers to its mapping, and a UnitLock to its row; a UnitLock gives back what it had when it is deallocated. Nothing
refers back, so the collector need not visit these, and it must not clear one before that.
"""
cimport cython
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint32_t, uint64_t

from xctx._lock.mappings cimport Mapping, Row, add_queued, queued, xctx_mapping
from xctx._lock.protocol cimport (HELPERS_SLEEP, QUEUE, STARVING, futex_wait, grow_impatient, hand_on, load32, or64, row_at,
                                  sleep_time, store32, xctx_head)
from xctx._runtime.parking cimport Waiter, wake_again, wake_all, xctx_choose, xctx_queue, xctx_queue_remove, xctx_waiter
from xctx._runtime.python cimport xctx_forbid_instances, xctx_lock, xctx_unlock
from xctx._runtime.runtime cimport connect, xctx_cache_drop, xctx_cache_entry, xctx_cache_entry_of, xctx_fork_count
from xctx._runtime.scheduling cimport monotonic
from _weakref import ReferenceType

cdef extern from "xctx/_lock/unit_lock.h" nogil:
    void abandon "xctx_unit_abandon"(xctx_unit_lock *)

cdef double LOOK_AGAIN = 0.1     # seconds after which the first units of a queue look for the dead

connect()


@cython.no_gc
cdef class UnitLock:
    """The state of one unit in one lock.

    Thread-safety: only the unit touches it, until it ends; under `guard` where several threads are one unit. While an attempt
    is parked, other threads look at it under the guard of the mapping. Lifetime: of the unit, which keeps it in a `local`.
    """

    def __dealloc__(self):
        cdef xctx_cache_entry *entry = xctx_cache_entry_of(self.serial)
        if entry.what == &self.c:
            xctx_cache_drop(entry, self.serial)
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
        # Any thread of the unit may release, so a wait of this thread does not keep the holder from going on.
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
        """Runs in the hub or loop. Wakes the first units, to look for the dead, and those that have waited for long, to look for
        a deadlock. In a forked child it wakes all, because nobody else does."""
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
                    hand_on(head)   # a wake-up for starving writers goes to one sleeper only, which may have been this one
                slept = False
                if wanted & NOBODY_NEEDS_HELP:
                    break
                if wanted != flags:
                    flags = wanted   # and look once more with these
                    continue
                with nogil:
                    futex_wait(&head.wake_counter, wake_counter, sleep_time(head), flags)
                slept = True
        except BaseException:
            self.helped = False   # the first units look again by the timer, and then start another helper
            raise

    cdef uint32_t serve(self) except 0:
        """Wakes the units that can go on, and gives the flags to sleep with, or NOBODY_NEEDS_HELP, and the helper ends."""
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
    """Wakes the units that can go on now that a unit of this process has given back `what`.

    Of the writers that want the slot one is woken, each time one of another queue.
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
            # The queue would keep the waiters alive, the waiters their tasks, and the tasks the queue.
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
    """`unit` gave something back: wakes the units that wait in this process."""
    if queued(unit.mapping):
        tell_queues((<UnitLock>unit.owner).row.mapping, what)
    return 0


# Nothing else makes instances of these.
xctx_forbid_instances(<PyTypeObject*>UnitLock)
xctx_forbid_instances(<PyTypeObject*>LocalQueue)
