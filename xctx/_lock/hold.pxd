"""What the locks use of this room: memory, lines and holds, and waiting."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from cpython.object cimport PyObject

from xctx._core cimport xctx_mutex


cdef extern from "xctx/_lock/hold.h" nogil:
    int NONE "XCTX_NONE", SHARED "XCTX_SHARED", UPGRADABLE "XCTX_UPGRADABLE", EXCLUSIVE "XCTX_EXCLUSIVE"
    int IDLE "XCTX_IDLE", QUEUE "XCTX_QUEUE"
    uint32_t DIED "XCTX_DIED"
    ctypedef struct xctx_head:
        uint32_t word, used, gate
    ctypedef struct xctx_line:
        uint64_t state
        uint32_t flags, owner, thread
    ctypedef struct xctx_mem:
        pass
    ctypedef struct xctx_attempt:
        uint8_t phase, want, patient, naps
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
    void announce "xctx_announce"(xctx_head *, xctx_attempt *)
    bint take "xctx_hold_take"(xctx_hold *, int)
    void give_back "xctx_hold_release"(xctx_hold *)
    void step_down "xctx_hold_downgrade"(xctx_hold *, int)


cdef class Memory:
    cdef xctx_mem *mem            # this and the next three never change
    cdef xctx_head *head
    cdef int carrier              # what is handed to other processes; -1 where it has a name
    cdef uint32_t generation
    cdef dict rounds              # of those who wait in a hub or loop
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


cdef class Attempt:
    cdef Hold hold                # this and the next never change
    cdef int mode
    cdef bint upgrading
    cdef bint under_way
    cdef bint held(self, bint got) noexcept
    cdef void end(self) noexcept


cdef Memory new_memory()
cdef Memory memory_of(int fd, str path)
cdef Memory named_memory(object name)
cdef Line new_line(Memory memory)
cdef Hold new_hold(Line line, uint64_t serial, bint common)
cdef void look_at_all(Memory memory) noexcept
cdef Attempt new_attempt(Hold hold, int mode)
cdef object waiting()
cdef int wait(Hold owner, int mode, double until) except -2
cdef uint32_t forks() noexcept

# Called as a hold dies: what is known of it by the serial number of its lock is forgotten there.
ctypedef void (*hold_forget)(uint64_t serial, xctx_hold *hold) noexcept
cdef void set_forget(hold_forget forget) noexcept
