"""What the files above use of attempts to get a lock."""
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t

from xctx._lock.mappings cimport xctx_link
from xctx._lock.unit_lock cimport LocalQueue, UnitLock
from xctx._runtime.parking cimport Waiter


# How long a unit waits before it asks again whether other code of the same unit is still busy with the lock.
cdef enum:
    PAUSE_MS = 1

# The state of an attempt. After either of the first two it must start over.
cdef enum:
    OVERTAKEN = -3   # other code of its unit, which ran in the middle of it, made an attempt of its own
    FORKED = -1
    TIME_IS_UP = 0
    HELD = 1
    WAITS = 2


cdef class Attempt:
    cdef UnitLock owner           # this and the next four never change
    cdef int mode                 # that it wants
    cdef bint upgrading
    cdef bint again               # an upgrade counts as one more acquisition
    cdef double until             # by `monotonic`
    cdef bint under_way
    cdef bint counted             # it is one of the row's `waiters`
    cdef bint reads               # it waits, or waited, among the readers of the queue
    cdef LocalQueue queue         # in which it waits, or None
    cdef Waiter waiter            # None where a thread sleeps in the kernel
    cdef double seconds           # how long to sleep
    cdef double doubt             # since when it cannot find out who is dead, for lack of a descriptor; 0: it can
    cdef double cycles_at         # when it looks for a deadlock next; infinity where its wait has a limit
    cdef int cycles               # how often in a row it has found one
    cdef list held                # the UnitLocks that its unit held at its last such look; None before the first
    cdef xctx_link link           # describes its wait to those that look for a deadlock
    cdef bint stuck               # at its last look, its unit had something that others could wait for
    cdef bint said                # `link` is published, so that others can find a cycle
    cdef uint32_t turn            # this and the next two never change: the unit's `turn`,
    cdef object greenlet          # and what runs it, to recognise code that interrupts it;
    cdef object task              # either may be None

    cdef int lost(self) noexcept
    cdef int refuse(self) except? -2
    cdef int look_for_held(self) except -1
    cdef void say(self) noexcept
    cdef void unsay(self) noexcept
    cdef int look_for_cycle(self) except? -2
    cdef int rest(self, bint looks) except? -2
    cdef int begin(self, object home, bint of_loop) except? -2
    cdef int look_again(self) except? -2
    cdef int before_sleep(self) except? -2
    cdef int tell_that_reader_left(self) except -1
    cdef bint is_first(self) noexcept
    cdef int look_for_dead(self) except? -2
    cdef int sleep(self) except -1
    cdef int have(self) except? -2
    cdef void settle(self, bint held) noexcept
    cdef int give_back(self) except -1
    cdef int give_up(self) except? -2
    cdef int end(self) except -1
    cdef int leave(self, bint served) except -1


cdef Attempt new_attempt(UnitLock owner, int mode, double until, bint again)
cdef int wait(Attempt attempt) except? -2
cdef int pause() except -1
cdef int overtake(UnitLock owner) except -1
cdef bint is_beneath(UnitLock owner) except -1
cdef int refuse_without_loop() except -1
cdef int refuse_task() except -1

# Lists what stores keep for a unit: `stores_of` of _stores/inspection.pyx, once that is imported.
cdef void set_stores_of(object function) noexcept
