"""The state of a unit in a lock, and the queues in which units wait."""
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from xctx._lock.mappings cimport Mapping, Row, xctx_mapping
from xctx._lock.protocol cimport QUEUE, STARVES, xctx_attempt, xctx_head, xctx_row
from xctx._runtime.parking cimport xctx_queue, xctx_waiter
from xctx._runtime.python cimport xctx_mutex


cdef extern from "xctx/_lock/unit_lock.h" nogil:
    ctypedef struct xctx_unit_lock:
        xctx_head *head
        xctx_row *row
        xctx_mapping *mapping
        PyObject *owner
        uint32_t index, token, depth, wrote_at, any, turn, told
        uint8_t mode, shared_by_threads, busy, precarious, named
        unsigned long thread
        xctx_attempt attempt
    bint take "xctx_unit_take"(xctx_unit_lock *, int)
    bint release_unit "xctx_unit_release"(xctx_unit_lock *)
    bint reads_on "xctx_unit_reads_on"(xctx_unit_lock *)
    bint has_row "xctx_unit_has_row"(xctx_unit_lock *)
    bint counts "xctx_unit_counts"(xctx_unit_lock *)
    bint spin "xctx_unit_spin"(xctx_unit_lock *)
    int cancel "xctx_unit_cancel"(xctx_unit_lock *, int)
    void step_down "xctx_unit_downgrade"(xctx_unit_lock *, int)
    int outlook "xctx_outlook"(xctx_unit_lock *)
    int SERVED "XCTX_SERVED", LOCAL "XCTX_LOCAL", KERNEL "XCTX_KERNEL"


cdef class UnitLock:
    cdef xctx_unit_lock c
    cdef xctx_mutex guard         # of `c` where several threads are one unit: a process, a callable's value
    cdef Row row                  # this and the next two never change
    cdef uint64_t serial          # of the lock
    cdef uint32_t forks
    cdef PyObject *attempt        # the Attempt under way, borrowed; touched by the code that makes it alone


# What a unit gave back.
cdef enum:
    READERS_MAY_ENTER = 1   # it does not write any more, so all that waited to read have the lock
    SLOT_IS_FREE = 2        # another may write
    READERS_LEFT = 4        # it does not read any more
    ANYTHING = 7


cdef class LocalQueue:
    cdef Mapping mapping          # this and the next three never change
    cdef object home              # the hub, or a weak reference to the loop
    cdef bint of_loop
    cdef uint32_t forks
    cdef xctx_queue writers
    cdef xctx_queue readers
    cdef PyObject *next           # the next queue of the mapping, which owns it
    cdef bint listed
    cdef bint helped              # the helper runs
    cdef bint starves             # its first writer does
    cdef list ticking             # this queue, or empty once the timer is stopped: what gevent keeps of the timer refers to it
    cdef object timer             # calls `tick` with `ticking`; touched in the hub's or loop's thread only

    cdef object home_now(self)
    cdef void start_timer(self, object home) except *
    cdef void stop_timer(self) except *
    cdef uint32_t serve(self) except 0


cdef UnitLock new_unit_lock(Row row, uint64_t serial, bint shared_by_threads)
cdef int tell_if_queued(xctx_unit_lock *unit, int what) except -1
cdef int tell_queues(Mapping mapping, int what) except -1
cdef LocalQueue local_queue(Mapping mapping, object home, bint of_loop, bint create)
cdef bint unlist(LocalQueue queue) noexcept
cdef int wake(Mapping mapping, xctx_waiter *chain) except -1


cdef inline bint is_starving(xctx_unit_lock *unit) noexcept:
    return unit.attempt.phase == QUEUE and unit.attempt.patience == STARVES
