"""The protocol in shared memory, as compiled modules see it."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef extern from "xctx/_lock/protocol.h" nogil:
    int NO_LOCKS "XCTX_NO_LOCKS"
    int ROWS "XCTX_ROWS"
    int NONE "XCTX_NONE", SHARED "XCTX_SHARED", UPGRADABLE "XCTX_UPGRADABLE", EXCLUSIVE "XCTX_EXCLUSIVE"
    int IDLE "XCTX_IDLE", QUEUE "XCTX_QUEUE", HAS_SLOT "XCTX_HAS_SLOT", COUNTED "XCTX_COUNTED"
    uint8_t FRESH "XCTX_FRESH", PATIENT "XCTX_PATIENT", STARVES "XCTX_STARVES"
    uint32_t DIED "XCTX_DIED", HELPERS_SLEEP "XCTX_HELPERS_SLEEP", STARVING "XCTX_STARVING"
    uint64_t WRITER_SLOT "XCTX_WRITER_SLOT"
    int STUCK_WRITER "XCTX_STUCK_WRITER", STUCK_READER "XCTX_STUCK_READER"
    ctypedef struct xctx_head:
        uint64_t word, waits
        uint32_t used, wake_counter, deaths
    ctypedef struct xctx_row:
        uint64_t readers, waiting_since, held_since
        uint32_t mode, owner, pid, thread, waiters
    ctypedef struct xctx_attempt:
        uint8_t phase, want, patience, upgrades
        uint32_t passes, epoch, wake_counter

    uint32_t load32 "xctx_load32"(uint32_t *)
    uint64_t load64 "xctx_load64"(uint64_t *)
    void store32 "xctx_store32"(uint32_t *, uint32_t)
    void store64 "xctx_store64"(uint64_t *, uint64_t)
    void add32 "xctx_add32"(uint32_t *, uint32_t)
    uint64_t add64 "xctx_add64"(uint64_t *, uint64_t)
    void and64 "xctx_and64"(uint64_t *, uint64_t)
    void or64 "xctx_or64"(uint64_t *, uint64_t)
    uint64_t monotonic_ns "xctx_monotonic_ns"()
    void futex_wait "xctx_futex_wait"(uint32_t *, uint32_t, uint64_t, uint32_t)

    uint32_t interpreter_of "xctx_interpreter_of"(xctx_row *)
    xctx_row *row_at "xctx_row_at"(xctx_head *, uint32_t)
    uint32_t readers_in "XCTX_IN"(uint64_t)
    int poll "xctx_poll"(xctx_head *, uint32_t, xctx_attempt *)
    int prepare_sleep "xctx_prepare_sleep"(xctx_head *, uint32_t, xctx_attempt *)
    uint32_t sleep_flag "xctx_sleep_flag"(xctx_attempt *)
    uint64_t sleep_time "xctx_sleep_time"(xctx_head *)
    void grow_impatient "xctx_grow_impatient"(xctx_attempt *)
    void want_slot "xctx_want_slot"(xctx_attempt *)
    void announce_upgrade "xctx_announce_upgrade"(xctx_head *, xctx_attempt *)
    void hand_on "xctx_hand_on"(xctx_head *)
    void leave_row "xctx_leave"(xctx_head *, xctx_row *)
