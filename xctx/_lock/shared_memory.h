/* What a lock has in shared memory, and what it needs of the machine and the kernel to use it: atomics, and a way to sleep.
 *
 * Linux only. Elsewhere the header defines XCTX_NO_LOCKS, and making a lock raises NotImplementedError: other kernels have
 * no locks on files that belong to an open file rather than to a process, so a process could not tell which others live. */
#ifndef XCTX_LOCK_SHARED_MEMORY_H
#define XCTX_LOCK_SHARED_MEMORY_H

#include "xctx/_runtime/platform.h"
#include <limits.h>

#define XCTX_LONGEST_SLEEP 100000000   /* ns: nobody sleeps for longer without looking for the dead */

/* --- the layout -------------------------------------------------------------------------------------------------------- */

#define XCTX_ROWS 65000
#define XCTX_TAKEN 0x80000000u   /* no process has a token with this bit */
#define XCTX_MAGIC 0x34786374786C6F63   /* its first digit is the layout's version */

/* Fields that are written often have two cache lines of their own, because the processor fetches lines in pairs.
 * xctx/_lock/listing.py reads this memory, too. */
typedef struct {
    uint64_t magic;
    uint32_t tokens;         /* the last token that was given to a process: each one once */
    uint32_t reserved;       /* how many rows have memory so far */
    uint32_t free_hint;      /* no row before this one is free, probably */
    uint32_t deaths;         /* how many writers have died, ever */
    uint32_t sweep;          /* which row is looked at next, to clean up rows of the dead that are in nobody's way */
    uint32_t unused;
    uint64_t waits;          /* how often a unit has begun to wait, ever: the number of the latest wait */
    uint64_t identity;       /* no other lock has it */
    char pad0[80];
    uint64_t word;
    uint32_t used;           /* rows that have ever been owned: only these are looked at. Never goes down */
    char pad1[52];
    uint32_t wake_counter;
    char pad2[60];
} xctx_head;

/* The wait of a unit that has something by a row, and has waited for long, without a limit, for the same lock or another: see
 * xctx_find_cycle. */
typedef struct {
    uint64_t wait;           /* its number; 0: there is none here. Stored last, and cleared first */
    uint64_t lock;           /* the identity of the lock that it waits for */
    uint64_t since;          /* CLOCK_MONOTONIC, ns */
    uint64_t how;            /* by which row of that lock it waits, and the state of its attempt: see xctx_link */
} xctx_stuck;
enum { XCTX_STUCK_WRITER, XCTX_STUCK_READER, XCTX_STUCK };   /* the owner of the writer slot, and one of those that read */

typedef struct {
    uint64_t readers;        /* how many are in, how many wait, the epoch */
    uint32_t mode;           /* what its owner has the writer slot for; stored by the owner, or by a process that cleans up */
    uint32_t owner;          /* the token of the process that it belongs to; with XCTX_TAKEN once that has died and another one
                              * cleans up; 0 where it is free */
    uint32_t cleaner;        /* the token of the process that cleans up after a dead owner, or 0 */
    uint32_t pid;            /* this and the rest are for people to read: the owner's process identifier, */
    uint32_t thread;         /* the kernel's number of its thread, 0 where several use the row, */
    uint32_t waiters;        /* how many units wait by this row, */
    uint64_t waiting_since;  /* when the latest of them began (CLOCK_MONOTONIC, ns), */
    uint64_t held_since;     /* and when its owner took the writer slot after a wait, or 0 */
    uint32_t interpreter_of; /* the token of the process that stored the next field: right while it is `owner`, because older
                              * versions store neither */
    uint32_t interpreter;    /* the number of its thread's interpreter, 0 where that is the main one */
    char pad[8];
    xctx_stuck stuck[XCTX_STUCK];
} xctx_row;

/* The size of the file with so many rows. */
#define XCTX_SIZE_OF(rows) (sizeof(xctx_head) + (size_t)(rows) * sizeof(xctx_row))
#define XCTX_FIRST_ROWS 62                          /* two pages */
#define XCTX_LEAST_SIZE XCTX_SIZE_OF(XCTX_FIRST_ROWS)
#define XCTX_SPAN XCTX_SIZE_OF(XCTX_ROWS)           /* of addresses, most of which never get memory */

/* Processes whose builds are of different compilers share the memory. */
_Static_assert(offsetof(xctx_head, word) == 128 && offsetof(xctx_head, wake_counter) == 192 && sizeof(xctx_head) == 256,
               "the layout of the head");
_Static_assert(offsetof(xctx_row, owner) == 12 && offsetof(xctx_row, waiting_since) == 32 && offsetof(xctx_row, stuck) == 64
               && sizeof(xctx_row) == 128, "the layout of a row");

static inline xctx_row *xctx_row_at(xctx_head *head, uint32_t index) { return (xctx_row *)(head + 1) + index; }

#if !defined(XCTX_NO_LOCKS)
#  if defined(__linux__)
#    define XCTX_NO_LOCKS 0
#  else
#    define XCTX_NO_LOCKS 1
#  endif
#endif

#if !XCTX_NO_LOCKS
/* --- Linux ------------------------------------------------------------------------------------------------------------- */

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Shared between processes: atomic also in builds with a GIL, which orders only this process's threads. For what is not shared
 * with other processes see _runtime/platform.h. */
static inline uint32_t xctx_load32(uint32_t *p) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
static inline void xctx_store32(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); }
static inline void xctx_store32_release(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
static inline uint32_t xctx_add32(uint32_t *p, uint32_t v) { return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST); }
static inline int xctx_cas32(uint32_t *p, uint32_t *expected, uint32_t v) {
    return __atomic_compare_exchange_n(p, expected, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
static inline uint64_t xctx_load64(uint64_t *p) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
static inline void xctx_store64(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); }
static inline void xctx_store64_relaxed(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }
static inline uint64_t xctx_add64(uint64_t *p, uint64_t v) { return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST); }
static inline uint64_t xctx_or64(uint64_t *p, uint64_t v) { return __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST); }
static inline uint64_t xctx_and64(uint64_t *p, uint64_t v) { return __atomic_fetch_and(p, v, __ATOMIC_SEQ_CST); }
static inline int xctx_cas64(uint64_t *p, uint64_t *expected, uint64_t v) {
    return __atomic_compare_exchange_n(p, expected, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* Not shared with other processes: a number that threads read without the lock under which it changes. */
static inline uint16_t xctx_load16_relaxed(uint16_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
static inline void xctx_store16_relaxed(uint16_t *p, uint16_t v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }

/* Sleeps while *p is `value`, for at most `ns`, to be woken for any of `bits`. May return spuriously, and for a signal. */
static inline void xctx_futex_wait(uint32_t *p, uint32_t value, uint64_t ns, uint32_t bits) {
    uint64_t until = xctx_monotonic_ns() + ns;
    struct timespec at = {(time_t)(until / 1000000000u), (long)(until % 1000000000u)};
    syscall(SYS_futex, p, FUTEX_WAIT_BITSET, value, &at, NULL, bits);
}

/* Whether any were woken. */
static inline int xctx_futex_wake(uint32_t *p, int how_many, uint32_t bits) {
    int before = errno;   /* it belongs to the code that releases the lock */
    long woken = syscall(SYS_futex, p, FUTEX_WAKE_BITSET, how_many, NULL, NULL, bits);
    errno = before;
    return woken > 0;
}

#else
/* --- no locks ------------------------------------------------------------------------------------------------------------ */

/* Enough to compile: no lock is ever made, so none of this is ever called. */
static inline uint32_t xctx_load32(uint32_t *p) { return *p; }
static inline void xctx_store32(uint32_t *p, uint32_t v) { *p = v; }
static inline void xctx_store32_release(uint32_t *p, uint32_t v) { *p = v; }
static inline uint32_t xctx_add32(uint32_t *p, uint32_t v) { return (*p += v) - v; }
static inline int xctx_cas32(uint32_t *p, uint32_t *expected, uint32_t v) { (void)expected; *p = v; return 1; }
static inline uint64_t xctx_load64(uint64_t *p) { return *p; }
static inline void xctx_store64(uint64_t *p, uint64_t v) { *p = v; }
static inline void xctx_store64_relaxed(uint64_t *p, uint64_t v) { *p = v; }
static inline uint64_t xctx_add64(uint64_t *p, uint64_t v) { return (*p += v) - v; }
static inline uint64_t xctx_or64(uint64_t *p, uint64_t v) { return *p |= v; }
static inline uint64_t xctx_and64(uint64_t *p, uint64_t v) { return *p &= v; }
static inline int xctx_cas64(uint64_t *p, uint64_t *expected, uint64_t v) { (void)expected; *p = v; return 1; }
static inline uint16_t xctx_load16_relaxed(uint16_t *p) { return *p; }
static inline void xctx_store16_relaxed(uint16_t *p, uint16_t v) { *p = v; }
static inline void xctx_futex_wait(uint32_t *p, uint32_t v, uint64_t ns, uint32_t bits) {
    (void)p; (void)v; (void)ns; (void)bits;
}
static inline int xctx_futex_wake(uint32_t *p, int n, uint32_t bits) { (void)p; (void)n; (void)bits; return 0; }

#endif
/* For people to read: in which interpreter of its process the owner of a row is; 0 for the main one. */
static inline uint32_t xctx_interpreter_of(xctx_row *row) {
    uint32_t owner = xctx_load32(&row->owner);
    return xctx_load32(&row->interpreter_of) == owner ? xctx_load32(&row->interpreter) : 0;
}

#endif
