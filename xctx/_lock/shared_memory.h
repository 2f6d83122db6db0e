/* What a lock has in shared memory, and what it needs of the machine and the kernel to use it: atomics, and a way to sleep.
 *
 * A thread sleeps on a futex. On other systems than Linux, or with XCTX_NO_FUTEX, it sleeps for short times that grow. */
#ifndef XCTX_LOCK_SHARED_MEMORY_H
#define XCTX_LOCK_SHARED_MEMORY_H

#include "xctx/_runtime/platform.h"
#include <limits.h>

#define XCTX_LONGEST_SLEEP 100000000   /* ns: nobody sleeps for longer without looking for the dead */

/* --- the layout -------------------------------------------------------------------------------------------------------- */

#define XCTX_ROWS 510
#define XCTX_MAGIC 0x32786374786C6F63   /* its first digit is the layout's version */

/* What is written often stands on two cache lines of its own, because the processor fetches lines in pairs. */
typedef struct {
    uint64_t magic;
    char pad0[120];
    uint32_t word;
    uint32_t used;           /* rows that have ever been owned: only these are looked at. Never goes down */
    char pad1[56];
    uint32_t wake_counter;
    char pad2[60];
} xctx_head;

typedef struct {
    uint64_t readers;        /* how many are in, how many wait, the epoch */
    uint32_t mode;           /* what its owner has the writer slot for; stored by the owner, or by a process that cleans up */
    uint32_t owner;          /* a process identifier, for people to read; 0 where the row is free */
    uint32_t thread;         /* likewise, the kernel's number of the thread */
    uint32_t waiters;        /* units that wait by this row, for people and tests to read */
    char pad[104];
} xctx_row;

#define XCTX_SIZE (sizeof(xctx_head) + XCTX_ROWS * sizeof(xctx_row))

/* Processes with builds of different compilers share it. */
_Static_assert(offsetof(xctx_head, word) == 128 && offsetof(xctx_head, wake_counter) == 192 && sizeof(xctx_head) == 256,
               "the layout of the head");
_Static_assert(offsetof(xctx_row, mode) == 8 && offsetof(xctx_row, waiters) == 20 && sizeof(xctx_row) == 128,
               "the layout of a row");

static inline xctx_row *xctx_row_at(xctx_head *head, uint32_t index) { return (xctx_row *)(head + 1) + index; }

#if !defined(XCTX_NO_LOCKS)
#  if defined(_WIN32)
#    define XCTX_NO_LOCKS 1
#  else
#    define XCTX_NO_LOCKS 0
#  endif
#endif

#if !XCTX_NO_LOCKS
/* --- POSIX ------------------------------------------------------------------------------------------------------------- */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#  include <sys/syscall.h>
#  if !defined(XCTX_NO_FUTEX)
#    include <linux/futex.h>
#    define XCTX_FUTEX 1
#  endif
#endif

/* Shared between processes: atomic also in builds with a GIL, which orders only this process's threads. What is not shared
 * with other processes goes by _runtime/platform.h. */
static inline uint32_t xctx_load32(uint32_t *p) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
static inline void xctx_store32_release(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
static inline uint32_t xctx_add32(uint32_t *p, uint32_t v) { return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST); }
static inline uint32_t xctx_or32(uint32_t *p, uint32_t v) { return __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST); }
static inline uint32_t xctx_and32(uint32_t *p, uint32_t v) { return __atomic_fetch_and(p, v, __ATOMIC_SEQ_CST); }
static inline int xctx_cas32(uint32_t *p, uint32_t *expected, uint32_t v) {
    return __atomic_compare_exchange_n(p, expected, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
static inline uint64_t xctx_load64(uint64_t *p) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
static inline void xctx_store64(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); }
static inline uint64_t xctx_add64(uint64_t *p, uint64_t v) { return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST); }
static inline int xctx_cas64(uint64_t *p, uint64_t *expected, uint64_t v) {
    return __atomic_compare_exchange_n(p, expected, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* Not shared with other processes: a number that threads read without the lock under which it changes. */
static inline uint16_t xctx_load16_relaxed(uint16_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
static inline void xctx_store16_relaxed(uint16_t *p, uint16_t v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }

/* Sleeps while *p is `value`, for at most `ns`, to be woken for any of `bits`. May return for no reason, and for a signal. */
static inline void xctx_futex_wait(uint32_t *p, uint32_t value, uint64_t ns, uint32_t bits) {
    uint64_t until = xctx_monotonic_ns() + ns;
#if defined(XCTX_FUTEX)
    struct timespec at = {(time_t)(until / 1000000000u), (long)(until % 1000000000u)};
    syscall(SYS_futex, p, FUTEX_WAIT_BITSET, value, &at, NULL, bits);
#else
    uint64_t step = 50000, left = ns;   /* the step grows to some 3 ms */
    (void)bits;
    while (xctx_load32(p) == value && left > 0) {
        struct timespec at = {0, (long)(step < left ? step : left)};
        uint64_t now;
        if (nanosleep(&at, NULL)) return;
        if (step < 3000000) step *= 2;
        now = xctx_monotonic_ns();
        left = now < until ? until - now : 0;
    }
#endif
}

/* Whether any were woken; false where that is not known. */
static inline int xctx_futex_wake(uint32_t *p, int how_many, uint32_t bits) {
#if defined(XCTX_FUTEX)
    int before = errno;   /* of the code that releases the lock */
    long woken = syscall(SYS_futex, p, FUTEX_WAKE_BITSET, how_many, NULL, NULL, bits);
    errno = before;
    return woken > 0;
#else
    (void)p; (void)how_many; (void)bits;
    return 0;
#endif
}

#else
/* --- no locks ------------------------------------------------------------------------------------------------------------ */

/* Enough to compile: no lock is ever made, so none of this is ever called. */
static inline uint32_t xctx_load32(uint32_t *p) { return *p; }
static inline void xctx_store32_release(uint32_t *p, uint32_t v) { *p = v; }
static inline uint32_t xctx_add32(uint32_t *p, uint32_t v) { return (*p += v) - v; }
static inline uint32_t xctx_or32(uint32_t *p, uint32_t v) { return *p |= v; }
static inline uint32_t xctx_and32(uint32_t *p, uint32_t v) { return *p &= v; }
static inline int xctx_cas32(uint32_t *p, uint32_t *expected, uint32_t v) { (void)expected; *p = v; return 1; }
static inline uint64_t xctx_load64(uint64_t *p) { return *p; }
static inline void xctx_store64(uint64_t *p, uint64_t v) { *p = v; }
static inline uint64_t xctx_add64(uint64_t *p, uint64_t v) { return (*p += v) - v; }
static inline int xctx_cas64(uint64_t *p, uint64_t *expected, uint64_t v) { (void)expected; *p = v; return 1; }
static inline uint16_t xctx_load16_relaxed(uint16_t *p) { return *p; }
static inline void xctx_store16_relaxed(uint16_t *p, uint16_t v) { *p = v; }
static inline void xctx_futex_wait(uint32_t *p, uint32_t v, uint64_t ns, uint32_t bits) {
    (void)p; (void)v; (void)ns; (void)bits;
}
static inline int xctx_futex_wake(uint32_t *p, int n, uint32_t bits) { (void)p; (void)n; (void)bits; return 0; }

#endif
#endif
