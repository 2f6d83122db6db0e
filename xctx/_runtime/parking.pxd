"""What a room needs to let units wait: queues, which it guards with a lock of its own, and waiters."""
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t


cdef extern from "xctx/_runtime/parking.h" nogil:
    ctypedef struct xctx_waiter:
        xctx_waiter *next
        xctx_waiter *next_chosen
        PyObject *owner
        int linked, chosen, parked, in_hub
        uint32_t forks
        double since

    ctypedef struct xctx_queue:
        xctx_waiter *first
        size_t count


cdef extern from "xctx/_runtime/parking.h":
    void xctx_queue_add(xctx_queue *queue, xctx_waiter *waiter, int in_front)
    void xctx_queue_remove(xctx_queue *queue, xctx_waiter *waiter)
    void xctx_choose(xctx_waiter *waiter, xctx_waiter **chain)
    void xctx_queue_pick(xctx_queue *queue, size_t number, xctx_waiter **chain)


cdef class Waiter:
    cdef xctx_waiter node         # guarded by the lock that guards its queue
    cdef int signal               # set by a waker, cleared by the unit that waits; see xctx_signal
    cdef object subject           # what it waits for; only the room that owns the queue uses this. Never changes

    cdef int park(self, double seconds) except -1
    cdef bint deliver(self) except -1


cdef class TaskWaiter(Waiter):
    cdef object loop              # never changes
    cdef object future            # this and the next are touched in the loop's thread only
    cdef object timer

    cdef object begin(self, double seconds)
    cdef int finish(self) except -1


cdef Waiter waiter_here(object hub, object subject)
cdef TaskWaiter task_waiter(object loop, object subject)
cdef int wake_all(xctx_waiter *chain) except -1
cdef int wake_again(Waiter waiter) except -1
cdef object done(object result)
