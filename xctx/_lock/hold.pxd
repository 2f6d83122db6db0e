"""What the locks use of this room: memory, lines and holds, and waiting."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from cpython.object cimport PyObject

from xctx._core cimport xctx_mutex
from xctx._runtime.parking cimport Waiter, xctx_queue


cdef extern from "xctx/_lock/hold.h" nogil:
    int NONE "XCTX_NONE", SHARED "XCTX_SHARED", UPGRADABLE "XCTX_UPGRADABLE", EXCLUSIVE "XCTX_EXCLUSIVE"
    int IDLE "XCTX_IDLE", QUEUE "XCTX_QUEUE", SEATED "XCTX_SEATED", COUNTED "XCTX_COUNTED"
    uint32_t DIED "XCTX_DIED"
    ctypedef struct xctx_head:
        uint32_t word, used, gate
    ctypedef struct xctx_line:
        uint64_t state
        uint32_t flags, owner, thread, waiters
    ctypedef struct xctx_mem:
        PyObject *queues
        xctx_mutex guard
        uint32_t queued
    ctypedef struct xctx_attempt:
        uint8_t phase, want, patient
        uint32_t gate
    ctypedef struct xctx_hold:
        xctx_head *head
        xctx_line *line
        xctx_mem *mem
        PyObject *owner
        uint32_t index, depth, wrote_at, any
        uint8_t mode, told, common, busy
        xctx_attempt attempt
    uint32_t load32 "xctx_load32"(uint32_t *)
    uint64_t load64 "xctx_load64"(uint64_t *)
    uint32_t readers_in "XCTX_IN"(uint64_t)
    xctx_line *line_at "xctx_line_at"(xctx_head *, uint32_t)
    uint32_t queued "xctx_queued"(xctx_mem *)
    void announce "xctx_announce"(xctx_head *, xctx_attempt *)
    bint take "xctx_hold_take"(xctx_hold *, int)
    void give_back "xctx_hold_release"(xctx_hold *)
    void step_down "xctx_hold_downgrade"(xctx_hold *, int)


cdef class Memory:
    cdef xctx_mem *mem            # this and the next three never change
    cdef xctx_head *head
    cdef int carrier              # what is handed to other processes; -1 where it has a name
    cdef uint32_t generation
    cdef object __weakref__


cdef class Line:
    cdef Memory memory            # all of it never changes
    cdef uint32_t index
    cdef uint32_t generation


cdef class Hold:
    cdef xctx_hold c
    cdef xctx_mutex guard         # of `c` where several threads are one unit: a process, a callable's value
    cdef Line line                # this and the next two never change
    cdef uint64_t serial          # of the lock
    cdef uint32_t generation


# How long a unit waits before it asks again whether a fellow, another thread or task of the same unit, has done with it.
cdef enum:
    PAUSE_MS = 1


# How a try stands.
cdef enum:
    FORKED = -1
    TIME_IS_UP = 0
    HELD = 1
    WAITS = 2

# What changed for those who wait.
cdef enum:
    READERS_MAY_ENTER = 1   # the writer has left: all that waited to read have the lock
    SLOT_IS_FREE = 2        # another may write
    READERS_LEFT = 4        # the one who is about to write waits for that


cdef class LocalQueue:
    cdef Memory memory            # this and the next three never change
    cdef object home              # the hub, or a weak reference to the loop
    cdef bint of_loop
    cdef uint32_t generation
    cdef xctx_queue writers
    cdef xctx_queue readers
    cdef PyObject *next           # another queue of the memory, which owns it. This and the next two as `memory.mem.queues`
    cdef bint listed
    cdef bint helped              # the helper runs
    cdef bint famished            # the first writer is
    cdef object timer             # the loop's thread's: wakes the first ones now and then

    cdef object home_now(self)
    cdef void start_timer(self, object home) except *
    cdef void stop_timer(self) except *
    cdef uint32_t serve(self) except 0


cdef class Attempt:
    cdef Hold hold                # this and the next four never change
    cdef int mode
    cdef bint upgrading
    cdef bint again
    cdef double until             # by `monotonic`
    cdef bint under_way
    cdef bint counted             # in the line's number of those who wait
    cdef bint reads               # it is, or was, among the readers of the queue
    cdef LocalQueue queue         # while it is in there
    cdef Waiter waiter            # None where a thread sleeps in the kernel
    cdef double seconds           # how long to sleep

    cdef int begin(self, object home, bint of_loop) except? -2
    cdef int look_again(self) except? -2
    cdef int before_sleep(self) except? -2
    cdef bint is_first(self) noexcept
    cdef bint look_for_dead(self) noexcept
    cdef int sleep(self) except -1
    cdef int have(self) except? -2
    cdef void settle(self, bint held) noexcept
    cdef int give_up(self) except? -2
    cdef int end(self) except -1
    cdef int leave(self, bint served) except -1


cdef Memory new_memory()
cdef Memory memory_of(int fd, str path)
cdef Memory named_memory(object name)
cdef Line new_line(Memory memory)
cdef Hold new_hold(Line line, uint64_t serial, bint common)
cdef void look_at_all(Memory memory) noexcept
cdef Attempt new_attempt(Hold hold, int mode, double until, bint again)
cdef int wait(Attempt attempt) except? -2
cdef int pause() except -1
cdef int told(xctx_hold *hold, int what) except -1
cdef uint32_t forks() noexcept

# Called as a hold dies: what is known of it by the serial number of its lock is forgotten there.
ctypedef void (*hold_forget)(uint64_t serial, xctx_hold *hold) noexcept
cdef void set_forget(hold_forget forget) noexcept
