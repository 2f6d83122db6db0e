/* What one unit has of one lock, and the verbs that need nothing of Python's. */
#ifndef XCTX_LOCK_HOLD_H
#define XCTX_LOCK_HOLD_H

#include "xctx/_lock/protocol.h"

typedef struct xctx_mem xctx_mem;   /* see _lock/memory.h */

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
    hold->attempt.naps = 0;
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
