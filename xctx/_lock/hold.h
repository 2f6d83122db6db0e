/* What one unit has of one lock, and the verbs that need nothing of Python's. */
#ifndef XCTX_LOCK_HOLD_H
#define XCTX_LOCK_HOLD_H

#include "xctx/_lock/protocol.h"

/* One process's use of such a memory. Never freed, but used again, so that a forked child may always walk the list. */
typedef struct xctx_mem {
    struct xctx_mem *next;        /* never changes */
    xctx_head *head;              /* NULL: free to be used again */
#if !XCTX_NO_LOCKS
    dev_t device;                 /* which file it is: a program may close a descriptor of ours, and open another's */
    ino_t inode;
#endif
    int carrier;                  /* -1 where the memory has a name */
    int live;                     /* -1 until first use in this process */
    int spare;                    /* during a fork: what is to be the child's `live` */
    char *path;                   /* NULL where it has no name */
    uint16_t mine[XCTX_LINES];    /* how many threads of this process use the line through this */
    PyObject *queues;             /* LocalQueues in which somebody waits, each owned; guarded by `guard` */
    xctx_mutex guard;             /* of the queues, and what is in them */
    uint32_t queued;              /* how many wait in them; also read without the guard */
} xctx_mem;

typedef struct {
    xctx_head *head;    /* this and the next four never change */
    xctx_line *line;
    xctx_mem *mem;
    PyObject *owner;    /* the object that this is in, borrowed */
    uint32_t index;     /* of the line */
    uint32_t depth;     /* how often it was acquired and not released; of a lock that is not re-entrant 0 or 1 */
    uint32_t wrote_at;  /* the depth at which an upgrade began that its release ends, or 0 */
    union {
        struct {
            uint8_t mode;
            uint8_t told;     /* knows that a writer died: when it has written, nobody else need know */
            uint8_t common;   /* its unit may run in several threads: see Hold.guard. Never changes */
            uint8_t busy;     /* a try is under way, which no other may touch: of this one, a signal handler, a fellow */
        };
        uint32_t any;   /* 0: nothing is held, and nothing is in the way of a try without a guard */
    };
    xctx_attempt attempt;
} xctx_hold;

#define XCTX_SPINS 60

/* --- waiting in a queue of this process -------------------------------------------------------------------------------- */

/* Ordered with the accesses of the lock's word: see xctx_outlook. */
static inline uint32_t xctx_queued(xctx_mem *mem) { return xctx_load32(&mem->queued); }

static inline void xctx_add_queued(xctx_mem *mem, int number) { xctx_add32(&mem->queued, (uint32_t)number); }

static inline int xctx_is_mine(xctx_mem *mem, uint32_t index) {
    return index < XCTX_LINES && __atomic_load_n(&mem->mine[index], __ATOMIC_RELAXED) != 0;
}

enum { XCTX_SERVED, XCTX_LOCAL, XCTX_KERNEL };

/* What one who waits in a queue has to do: look, for it may have the lock; or wait for a unit of this process, which tells
 * the queues of this process what it gives back; or have a helper sleep in the kernel, for it waits for another process.
 *
 * A unit of this process first changes the word, or its line, and then looks whether anybody is queued; one who waits is
 * queued first and then looks at the word and the lines. So one of them sees the other. */
static inline int xctx_outlook(xctx_mem *mem, xctx_hold *hold) {
    const xctx_attempt *attempt = &hold->attempt;
    uint32_t word = xctx_load32(&hold->head->word), used, i;
    int found = XCTX_SERVED;
    switch (attempt->phase) {
    case XCTX_COUNTED:
        if (XCTX_EPOCH(xctx_load64(&hold->line->state)) != attempt->epoch || !(word & XCTX_ANNOUNCED)) return XCTX_SERVED;
        break;
    case XCTX_SEATED:
        if (attempt->want != XCTX_EXCLUSIVE) return XCTX_SERVED;
        used = xctx_load32(&hold->head->used);
        for (i = attempt->at; i < used; i++)
            if (XCTX_IN(xctx_load64(&xctx_line_at(hold->head, i)->state))) {
                if (!xctx_is_mine(mem, i)) return XCTX_KERNEL;
                found = XCTX_LOCAL;
            }
        return found;
    case XCTX_QUEUE:
        if (!(word & XCTX_SEAT))
            return word & XCTX_FAMINE && attempt->patient != XCTX_FAMISHED ? XCTX_KERNEL : XCTX_SERVED;
        /* A famished one is known as such by a helper that sleeps for it. */
        if (attempt->patient == XCTX_FAMISHED) return XCTX_KERNEL;
        break;
    default:
        return XCTX_SERVED;
    }
    return xctx_is_mine(mem, (word & XCTX_SEAT) - 1) ? XCTX_LOCAL : XCTX_KERNEL;
}

/* --- taking and giving back -------------------------------------------------------------------------------------------- */

static inline int xctx_hold_got(xctx_hold *hold, int mode) {
    hold->mode = (uint8_t)mode;
    hold->depth = 1;
    return 1;
}

/* One look, made from nothing. True where the lock is held now; otherwise the hold is busy with a try. */
static inline int xctx_hold_take(xctx_hold *hold, int mode) {
    uint32_t word;
    if (mode == XCTX_SHARED && XCTX_LIKELY(xctx_enter(hold->head, hold->line, &word))) return xctx_hold_got(hold, mode);
    hold->attempt.want = (uint8_t)mode;
    hold->busy = 1;
    if (mode == XCTX_SHARED) {
        xctx_step_back(hold->head, hold->line, &hold->attempt);
        return 0;
    }
    if (!xctx_poll(hold->head, hold->index, &hold->attempt)) return 0;
    hold->busy = 0;
    return xctx_hold_got(hold, mode);
}

/* A few more looks, while whoever has the lock may be about to give it back. */
static inline int xctx_hold_spin(xctx_hold *hold) {
    int turn;
#ifndef Py_GIL_DISABLED
    if (xctx_outlook(hold->mem, hold) == XCTX_LOCAL) return 0;   /* it cannot give back while this one has the GIL */
#endif
    for (turn = 0; turn < XCTX_SPINS; turn++) {
        xctx_pause();
        if (xctx_poll(hold->head, hold->index, &hold->attempt)) return 1;
    }
    return 0;
}

static inline void xctx_hold_release(xctx_hold *hold) {
    int mode = hold->mode;
    uint32_t told = hold->told ? XCTX_DIED : 0;
    hold->mode = hold->told = 0;
    hold->depth = hold->wrote_at = 0;
    if (mode == XCTX_SHARED) xctx_leave(hold->head, hold->line);
    else xctx_step_down(hold->head, hold->index, XCTX_NONE, mode == XCTX_EXCLUSIVE ? told : 0);
}

static inline void xctx_hold_downgrade(xctx_hold *hold, int mode) {
    uint32_t told = hold->told && hold->mode == XCTX_EXCLUSIVE ? XCTX_DIED : 0;
    hold->mode = (uint8_t)mode;
    hold->wrote_at = 0;
    if (told) hold->told = 0;
    xctx_step_down(hold->head, hold->index, mode, told);
}

/* The unit has ended, or the lock has, in the middle of something. */
static inline void xctx_hold_abandon(xctx_hold *hold) {
    if (hold->attempt.phase != XCTX_IDLE && xctx_cancel(hold->head, hold->index, &hold->attempt, hold->mode == XCTX_UPGRADABLE))
        xctx_leave(hold->head, hold->line);
    if (hold->mode == XCTX_NONE) return;
    if (hold->mode == XCTX_EXCLUSIVE) {
        xctx_or32(&hold->head->word, XCTX_DIED);   /* as if its process had died */
        hold->told = 0;
    }
    xctx_hold_release(hold);
}

#endif
