"""What SharedLock uses of this room: mappings, rows, what units hold, and waiting."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from cpython.object cimport PyObject

from xctx._runtime.parking cimport Waiter, xctx_queue
from xctx._runtime.python cimport xctx_mutex


cdef extern from "xctx/_lock/unit_lock.h" nogil:
    int NONE "XCTX_NONE", SHARED "XCTX_SHARED", UPGRADABLE "XCTX_UPGRADABLE", EXCLUSIVE "XCTX_EXCLUSIVE"
    int IDLE "XCTX_IDLE", QUEUE "XCTX_QUEUE", HAS_SLOT "XCTX_HAS_SLOT", COUNTED "XCTX_COUNTED"
    uint32_t DIED "XCTX_DIED", REMOVED "XCTX_REMOVED"
    uint64_t WRITER_SLOT "XCTX_WRITER_SLOT"
    ctypedef struct xctx_head:
        uint64_t word, waits
        uint32_t used, wake_counter, deaths
    ctypedef struct xctx_row:
        uint64_t readers, waiting_since, held_since
        uint32_t mode, owner, pid, thread, waiters
    ctypedef struct xctx_mapping:
        xctx_head *head
        char *path
        int carrier, own
        uint32_t token
        PyObject *queues
        xctx_mutex guard
        uint32_t queued
    ctypedef struct xctx_attempt:
        uint8_t phase, want, patience, upgrades
        uint32_t passes, epoch, wake_counter
    ctypedef struct xctx_unit_lock:
        xctx_head *head
        xctx_row *row
        xctx_mapping *mapping
        PyObject *owner
        uint32_t index, token, depth, wrote_at, any, turn, told
        uint8_t mode, shared_by_threads, busy, precarious, named
        unsigned long thread
        xctx_attempt attempt
    uint32_t load32 "xctx_load32"(uint32_t *)
    uint64_t load64 "xctx_load64"(uint64_t *)
    uint32_t readers_in "XCTX_IN"(uint64_t)
    xctx_row *row_at "xctx_row_at"(xctx_head *, uint32_t)
    uint32_t queued "xctx_queued"(xctx_mapping *)
    void announce_upgrade "xctx_announce_upgrade"(xctx_head *, xctx_attempt *)
    bint take "xctx_unit_take"(xctx_unit_lock *, int)
    bint release_unit "xctx_unit_release"(xctx_unit_lock *)
    bint reads_on "xctx_unit_reads_on"(xctx_unit_lock *)
    bint has_row "xctx_unit_has_row"(xctx_unit_lock *)
    bint counts "xctx_unit_counts"(xctx_unit_lock *)
    void and64 "xctx_and64"(uint64_t *, uint64_t)
    void step_down "xctx_unit_downgrade"(xctx_unit_lock *, int)
    ctypedef struct xctx_link:
        xctx_mapping *mapping
        uint64_t wait, since
        uint32_t index, state
        uint8_t phase, unit


cdef class Mapping:
    cdef xctx_mapping *c          # this and the next three never change
    cdef xctx_head *head
    cdef str path                 # None where it has no name
    cdef uint32_t forks
    cdef object __weakref__


cdef class Row:
    cdef Mapping mapping          # this and the next three never change
    cdef uint32_t index
    cdef uint32_t forks
    cdef unsigned long thread     # whose it is


cdef class UnitLock:
    cdef xctx_unit_lock c
    cdef xctx_mutex guard         # of `c` where several threads are one unit: a process, a callable's value
    cdef Row row                  # this and the next two never change
    cdef uint64_t serial          # of the lock
    cdef uint32_t forks
    cdef PyObject *attempt        # the Attempt under way, borrowed; touched by the code that makes it alone


# How long a unit waits before it asks again whether other code of the same unit is still busy with the lock.
cdef enum:
    PAUSE_MS = 1


# How an attempt stands. The first two: it must begin anew.
cdef enum:
    OVERTAKEN = -3   # other code of its unit, which ran in the middle of it, made an attempt of its own
    FORKED = -1
    TIME_IS_UP = 0
    HELD = 1
    WAITS = 2

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
    cdef bint starves             # the first writer does
    cdef list ticking             # this queue, or empty once the timer is stopped: what gevent keeps of the timer refers to it
    cdef object timer             # calls `tick` of that; touched in the hub's or loop's thread only

    cdef object home_now(self)
    cdef void start_timer(self, object home) except *
    cdef void stop_timer(self) except *
    cdef uint32_t serve(self) except 0


cdef class Attempt:
    cdef UnitLock owner           # this and the next four never change
    cdef int mode                 # what it wants
    cdef bint upgrading
    cdef bint again               # an upgrade counts as one more acquisition
    cdef double until             # by `monotonic`
    cdef bint under_way
    cdef bint counted             # it is one of the row's `waiters`
    cdef bint reads               # it waits, or waited, among the readers of the queue
    cdef LocalQueue queue         # while it is in there
    cdef Waiter waiter            # None where a thread sleeps in the kernel
    cdef double seconds           # how long to sleep
    cdef double doubt             # since when nobody can tell who is dead, because of a lack of descriptors; 0: somebody can
    cdef double cycles_at         # when it looks for a deadlock next; infinity where its wait has a limit
    cdef int cycles               # how often in a row it has found one
    cdef list held                # what it looked for then: what else its unit holds, UnitLocks; None before the first look
    cdef xctx_link link           # its wait
    cdef bint stuck               # when it looked last, others could wait for what its unit has
    cdef bint said                # others can find out for what it waits, and find a cycle
    cdef uint32_t turn            # this and the next two never change: the unit's `turn`,
    cdef object greenlet          # and what runs it, so that code which runs in the middle of it is known;
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


cdef Mapping new_mapping()
cdef Mapping mapping_of(int fd, str path, bint lasting)
cdef int check_locks() except -1
cdef bint has_lost_name(xctx_mapping *mapping) noexcept
cdef Row new_row(Mapping mapping)
cdef UnitLock new_unit_lock(Row row, uint64_t serial, bint shared_by_threads)
cdef int clean_up_all(Mapping mapping) except -1
cdef Attempt new_attempt(UnitLock owner, int mode, double until, bint again)
cdef int wait(Attempt attempt) except? -2
cdef int pause() except -1
cdef int overtake(UnitLock owner) except -1
cdef bint is_beneath(UnitLock owner) except -1
cdef int tell_of_removal(Mapping mapping) except -1
cdef int tell_of_loss() except -1
cdef int refuse_without_loop() except -1
cdef int refuse_task() except -1
cdef int tell_if_queued(xctx_unit_lock *unit, int what) except -1

# Called when a UnitLock dies: what is cached of it by the serial number of its lock is forgotten there.
ctypedef void (*forget_function)(uint64_t serial, xctx_unit_lock *unit) noexcept
cdef void set_forget(forget_function forget) noexcept

# What a store above this room tells of a unit: `stores_of` of _stores/inspection.pyx, once that is imported.
cdef void set_stores_of(object function) noexcept
