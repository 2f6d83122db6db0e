# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""A unit's attempt to get a lock, from its first look to having the lock or giving up: how units wait, and find deadlocks."""
cimport cython
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF
from libc.math cimport INFINITY as FOREVER
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from xctx._core cimport Key
from xctx._lock.mappings cimport (A_GREENLET, A_TASK, A_THREAD, Mapping, add_queued, find_cycle, find_dead, has_lost_name,
                                  process_of, say_stuck, say_thread_stuck, tell_of_loss, tell_of_removal, unsay_stuck,
                                  unsay_thread_stuck, xctx_link, xctx_mapping)
from xctx._lock.protocol cimport (COUNTED, FRESH, HAS_SLOT, IDLE, NONE, PATIENT, QUEUE, SHARED, STARVES, STUCK_READER,
                                  STUCK_WRITER, UPGRADABLE, WRITER_SLOT, add32, add64, futex_wait, grow_impatient, leave_row,
                                  load32, load64, monotonic_ns, poll, prepare_sleep, readers_in, row_at, sleep_flag,
                                  sleep_time, store64, want_slot, xctx_attempt, xctx_row)
from xctx._lock.unit_lock cimport (ANYTHING, KERNEL, LOCAL, READERS_LEFT, READERS_MAY_ENTER, SERVED, SLOT_IS_FREE,
                                   LocalQueue, UnitLock, cancel, counts, has_row, is_starving, local_queue, outlook,
                                   release_unit, spin, step_down, tell_if_queued, tell_queues, unlist, wake, xctx_unit_lock)
from xctx._runtime.parking cimport (Waiter, task_waiter, waiter_here, xctx_choose, xctx_queue, xctx_queue_add,
                                    xctx_queue_remove, xctx_waiter)
from xctx._runtime.python cimport (PyErr_CheckSignals, PyErr_SetFromErrno, PyThread_get_thread_ident, xctx_forbid_instances,
                                   xctx_keep, xctx_load_int, xctx_lock, xctx_store_int, xctx_unlock)
from xctx._runtime.runtime cimport connect, xctx_fork_count
from xctx._runtime.scheduling cimport current_hub, current_loop, monotonic, running_greenlet, running_task, runs_eventlet
from xctx._runtime.units cimport Unit
from xctx._stores.local cimport local
from xctx._runtime.scheduling import start_system_thread
from xctx import _core
import errno
import os

cdef extern from "errno.h" nogil:
    int c_errno "errno"

cdef double WITHOUT_HELP = 0.01  # seconds after which the first unit of a queue looks again, where no helper could be started
cdef double LONG_DOUBT = 1       # how long descriptors may be lacking, without which dead processes cannot be found
cdef double CYCLES_AFTER = 1      # how long a unit has waited when it looks for a deadlock,
cdef int cycles_at_once = False  # unless this is set, by any thread
cdef PyObject *_stores_of = NULL  # of the interpreter: set once, and kept for ever

connect()


cdef void set_stores_of(object function) noexcept:
    xctx_keep(&_stores_of, <PyObject*>function)


def look_for_deadlocks_at_once(on):
    """Makes each unit look for a deadlock as soon as it begins to wait for a lock, rather than after a second."""
    xctx_store_int(&cycles_at_once, bool(on))


cdef double next_look_for_cycles() noexcept:
    return monotonic() + (0 if xctx_load_int(&cycles_at_once) else CYCLES_AFTER)


@cython.no_gc_clear   # __dealloc__ needs what the collector would clear
cdef class Attempt:
    """A unit's attempt to get the lock, after a first look has failed.

    This is the state machine of waiting; the drivers, `wait` for threads and greenlets and `wait_in_task` of tasks.pyx, do
    nothing but sleep. `begin` and `look_again` return the state of the attempt. While that is WAITS the unit sleeps: a thread
    in the kernel, a greenlet or task with `waiter`. The unit's lock is busy until the attempt is finished or `end` undoes it.

    Thread-safety: used only by the unit whose attempt it is. Lifetime: of the wait. Deallocation undoes an unfinished attempt.
    """

    def __dealloc__(self):
        if self.under_way:
            self.end()

    cdef int lost(self) noexcept:
        """FORKED or OVERTAKEN where the unit's lock is no longer busy with this attempt; otherwise 0."""
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
        if unit.named and has_lost_name(unit.mapping):
            tell_of_removal(mapping)
        if (self.until > monotonic() and unit.attempt.phase == IDLE and not self.upgrading and self.mode != SHARED
                and queue is not None and queue.writers.count):
            unit.attempt.want = self.mode   # others wait here already: skip the look, which might overtake them
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
                # In front if it has the writer slot already, because none of the others can go on before it.
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
        self.cycles_at = next_look_for_cycles() if self.until == FOREVER else FOREVER
        return self.before_sleep()

    cdef int refuse(self) except? -2:
        """Raises where this thread would sleep until one of its own units releases the lock, which could never run."""
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
            own = slot == unit.index + 1 and load32(&unit.row.mode) != NONE   # otherwise it can be passed over
        if not own:
            return 0
        if current_loop() is not None:
            refuse_task()
        raise RuntimeError("this wait could not end: another greenlet of this thread, or task of trio's, has the lock, and would "
                           "not go on while this one waits")

    cdef int look_for_held(self) except -1:
        """Finds the locks that the waiting code holds, and cannot release before its wait ends. What the units of a thread hold
        by rows that the thread does not share, these rows show."""
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
            for store, names in (<object>_stores_of)(unit):
                key = (<local>store).key
                held = names.get("unit_lock")
                if type(held) is not UnitLock or (<UnitLock>held).c.mode == NONE:
                    continue
                if key is task or key is greenlet or thread and key is own_thread:
                    found.append(held)
        self.held = found
        return 0

    cdef void say(self) noexcept:
        """Publishes what this waits for, if others may be waiting for it."""
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
        """Raises where this unit, which has waited for long, has closed a deadlock."""
        cdef xctx_link links[16]
        cdef int length, each, later = 0
        links[0] = self.link
        length = find_cycle(links)
        if length == 0:
            self.cycles = 0
            return 0
        for each in range(1, length):
            later += links[each].since > links[0].since
        # The last unit to wait closed the cycle, and should raise. But its process may not have all of the locks, and so may
        # not find the cycle: then the unit before it raises a little later, and so on.
        self.cycles += 1
        if self.cycles <= 2 * later:
            return 0
        told = []
        for each in range(length):
            told.append(f"{waiter_of(&links[each])}{', which' if each else ''} waits for {name_of(links[each].mapping)}")
        raise RuntimeError(f"deadlock: {', held by '.join(told)}, held by the first")

    cdef int rest(self, bint looks) except? -2:
        """The last step before a sleep. Returns WAITS."""
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
            if unit.named and has_lost_name(unit.mapping):
                tell_of_removal(self.owner.row.mapping)
            left = self.until if self.until == FOREVER else self.until - monotonic()
            if left <= 0:
                return self.give_up()
            self.seconds = left
            looks = self.cycles_at != FOREVER and monotonic() >= self.cycles_at
            if looks:
                self.cycles_at = next_look_for_cycles()
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
            # When it is to look for a deadlock: never if it holds nothing to wait for. The first is woken anyway.
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
                    tell_queues(self.owner.row.mapping, 0)   # they may still count on units of this process
                found = self.lost()
                if found:
                    return found
            if first and self.look_for_dead():
                return self.have()
            return self.rest(looks)

    cdef int look_for_dead(self) except? -2:
        """Whether the lock is held now because a unit that this waited for has died, or does not follow up."""
        cdef xctx_unit_lock *unit = &self.owner.c
        cdef int found = find_dead(unit.mapping, &unit.attempt)
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
        if unit.named and has_lost_name(unit.mapping):
            self.give_back()
            tell_of_removal(self.owner.row.mapping)
        return HELD

    cdef int give_back(self) except -1:
        """Releases what the attempt has acquired."""
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
        """Undoes an attempt that was killed, cancelled, interrupted or overtaken."""
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
        """Leaves the queue and the count of waiters. If it was not served it may have been woken, so it wakes the next."""
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
    """Names the unit that waits, for an error message."""
    cdef xctx_row *row = row_at(link.mapping.head, link.index)
    cdef uint32_t thread = load32(&row.thread)   # 0: several threads have the row
    where = f"thread {thread} of {process_of(row)}" if thread else process_of(row)
    if link.unit == A_TASK:
        return f"a task in {where}"
    if link.unit == A_GREENLET:
        return f"a greenlet in {where}"
    return where if thread else f"a thread of {where}"


cdef str name_of(xctx_mapping *mapping):
    """Names a lock, for an error message."""
    if mapping.path != NULL:
        return os.fsdecode(<bytes>mapping.path)
    return f"a lock without a name ({<size_t>mapping.head:#x} here)"


cdef void undo(xctx_unit_lock *unit) noexcept:
    """Takes an attempt out of the shared memory."""
    if unit.attempt.phase != IDLE and cancel(unit, unit.attempt.upgrades):
        leave_row(unit.head, unit.row)   # a reader that was admitted


cdef Attempt new_attempt(UnitLock owner, int mode, double until, bint again):
    """The unit's lock is busy with the attempt already, and no longer if this raises. `again`: an upgrade counts as one more
    acquisition."""
    cdef uint32_t turn = owner.c.turn   # first: any allocation may run a finaliser that makes an attempt
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
    """Whether the unit's lock is busy with an attempt of code that this code interrupted, which goes on only when this code
    has returned."""
    cdef Attempt attempt
    if owner.c.shared_by_threads and owner.c.thread != PyThread_get_thread_ident():
        return False
    if owner.attempt == NULL:
        return True   # it has only just begun
    attempt = <Attempt>owner.attempt
    return attempt.greenlet is running_greenlet(True) and attempt.task is running_task()


cdef int overtake(UnitLock owner) except -1:
    """Abandons the attempt of the code that this code interrupted; it will start over. With the interpreter's own locks, too,
    a signal handler may acquire a lock that the thread it interrupts is waiting for."""
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
    """The driver for threads and greenlets. HELD or TIME_IS_UP; FORKED or OVERTAKEN where the caller has to start over."""
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
    """Waits for other code of the same unit, which is busy with the lock: so rare that polling is enough."""
    return waiter_here(current_hub(), None).park(PAUSE_MS * 1e-3)


xctx_forbid_instances(<PyTypeObject*>Attempt)   # nothing else makes instances of it
