/* The protocol of a shared/exclusive lock in shared memory: a word, and a table of rows.
 *
 *   word    [ writer slot | flags ]                      the slot has the number of the row whose process writes, or may write
 *   row 1   [ in | waiting | epoch ] [ mode ]            a row belongs to one thread of one process, and counts its readers
 *   row 2   [ in | waiting | epoch ] [ mode ]
 *
 * A reader adds one to `in` of its own row and then looks at the word. A writer takes the writer slot, announces itself in
 * the word, and then looks at all rows. Each stores before it looks, so at least one of them sees the other (Dekker's
 * algorithm). A reader that sees an announcement moves itself from `in` to `waiting`. The writer goes on once it has seen
 * each row with no reader in it.
 *
 * Who is next. A writer that leaves first admits all readers that wait: in each row `waiting` is added to `in`, and the epoch
 * counts up. Then it gives up the writer slot. So a reader waits for one writer, or for two if it came while the first was
 * leaving; and a writer that has the slot waits only for the readers that it found. The lock is phase-fair.
 *
 * Writers take the slot when they find it free: if it were handed to a sleeper, nobody could write until that one runs. A
 * writer that has slept, and has wanted the slot for XCTX_STARVES_AFTER, sets XCTX_STARVING. Then only starving writers
 * take the slot, until none of them sleeps any more.
 *
 * An announcement that is not followed up. A writer that waits for readers to leave may be stopped, or be a task of a loop
 * that is busy. It says XCTX_PENDING when it begins to wait, and goes on only by a compare-and-swap that takes the flag back.
 * Until then any other unit may *pass over* the announcement: it takes the writer slot, or from an upgradable holder the
 * announcement alone, and counts `passes` of the word up, so that the writer finds out and starts over. A unit does that once
 * it has seen the lock free of readers for XCTX_FOLLOW_UP. A writer that need not wait never says XCTX_PENDING, and pays
 * nothing for this.
 *
 * Death. A holder may die between any two of these stores. Its row shows what it had: `in` and `waiting` are taken out; the
 * writer slot is given up in its place; and if `mode` says that it was writing, XCTX_DIED tells later holders, until
 * one of them clears it. The store that takes the slot also says which row took it. A process that cleans up first puts its
 * token into `cleaner` of the row, so that no two do, and then marks the row as taken from its owner. If it dies as well, the
 * next one takes over and does everything from the start; if it is stopped meanwhile, the others wait for it, as for any
 * holder that is stopped. tests/lock/lock_model.py and lock_table_model.py try every order of all these steps, with deaths.
 *
 * Sleeping. `wake_counter` counts wake-ups. A sleeper reads it, sets its flag in the word, looks once more whether it must
 * wait, and sleeps only while the counter stands still. A unit that changes what somebody may wait for looks for the flag
 * afterwards. A waker may die in between, so nobody sleeps for longer than XCTX_LONGEST_SLEEP without looking for the dead.
 *
 * Memory order. All accesses that decide are sequentially consistent. Only `mode` of a row, and what people read there, is
 * stored with release order (xctx_store32_release). Another process reads `mode` when the row's owner has died, after the
 * kernel has reported the death, and by then all that the owner stored is there; or when the owner has said XCTX_PENDING, by
 * a later and sequentially consistent change of the word. Release order is needed in the owner: what it wrote while it held
 * the lock must not be moved behind the store that says that it does not write any more. */
#ifndef XCTX_LOCK_PROTOCOL_H
#define XCTX_LOCK_PROTOCOL_H

#include "xctx/_lock/shared_memory.h"

/* The word. In its upper half are the passes: how often an announcement was passed over. */
#define XCTX_WRITER_SLOT ((uint64_t)0xFFFFF)    /* the number of a row, counted from 1; 0 where the slot is free */
#define XCTX_PASSES(word) ((uint32_t)((word) >> 32))
#define XCTX_ONE_PASS ((uint64_t)1 << 32)
enum {
    XCTX_ANNOUNCED = 1 << 20,        /* the slot's owner writes, or waits for readers to leave: new readers wait */
    XCTX_DIED = 1 << 21,             /* a writer died, and nobody has said since that all is mended */
    XCTX_READERS_SLEEP = 1 << 22,
    XCTX_WRITERS_SLEEP = 1 << 23,    /* writers sleep until the slot is free */
    XCTX_DRAINER_SLEEPS = 1 << 24,   /* the slot's owner sleeps until the readers have left */
    XCTX_HELPERS_SLEEP = 1 << 25,    /* threads sleep for queues of greenlets or tasks: see LocalQueue in unit_lock.pyx */
    XCTX_STARVING = 1 << 26,         /* starving writers sleep: the slot is for them alone */
    XCTX_PENDING = 1 << 27,          /* the announcement may be passed over */
    XCTX_REMOVED = 1 << 28,          /* the file has lost its name, under which others will make another lock: nobody enters */
};
#define XCTX_CLOSED (XCTX_ANNOUNCED | XCTX_REMOVED)   /* no reader enters where either is set */

/* What a unit holds or wants. The last two have the writer slot; they are also the values of a row's `mode`. */
enum { XCTX_NONE, XCTX_SHARED, XCTX_UPGRADABLE, XCTX_EXCLUSIVE };

#define XCTX_ONE_WAITING ((uint64_t)1 << 20)
#define XCTX_ONE_EPOCH ((uint64_t)1 << 40)
#define XCTX_IN(readers) ((uint32_t)(readers) & 0xFFFFF)
#define XCTX_WAITING(readers) ((uint32_t)((readers) >> 20) & 0xFFFFF)
#define XCTX_EPOCH(readers) ((uint32_t)((readers) >> 40))

_Static_assert(XCTX_ROWS < XCTX_WRITER_SLOT, "the writer slot has room for the number of each row");

/* What a unit that tries to get the lock has in shared memory meanwhile. */
enum {
    XCTX_IDLE,      /* nothing: it does not try */
    XCTX_QUEUE,     /* nothing: it wants the writer slot */
    XCTX_HAS_SLOT,  /* the writer slot, and it has announced itself: it waits for readers to leave */
    XCTX_COUNTED    /* it is counted in `waiting` of its row */
};

/* How long it has wanted the writer slot. */
enum {
    XCTX_FRESH,
    XCTX_PATIENT,   /* it has slept in the kernel for it */
    XCTX_STARVES    /* longer than XCTX_STARVES_AFTER */
};

#define XCTX_STARVES_AFTER 2000000   /* ns */
#define XCTX_SHORT_SLEEP 1000000     /* ns */
#define XCTX_FOLLOW_UP 50000000      /* ns */

typedef struct {
    uint8_t phase;
    uint8_t want;           /* a mode */
    uint8_t patience;
    uint8_t upgrades;       /* it holds the lock upgradable, and keeps the slot if it is passed over */
    uint8_t pending;        /* it has said XCTX_PENDING */
    uint32_t passes;        /* of the word, when it said so */
    uint32_t epoch;         /* of the row, when it was counted as waiting */
    uint32_t next_row;      /* the rows before this one have been seen without readers */
    uint32_t wake_counter;  /* as it was before the last look */
    uint64_t since;         /* when it began to want the slot; 0 before its first sleep */
    uint64_t seen;          /* the announcement of another that it has seen not followed up, or 0 */
    uint64_t seen_at;       /* and when it saw that first */
} xctx_attempt;

/* --- waking ------------------------------------------------------------------------------------------------------------ */

/* Wakes the sleepers whose flags are set both in `flags` and in `word`, which is the word as it was before they were
 * cleared. XCTX_STARVING is not cleared while there are any. Of the writers that sleep one is woken; it sets the flag for
 * the others when it takes the slot. */
static inline void xctx_wake(xctx_head *head, uint64_t word, uint32_t flags) {
    const uint32_t all = XCTX_READERS_SLEEP | XCTX_DRAINER_SLEEPS | XCTX_HELPERS_SLEEP;
    int starving = 0;
    flags &= (uint32_t)word;
    if (XCTX_LIKELY(flags == 0)) return;
    xctx_add32(&head->wake_counter, 1);
    if (flags & XCTX_STARVING) {
        /* Before all helpers are woken: one that sleeps for a starving writer could not be told from the others afterwards. */
        starving = xctx_futex_wake(&head->wake_counter, 1, XCTX_STARVING);
        if (!starving) {
            /* No starving writer sleeps. One may be about to: it is made to look again. */
            xctx_and64(&head->word, ~(uint64_t)XCTX_STARVING);
            xctx_add32(&head->wake_counter, 1);
            xctx_futex_wake(&head->wake_counter, INT_MAX, XCTX_STARVING);
        }
    }
    if (flags & all) xctx_futex_wake(&head->wake_counter, INT_MAX, flags & all);
    if (flags & XCTX_WRITERS_SLEEP && !starving) xctx_futex_wake(&head->wake_counter, 1, XCTX_WRITERS_SLEEP);
}

/* A reader has left its row, whose count was `before` until then. A writer waits for rows without readers, so only the last
 * reader of a row wakes it. */
static inline void xctx_after_leaving(xctx_head *head, uint64_t before) {
    uint64_t word;
    if (XCTX_IN(before) != 1) return;
    word = xctx_load64(&head->word);
    if (XCTX_LIKELY(!(word & (XCTX_DRAINER_SLEEPS | XCTX_HELPERS_SLEEP))) || !(word & XCTX_ANNOUNCED)) return;
    if (word & XCTX_HELPERS_SLEEP) xctx_and64(&head->word, ~(uint64_t)XCTX_HELPERS_SLEEP);
    xctx_wake(head, word, XCTX_DRAINER_SLEEPS | XCTX_HELPERS_SLEEP);
}

/* --- the writer slot --------------------------------------------------------------------------------------------------- */

/* Admits all readers that wait. Only for the owner of the writer slot, or a process that cleans up after it. */
static inline void xctx_admit_readers(xctx_head *head) {
    uint32_t i, used = xctx_load32(&head->used);
    for (i = 0; i < used; i++) {
        xctx_row *row = xctx_row_at(head, i);
        uint64_t readers = xctx_load64(&row->readers);
        while (XCTX_WAITING(readers)) {
            uint64_t waiting = XCTX_WAITING(readers);
            if (xctx_cas64(&row->readers, &readers, readers - waiting * XCTX_ONE_WAITING + waiting + XCTX_ONE_EPOCH)) break;
        }
    }
}

/* Clears `bits` of the word, as only the slot's owner may, and wakes the sleepers concerned. */
static inline void xctx_clear_and_wake(xctx_head *head, uint64_t bits) {
    const uint32_t sleepers = XCTX_READERS_SLEEP | XCTX_HELPERS_SLEEP | (bits & XCTX_WRITER_SLOT ? XCTX_WRITERS_SLEEP : 0);
    uint64_t word = xctx_load64(&head->word);
    while (!xctx_cas64(&head->word, &word, word & ~(bits | sleepers | XCTX_DRAINER_SLEEPS))) {}
    xctx_wake(head, word, sleepers | (bits & XCTX_WRITER_SLOT ? XCTX_STARVING : 0));
}

/* --- readers ----------------------------------------------------------------------------------------------------------- */

/* All that reading takes where there is no writer. True where the lock is held; *word is what the word was. */
static inline int xctx_enter(xctx_head *head, xctx_row *row, uint64_t *word) {
    xctx_add64(&row->readers, 1);
    *word = xctx_load64(&head->word);
    return !(*word & XCTX_CLOSED);
}

static inline void xctx_leave(xctx_head *head, xctx_row *row) {
    xctx_after_leaving(head, xctx_add64(&row->readers, (uint64_t)-1));
}

/* A reader that has seen an announcement moves from `in` to `waiting`. */
static inline void xctx_step_back(xctx_head *head, xctx_row *row, xctx_attempt *attempt) {
    uint64_t before = xctx_add64(&row->readers, XCTX_ONE_WAITING - 1);
    attempt->epoch = XCTX_EPOCH(before);
    attempt->phase = XCTX_COUNTED;
    attempt->seen = 0;
    xctx_after_leaving(head, before);
}

static inline int xctx_poll_reader(xctx_head *head, xctx_row *row, xctx_attempt *attempt) {
    uint64_t readers = xctx_load64(&row->readers);
    for (;;) {
        if (XCTX_EPOCH(readers) != attempt->epoch) break;   /* admitted: the writer has counted it in already */
        if (xctx_load64(&head->word) & XCTX_CLOSED) return 0;
        if (xctx_cas64(&row->readers, &readers, readers - XCTX_ONE_WAITING + 1)) {
            if (!(xctx_load64(&head->word) & XCTX_CLOSED)) break;
            xctx_step_back(head, row, attempt);
            return 0;
        }
    }
    attempt->phase = XCTX_IDLE;
    return 1;
}

/* --- writers ----------------------------------------------------------------------------------------------------------- */

/* Begins to want the writer slot, without looking whether it is free. */
static inline void xctx_want_slot(xctx_attempt *attempt) {
    attempt->phase = XCTX_QUEUE;
    attempt->patience = XCTX_FRESH;
    attempt->since = attempt->seen = 0;
}

static inline void xctx_have_slot(xctx_attempt *attempt) {
    attempt->phase = XCTX_HAS_SLOT;
    attempt->next_row = 0;
    attempt->upgrades = attempt->pending = 0;
}

static inline int xctx_poll_slot(xctx_head *head, uint32_t number, xctx_attempt *attempt) {
    uint64_t word = xctx_load64(&head->word), taken;
    do {
        if (word & (XCTX_WRITER_SLOT | XCTX_REMOVED) || (word & XCTX_STARVING && attempt->patience != XCTX_STARVES)) return 0;
        taken = word | number | (attempt->want == XCTX_EXCLUSIVE ? XCTX_ANNOUNCED : 0);
        /* This may be the writer that was woken: others still sleep, and nothing in the word says so. */
        if (attempt->patience != XCTX_FRESH) taken |= XCTX_WRITERS_SLEEP;
    } while (!xctx_cas64(&head->word, &word, taken));
    xctx_have_slot(attempt);
    return 1;
}

/* Whether all readers have left that were in when the owner of the writer slot announced itself. */
static inline int xctx_poll_readers_left(xctx_head *head, xctx_attempt *attempt) {
    uint32_t used = xctx_load32(&head->used);
    for (; attempt->next_row < used; attempt->next_row++)
        if (XCTX_IN(xctx_load64(&xctx_row_at(head, attempt->next_row)->readers))) return 0;
    return 1;
}

/* From upgradable to exclusive: to be polled as any other attempt. */
static inline void xctx_announce_upgrade(xctx_head *head, xctx_attempt *attempt) {
    attempt->want = XCTX_EXCLUSIVE;
    attempt->phase = XCTX_HAS_SLOT;
    attempt->next_row = 0;
    attempt->upgrades = 1;
    /* It may be passed over from the start: it looks for readers later, and may be stopped before. */
    attempt->passes = XCTX_PASSES(xctx_or64(&head->word, XCTX_ANNOUNCED | XCTX_PENDING));
    attempt->pending = 1;
}

/* From now on the owner of the writer slot may be passed over. */
static inline void xctx_begin_pending(xctx_head *head, xctx_attempt *attempt) {
    if (attempt->pending) return;
    attempt->passes = XCTX_PASSES(xctx_or64(&head->word, XCTX_PENDING));
    attempt->pending = 1;
}

/* 1 where the attempt still owns the writer slot, and nobody passes over it from now on; 0 where it was passed over. */
static inline int xctx_end_pending(xctx_head *head, xctx_attempt *attempt) {
    uint64_t word;
    if (XCTX_LIKELY(!attempt->pending)) return 1;
    attempt->pending = 0;
    word = xctx_load64(&head->word);
    while (XCTX_PASSES(word) == attempt->passes)
        if (xctx_cas64(&head->word, &word, word & ~(uint64_t)(XCTX_PENDING | XCTX_DRAINER_SLEEPS))) return 1;
    return 0;
}

static inline int xctx_was_passed_over(xctx_head *head, const xctx_attempt *attempt) {
    return attempt->pending && XCTX_PASSES(xctx_load64(&head->word)) != attempt->passes;
}

/* Restarts the attempt of a writer that was passed over. */
static inline void xctx_begin_anew(xctx_head *head, xctx_attempt *attempt) {
    attempt->pending = 0;
    if (attempt->upgrades) xctx_announce_upgrade(head, attempt);
    else xctx_want_slot(attempt);
}

/* Whether no reader is in. */
static inline int xctx_no_readers(xctx_head *head) {
    uint32_t i, used = xctx_load32(&head->used);
    for (i = 0; i < used; i++)
        if (XCTX_IN(xctx_load64(&xctx_row_at(head, i)->readers))) return 0;
    return 1;
}

/* Passes over an announcement that `attempt` has seen not followed up for XCTX_FOLLOW_UP; whether it did. Safe at any time,
 * because the writer that announced itself finds out before it goes on. */
static inline int xctx_pass_over(xctx_head *head, xctx_attempt *attempt) {
    uint64_t word = xctx_load64(&head->word), now, seen, without;
    uint32_t sleepers = XCTX_READERS_SLEEP | XCTX_HELPERS_SLEEP | XCTX_DRAINER_SLEEPS;
    if (XCTX_LIKELY(!(word & XCTX_PENDING))) return 0;
    if (attempt->phase == XCTX_HAS_SLOT || attempt->phase == XCTX_IDLE || !xctx_no_readers(head)) {
        attempt->seen = 0;
        return 0;
    }
    seen = word & (XCTX_WRITER_SLOT | XCTX_PENDING | ~(XCTX_ONE_PASS - 1));
    now = xctx_monotonic_ns();
    if (attempt->seen != seen) {
        attempt->seen = seen;
        attempt->seen_at = now;
    }
    if (now - attempt->seen_at < XCTX_FOLLOW_UP) return 0;
    do {
        if ((word & (XCTX_WRITER_SLOT | XCTX_PENDING | ~(XCTX_ONE_PASS - 1))) != seen) return 0;
        without = XCTX_ANNOUNCED | XCTX_PENDING;
        if (xctx_load32(&xctx_row_at(head, (uint32_t)(word & XCTX_WRITER_SLOT) - 1)->mode) != XCTX_UPGRADABLE) {
            without |= XCTX_WRITER_SLOT;
            sleepers |= XCTX_WRITERS_SLEEP;
        }
    } while (!xctx_cas64(&head->word, &word, (word & ~(without | sleepers)) + XCTX_ONE_PASS));
    xctx_wake(head, word, sleepers | (without & XCTX_WRITER_SLOT ? XCTX_STARVING : 0));
    return 1;
}

/* --- all attempts ------------------------------------------------------------------------------------------------------ */

/* Whether the lock is held now, as wanted. Never waits. */
static inline int xctx_poll(xctx_head *head, uint32_t index, xctx_attempt *attempt) {
    xctx_row *row = xctx_row_at(head, index);
    uint64_t word;
    switch (attempt->phase) {
    case XCTX_IDLE:
        if (attempt->want == XCTX_SHARED) {
            if (xctx_enter(head, row, &word)) return 1;
            xctx_step_back(head, row, attempt);
            return 0;
        }
        xctx_want_slot(attempt);
        break;
    case XCTX_COUNTED:
        return xctx_poll_reader(head, row, attempt);
    default:
        break;
    }
    for (;;) {
        if (attempt->phase == XCTX_QUEUE && !xctx_poll_slot(head, index + 1, attempt)) return 0;
        if (attempt->want != XCTX_EXCLUSIVE) break;
        if (XCTX_LIKELY(!xctx_was_passed_over(head, attempt))) {
            if (!xctx_poll_readers_left(head, attempt)) {
                xctx_begin_pending(head, attempt);
                return 0;
            }
            if (XCTX_LIKELY(xctx_end_pending(head, attempt))) break;
        }
        xctx_begin_anew(head, attempt);
    }
    xctx_store32_release(&row->mode, attempt->want);
    attempt->phase = XCTX_IDLE;
    return 1;
}

/* The flag of the word that a thread sets before it sleeps. */
static inline uint32_t xctx_sleep_flag(const xctx_attempt *attempt) {
    switch (attempt->phase) {
    case XCTX_COUNTED: return XCTX_READERS_SLEEP;
    case XCTX_HAS_SLOT: return XCTX_DRAINER_SLEEPS;
    default: return attempt->patience == XCTX_STARVES ? XCTX_STARVING : XCTX_WRITERS_SLEEP;
    }
}

/* How long to sleep, in ns: a short time where the slot is kept for starving writers, because these may have died. */
static inline uint64_t xctx_sleep_time(xctx_head *head) {
    return (xctx_load64(&head->word) & (XCTX_WRITER_SLOT | XCTX_STARVING)) == XCTX_STARVING ? XCTX_SHORT_SLEEP
                                                                                             : XCTX_LONGEST_SLEEP;
}

/* Before a sleep: a writer that has wanted the slot for long starves from now on. */
static inline void xctx_grow_impatient(xctx_attempt *attempt) {
    uint64_t now;
    if (attempt->phase != XCTX_QUEUE) return;
    now = xctx_monotonic_ns();
    if (attempt->since == 0) attempt->since = now;
    else if (now - attempt->since > XCTX_STARVES_AFTER) attempt->patience = XCTX_STARVES;
}

/* A thread's last look before it sleeps. True where the lock is held; otherwise it sleeps while the wake counter is
 * attempt->wake_counter. */
static inline int xctx_prepare_sleep(xctx_head *head, uint32_t index, xctx_attempt *attempt) {
    uint8_t phase;
    do {
        phase = attempt->phase;
        xctx_grow_impatient(attempt);
        attempt->wake_counter = xctx_load32(&head->wake_counter);
        xctx_or64(&head->word, xctx_sleep_flag(attempt));
        if (xctx_poll(head, index, attempt)) return 1;
        /* Once more if it has got the writer slot meanwhile: it now sleeps for something else. */
    } while (phase != attempt->phase);
    return 0;
}

/* --- giving up, releasing ---------------------------------------------------------------------------------------------- */

/* Gives up the writer slot; keeps it where `keep` is upgradable, and enters as a reader where it is shared. */
static inline void xctx_step_down(xctx_head *head, uint32_t index, int keep) {
    xctx_row *row = xctx_row_at(head, index);
    if (keep == XCTX_SHARED) xctx_add64(&row->readers, 1);   /* before the slot is given up: no writer comes in between */
    /* Before the rest: what was written is whole, and from here on no unit need learn of a death. */
    xctx_store32_release(&row->mode, keep == XCTX_UPGRADABLE ? XCTX_UPGRADABLE : XCTX_NONE);
    xctx_store64_relaxed(&row->held_since, 0);
    xctx_admit_readers(head);
    xctx_clear_and_wake(head, XCTX_ANNOUNCED | (keep == XCTX_UPGRADABLE ? 0 : XCTX_WRITER_SLOT));
}

/* Wakes another writer, because one that does not want the slot any more may have been woken for it. */
static inline void xctx_hand_on(xctx_head *head) {
    uint64_t word = xctx_load64(&head->word);
    while (word & XCTX_WRITER_SLOT)
        if (xctx_cas64(&head->word, &word, word | XCTX_WRITERS_SLEEP)) return;
    xctx_wake(head, word | XCTX_WRITERS_SLEEP, XCTX_WRITERS_SLEEP | XCTX_STARVING);
}

/* Undoes an attempt. True where a reader was admitted meanwhile, so that the lock is held. */
static inline int xctx_cancel(xctx_head *head, uint32_t index, xctx_attempt *attempt, int upgrading) {
    xctx_row *row = xctx_row_at(head, index);
    uint8_t phase = attempt->phase;
    uint64_t readers;
    attempt->phase = XCTX_IDLE;
    switch (phase) {
    case XCTX_QUEUE:
        if (attempt->patience != XCTX_FRESH) xctx_hand_on(head);
        return 0;
    case XCTX_HAS_SLOT:
        if (!xctx_end_pending(head, attempt)) return 0;
        xctx_step_down(head, index, upgrading ? XCTX_UPGRADABLE : XCTX_NONE);
        return 0;
    case XCTX_COUNTED:
        readers = xctx_load64(&row->readers);
        while (XCTX_EPOCH(readers) == attempt->epoch)
            if (xctx_cas64(&row->readers, &readers, readers - XCTX_ONE_WAITING)) return 0;
        return 1;
    default:
        return 0;
    }
}

/* No unit that has something by this row is stuck any more. */
static inline void xctx_forget_stuck(xctx_row *row) {
    int part;
    for (part = 0; part < XCTX_STUCK; part++) xctx_store64(&row->stuck[part].wait, 0);
}

/* --- after a death ----------------------------------------------------------------------------------------------------- */

/* Says that a writer died. */
static inline void xctx_tell_of_death(xctx_head *head) {
    xctx_add32(&head->deaths, 1);
    xctx_or64(&head->word, XCTX_DIED);
}

/* Takes out what the dead owner of a row had. The caller is the row's `cleaner`, so no two do it at once; if one dies, another
 * does it all again. */
static inline void xctx_clean_up_dead_row(xctx_head *head, uint32_t index) {
    xctx_row *row = xctx_row_at(head, index);
    uint64_t word = xctx_load64(&head->word);
    /* First make sure that nobody passes over it, because the slot would then be another's. */
    while ((word & XCTX_WRITER_SLOT) == index + 1 && word & XCTX_PENDING)
        if (xctx_cas64(&head->word, &word, word & ~(uint64_t)XCTX_PENDING)) break;
    if ((word & XCTX_WRITER_SLOT) == index + 1) {
        /* Before readers are admitted, because they look for the flag. */
        if (xctx_load32(&row->mode) == XCTX_EXCLUSIVE) xctx_tell_of_death(head);
        xctx_admit_readers(head);
        xctx_clear_and_wake(head, XCTX_WRITER_SLOT | XCTX_ANNOUNCED);
    }
    xctx_store32_release(&row->mode, XCTX_NONE);
    xctx_store32_release(&row->waiters, 0);
    xctx_forget_stuck(row);
    xctx_store64(&row->readers, 0);
    xctx_after_leaving(head, 1);
    xctx_store32(&row->owner, 0);
}

#endif
