/* The state of one unit in one lock, and the operations on it that need no Python. */
#ifndef XCTX_LOCK_UNIT_LOCK_H
#define XCTX_LOCK_UNIT_LOCK_H

#include "xctx/_lock/mapping.h"

typedef struct {
    xctx_head *head;          /* this and the next four never change */
    xctx_row *row;
    xctx_mapping *mapping;
    PyObject *owner;          /* the UnitLock that this is in; borrowed */
    uint32_t index;           /* of the row */
    uint32_t token;           /* of this process: the row's owner as long as nobody takes this process for dead. Never changes */
    uint32_t depth;           /* how often it was acquired and not released; 0 or 1 where the lock is not re-entrant */
    uint32_t wrote_at;        /* the depth whose release ends an upgrade, or 0 */
    union {
        struct {
            uint8_t mode;
            uint8_t shared_by_threads;  /* its unit may run in several threads: see UnitLock.guard. Never changes */
            uint8_t busy;               /* an attempt is under way, which no other code of the unit may touch: another
                                         * thread or task. A signal handler may take its place: see `overtake` */
            uint8_t precarious;         /* its process counts as alive only while the program leaves a descriptor alone (`own`
                                         * of its mapping), so that each attempt looks first. Never changes */
        };
        uint32_t any;         /* 0: nothing is held and no guard is needed, so it may be acquired at once */
    };
    uint8_t named;            /* its lock has a file that may lose its name. Never changes */
    uint8_t reads;            /* counts reads of a named lock: one in XCTX_READS_A_LOOK looks whether it still has its name */
    uint32_t turn;            /* counts up when code that runs in the middle of an attempt begins one of its own */
    uint32_t told;            /* the value of `deaths` that it was last told of */
    unsigned long thread;     /* the thread that makes the attempt, where several threads are one unit */
    xctx_attempt attempt;
} xctx_unit_lock;

/* Whether the row still is this process's, because no other has taken it for dead. */
static inline int xctx_unit_has_row(xctx_unit_lock *unit) { return xctx_load32(&unit->row->owner) == unit->token; }

/* Whether the unit may go on with an attempt. */
static inline int xctx_unit_counts(xctx_unit_lock *unit) {
    return XCTX_LIKELY(!unit->precarious) || (xctx_unit_has_row(unit) && xctx_counts(unit->mapping));
}

/* --- waiting in a queue of this process -------------------------------------------------------------------------------- */

enum {
    XCTX_SERVED,   /* it may have the lock if it looks now */
    XCTX_LOCAL,    /* units of this process are in its way; when they give something back they wake the queues */
    XCTX_KERNEL    /* another process is in its way: a helper has to sleep in the kernel for it */
};

/* What a unit that waits in a queue has to do next.
 *
 * A unit of this process first changes the word, or its row, and then looks whether anybody is queued. A unit that waits is
 * queued first and then looks at the word and the rows. So one of them sees the other. */
static inline int xctx_outlook(xctx_unit_lock *unit) {
    const xctx_attempt *attempt = &unit->attempt;
    uint64_t word = xctx_load64(&unit->head->word);
    uint32_t used, i;
    int found = XCTX_SERVED;
    if (word & XCTX_REMOVED) return XCTX_SERVED;   /* to find that out */
    switch (attempt->phase) {
    case XCTX_COUNTED:
        if (XCTX_EPOCH(xctx_load64(&unit->row->readers)) != attempt->epoch || !(word & XCTX_ANNOUNCED)) return XCTX_SERVED;
        break;
    case XCTX_HAS_SLOT:
        if (attempt->want != XCTX_EXCLUSIVE || xctx_was_passed_over(unit->head, attempt)) return XCTX_SERVED;
        used = xctx_load32(&unit->head->used);
        for (i = attempt->next_row; i < used; i++)
            if (XCTX_IN(xctx_load64(&xctx_row_at(unit->head, i)->readers))) {
                if (!xctx_is_mine(unit->mapping, i)) return XCTX_KERNEL;
                found = XCTX_LOCAL;
            }
        return found;
    case XCTX_QUEUE:
        if (!(word & XCTX_WRITER_SLOT))
            return word & XCTX_STARVING && attempt->patience != XCTX_STARVES ? XCTX_KERNEL : XCTX_SERVED;
        /* Other processes know that it starves by the helper that sleeps for it. */
        if (attempt->patience == XCTX_STARVES) return XCTX_KERNEL;
        break;
    default:
        return XCTX_SERVED;
    }
    return xctx_is_mine(unit->mapping, (uint32_t)(word & XCTX_WRITER_SLOT) - 1) ? XCTX_LOCAL : XCTX_KERNEL;
}

/* A writer looks each time whether the file has lost its name. For a reader that would take too long. */
#define XCTX_READS_A_LOOK 16

static inline int xctx_unit_reads_on(xctx_unit_lock *unit) {
    return XCTX_LIKELY(!unit->named) || ++unit->reads % XCTX_READS_A_LOOK != 0;
}

/* --- acquiring and releasing ------------------------------------------------------------------------------------------- */

#define XCTX_SPINS 60

static inline int xctx_unit_got(xctx_unit_lock *unit, int mode) {
    unit->mode = (uint8_t)mode;
    unit->depth = 1;
    return 1;
}

/* The first look has failed: from now on the unit's lock is busy with an attempt, which has the writer slot already where
 * `has_slot`. True where the lock is held all the same. */
static XCTX_NOINLINE int xctx_unit_begin(xctx_unit_lock *unit, int mode, int has_slot) {
    xctx_attempt *attempt = &unit->attempt;
    attempt->want = (uint8_t)mode;
    unit->busy = 1;
    if (mode == XCTX_SHARED) {
        xctx_step_back(unit->head, unit->row, attempt);
        return 0;
    }
    if (has_slot) {
        xctx_want_slot(attempt);
        xctx_have_slot(attempt);
    }
    if (!xctx_poll(unit->head, unit->index, attempt)) return 0;
    unit->busy = 0;
    return xctx_unit_got(unit, mode);
}

/* The first look. True where the lock is held now; otherwise an attempt is under way, and the unit's lock is busy. */
static inline int xctx_unit_take(xctx_unit_lock *unit, int mode) {
    xctx_head *head = unit->head;
    int has_slot = 0;
    uint64_t word;
    if (mode == XCTX_SHARED) {
        if (XCTX_LIKELY(xctx_enter(head, unit->row, &word))) return xctx_unit_got(unit, mode);
    }
    else {
        word = xctx_load64(&head->word);
        if (XCTX_LIKELY(!(word & (XCTX_WRITER_SLOT | XCTX_REMOVED | XCTX_STARVING)))
            && xctx_cas64(&head->word, &word, word | (unit->index + 1) | (mode == XCTX_EXCLUSIVE ? XCTX_ANNOUNCED : 0))) {
            has_slot = 1;
            if (mode != XCTX_EXCLUSIVE || XCTX_LIKELY(xctx_no_readers(head))) {
                xctx_store32_release(&unit->row->mode, (uint32_t)mode);
                return xctx_unit_got(unit, mode);
            }
        }
    }
    return xctx_unit_begin(unit, mode, has_slot);
}

/* A few more looks, while the holder may be about to release. */
static inline int xctx_unit_spin(xctx_unit_lock *unit) {
    int turn;
#ifndef Py_GIL_DISABLED
    if (xctx_outlook(unit) == XCTX_LOCAL) return 0;   /* the holder cannot release while this thread has the GIL */
#endif
    for (turn = 0; turn < XCTX_SPINS; turn++) {
        xctx_pause();
        if (xctx_poll(unit->head, unit->index, &unit->attempt)) return 1;
    }
    return 0;
}

/* 0 where this process was taken for dead, so that nothing of the unit's is in the shared memory any more. */
static inline int xctx_unit_release(xctx_unit_lock *unit) {
    int mode = unit->mode;
    unit->mode = 0;
    unit->depth = unit->wrote_at = 0;
    if (XCTX_UNLIKELY(!xctx_unit_has_row(unit))) return 0;
    if (mode == XCTX_SHARED) xctx_leave(unit->head, unit->row);
    else xctx_step_down(unit->head, unit->index, XCTX_NONE);
    return 1;
}

static inline void xctx_unit_downgrade(xctx_unit_lock *unit, int mode) {
    unit->mode = (uint8_t)mode;
    unit->wrote_at = 0;
    if (xctx_unit_has_row(unit)) xctx_step_down(unit->head, unit->index, mode);
}

/* As xctx_cancel. Nothing of an attempt is left where this process was taken for dead: the row may be another's by now. */
static inline int xctx_unit_cancel(xctx_unit_lock *unit, int upgrading) {
    if (XCTX_LIKELY(xctx_unit_has_row(unit))) return xctx_cancel(unit->head, unit->index, &unit->attempt, upgrading);
    unit->attempt.phase = XCTX_IDLE;
    return 0;
}

/* The unit or the lock has ended while the unit held the lock or tried to get it. */
static inline void xctx_unit_abandon(xctx_unit_lock *unit) {
    xctx_attempt *attempt = &unit->attempt;
    if (!xctx_unit_has_row(unit)) return;   /* this process was taken for dead */
    if (attempt->phase != XCTX_IDLE && xctx_cancel(unit->head, unit->index, attempt, unit->mode == XCTX_UPGRADABLE))
        xctx_leave(unit->head, unit->row);
    if (unit->mode == XCTX_NONE) return;
    if (unit->mode == XCTX_EXCLUSIVE) xctx_tell_of_death(unit->head);   /* as if its process had died */
    xctx_unit_release(unit);
}

#endif
