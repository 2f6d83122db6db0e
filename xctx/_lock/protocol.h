/* The protocol of a shared/exclusive lock in shared memory: a state word, and a table of lines.
 *
 *   word   [ seat | A K R S D H F ]     the seat is the number of the line whose process writes, or may write
 *   line 1 [ in | waiting | epoch ]     a line belongs to one thread of one process, and counts its readers
 *   line 2 [ in | waiting | epoch ]
 *
 * A reader adds one to the `in` of its own line and then looks at the word; a writer takes the seat, announces itself (A)
 * and then looks at all lines. Both do it in one order for all, so at least one of them sees the other (as Dekker had it).
 * A reader that sees A moves itself from `in` to `waiting`, and the writer goes on once it has seen each line with nobody in.
 *
 * Who comes next: a writer that leaves first lets in everybody that waits (`waiting` is added to `in`, the line's epoch
 * counts up), and gives up its seat afterwards. So readers wait for one writer, at most for two where they came while it
 * was leaving, and a writer that has the seat waits only for the readers it found: the lock is phase-fair.
 *
 * Writers take the seat as they find it free, for handing it to a sleeper would leave it idle until that one runs. But one who
 * has wanted it for long, and slept, says so (F), and then it is for such alone, until none of them sleeps any more.
 *
 * A holder may die between any two of these stores. Its line tells what it had: `in` and `waiting` are simply struck out;
 * a seat is given up in its place; where `flags` say that it was writing, K tells those who come next. A seat names its
 * line in the very store that takes it, and whoever clears up does so under a lock of the kernel's (see _lock/memory.h) and does
 * it again from the start should the one before him have died as well. tests/lock/lock_model.py tries each order of all this.
 *
 * Sleeping: `gate` counts wake-ups. A sleeper reads it, sets its bit in the word, looks again whether it must wait, and then
 * sleeps only if the gate has not moved. Who changes what somebody may wait for looks for the bit afterwards. A waker may
 * die in between, so nobody sleeps for longer than XCTX_NAP without looking for the dead.
 *
 * Everything here is sequentially consistent: on the machines that matter the additions are full barriers anyway. */
#ifndef XCTX_LOCK_H
#define XCTX_LOCK_H

#include "xctx/_lock/os.h"

/* All of it is `inline`, for there are rooms that use a part. */

enum {
    XCTX_SEAT = 0xFFF,          /* the number of the line that has the seat, counted from 1; 0 is none */
    XCTX_ANNOUNCED = 1 << 12,   /* A: its owner writes, or waits for the readers to leave: new ones wait */
    XCTX_DIED = 1 << 13,        /* K: one who was writing died, and no writer has been here since */
    XCTX_READERS_NAP = 1 << 14, /* R: readers sleep */
    XCTX_SEAT_NAP = 1 << 15,    /* S: some sleep who want the seat */
    XCTX_DRAIN_NAP = 1 << 16,   /* D: the owner of the seat sleeps until the readers have left */
    XCTX_HELPER_NAP = 1 << 17,  /* H: threads sleep for greenlets or tasks that wait for any of these */
    XCTX_FAMINE = 1 << 18,      /* F: some sleep who have wanted the seat for long: it is for them alone */
};

/* What a unit holds or wants; the last two have the seat. The same numbers are the flags of a line with the seat. */
enum { XCTX_NONE, XCTX_SHARED, XCTX_UPGRADABLE, XCTX_EXCLUSIVE };

#define XCTX_ONE_WAITING ((uint64_t)1 << 20)
#define XCTX_IN(state) ((uint32_t)(state) & 0xFFFFF)
#define XCTX_WAITING(state) ((uint32_t)((state) >> 20) & 0xFFFFF)
#define XCTX_EPOCH(state) ((uint32_t)((state) >> 40))

/* One unit's way to a lock. `phase` tells what there is of it in shared memory. */
enum { XCTX_IDLE, XCTX_QUEUE, XCTX_SEATED, XCTX_COUNTED };

enum { XCTX_FRESH, XCTX_PATIENT, XCTX_FAMISHED };

typedef struct {
    uint8_t phase;     /* IDLE: nothing; QUEUE: nothing, wants the seat; SEATED: has it, announced; COUNTED: a reader waits */
    uint8_t want;
    uint8_t patient;   /* PATIENT: has slept for the seat; FAMISHED: has wanted it for long */
    uint32_t epoch;    /* of the line, when it was counted as waiting */
    uint32_t at;       /* the lines before this one have been seen with nobody in */
    uint32_t gate;     /* as it was before the last look */
    uint64_t since;    /* when it joined the queue, in ns */
} xctx_attempt;

#define XCTX_STARVED 2000000   /* ns after which one who wants the seat is famished */
#define XCTX_SHORT_NAP 1000000 /* ns */

/* --- waking ------------------------------------------------------------------------------------------------------------ */

/* Wakes those whose bits are set in `word` as it was just before they were cleared; F is not cleared as long as there are
 * some of whom it tells. Of those who want the seat one is woken, who answers for the others as it takes the seat. */
static inline void xctx_wake(xctx_head *head, uint32_t word, uint32_t bits) {
    const uint32_t all = XCTX_READERS_NAP | XCTX_DRAIN_NAP | XCTX_HELPER_NAP;
    int famished = 0;
    bits &= word;
    if (XCTX_LIKELY(bits == 0)) return;
    xctx_add32(&head->gate, 1);
    if (bits & XCTX_FAMINE) {
        /* First of all, while a helper that sleeps for a famished one can still be told from the others. */
        famished = xctx_futex_wake(&head->gate, 1, XCTX_FAMINE);
        if (!famished) {
            /* Nobody of whom it tells. One may be about to: it is made to look again. */
            xctx_and32(&head->word, ~(uint32_t)XCTX_FAMINE);
            xctx_add32(&head->gate, 1);
            xctx_futex_wake(&head->gate, INT_MAX, XCTX_FAMINE);
        }
    }
    if (bits & all) xctx_futex_wake(&head->gate, INT_MAX, bits & all);
    if (bits & XCTX_SEAT_NAP && !famished) xctx_futex_wake(&head->gate, 1, XCTX_SEAT_NAP);
}

/* A reader is no longer in its line, which was in the state `before` until then. A writer waits for empty lines, so only
 * the last one to leave a line need tell it. */
static inline void xctx_left(xctx_head *head, uint64_t before) {
    uint32_t word;
    if (XCTX_IN(before) != 1) return;
    word = xctx_load32(&head->word);
    if (XCTX_LIKELY(!(word & (XCTX_DRAIN_NAP | XCTX_HELPER_NAP))) || !(word & XCTX_ANNOUNCED)) return;
    if (word & XCTX_HELPER_NAP) xctx_and32(&head->word, ~(uint32_t)XCTX_HELPER_NAP);
    xctx_wake(head, word, XCTX_DRAIN_NAP | XCTX_HELPER_NAP);
}

/* --- the seat ---------------------------------------------------------------------------------------------------------- */

/* Lets in all readers that wait. Only for the owner of the seat, or who clears up after it. */
static inline void xctx_admit(xctx_head *head) {
    uint32_t i, used = xctx_load32(&head->used);
    for (i = 0; i < used; i++) {
        xctx_line *line = xctx_line_at(head, i);
        uint64_t state = xctx_load64(&line->state);
        while (XCTX_WAITING(state)) {
            uint64_t waiting = XCTX_WAITING(state);
            if (xctx_cas64(&line->state, &state, state - waiting * XCTX_ONE_WAITING + waiting + ((uint64_t)1 << 40))) break;
        }
    }
}

/* Clears `bits` of the word, of those that go with the seat, and wakes whom it concerns. */
static inline void xctx_vacate(xctx_head *head, uint32_t bits) {
    const uint32_t naps = XCTX_READERS_NAP | XCTX_HELPER_NAP | (bits & XCTX_SEAT ? XCTX_SEAT_NAP : 0);
    uint32_t word = xctx_load32(&head->word);
    while (!xctx_cas32(&head->word, &word, word & ~(bits | naps | XCTX_DRAIN_NAP))) {}
    xctx_wake(head, word, naps | (bits & XCTX_SEAT ? XCTX_FAMINE : 0));
}

/* --- readers ----------------------------------------------------------------------------------------------------------- */

/* The whole of it where no writer is about. True where the lock is held; *word is what the word was. */
static inline int xctx_enter(xctx_head *head, xctx_line *line, uint32_t *word) {
    xctx_add64(&line->state, 1);
    *word = xctx_load32(&head->word);
    return !(*word & XCTX_ANNOUNCED);
}

static inline void xctx_leave(xctx_head *head, xctx_line *line) {
    xctx_left(head, xctx_add64(&line->state, (uint64_t)-1));
}

/* From `in` to `waiting`. */
static inline void xctx_step_back(xctx_head *head, xctx_line *line, xctx_attempt *attempt) {
    uint64_t before = xctx_add64(&line->state, XCTX_ONE_WAITING - 1);
    attempt->epoch = XCTX_EPOCH(before);
    attempt->phase = XCTX_COUNTED;
    xctx_left(head, before);
}

static inline int xctx_poll_reader(xctx_head *head, xctx_line *line, xctx_attempt *attempt) {
    uint64_t state = xctx_load64(&line->state);
    uint32_t word;
    for (;;) {
        if (XCTX_EPOCH(state) != attempt->epoch) break;   /* let in: another has counted this one already */
        word = xctx_load32(&head->word);
        if (word & XCTX_ANNOUNCED) return 0;
        if (xctx_cas64(&line->state, &state, state - XCTX_ONE_WAITING + 1)) {
            word = xctx_load32(&head->word);
            if (!(word & XCTX_ANNOUNCED)) break;
            xctx_step_back(head, line, attempt);
            return 0;
        }
    }
    attempt->phase = XCTX_IDLE;
    return 1;
}

/* --- writers ----------------------------------------------------------------------------------------------------------- */

static inline int xctx_poll_seat(xctx_head *head, uint32_t number, xctx_attempt *attempt) {
    uint32_t word = xctx_load32(&head->word), taken;
    do {
        if (word & XCTX_SEAT || (word & XCTX_FAMINE && attempt->patient != XCTX_FAMISHED)) return 0;
        taken = word | number | (attempt->want == XCTX_EXCLUSIVE ? XCTX_ANNOUNCED : 0);
        /* The one who was woken answers for the others that still sleep. */
        if (attempt->patient) taken |= XCTX_SEAT_NAP;
    } while (!xctx_cas32(&head->word, &word, taken));
    attempt->phase = XCTX_SEATED;
    attempt->at = 0;
    return 1;
}

/* Whether all readers have left that were there when the owner of the seat announced itself. */
static inline int xctx_poll_drain(xctx_head *head, xctx_attempt *attempt) {
    uint32_t used = xctx_load32(&head->used);
    for (; attempt->at < used; attempt->at++)
        if (XCTX_IN(xctx_load64(&xctx_line_at(head, attempt->at)->state))) return 0;
    return 1;
}

static inline void xctx_join(xctx_attempt *attempt) {
    attempt->phase = XCTX_QUEUE;
    attempt->patient = XCTX_FRESH;
    attempt->since = 0;
}

/* --- any way of waiting ------------------------------------------------------------------------------------------------ */

/* Whether the lock is held now, as wanted. Never waits. */
static inline int xctx_poll(xctx_head *head, uint32_t index, xctx_attempt *attempt) {
    xctx_line *line = xctx_line_at(head, index);
    uint32_t word;
    switch (attempt->phase) {
    case XCTX_IDLE:
        if (attempt->want == XCTX_SHARED) {
            if (xctx_enter(head, line, &word)) return 1;
            xctx_step_back(head, line, attempt);
            return 0;
        }
        xctx_join(attempt);
        /* fall through */
    case XCTX_QUEUE:
        if (!xctx_poll_seat(head, index + 1, attempt)) return 0;
        /* fall through */
    case XCTX_SEATED:
        if (attempt->want == XCTX_EXCLUSIVE) {
            if (!xctx_poll_drain(head, attempt)) return 0;
            if (xctx_load32(&head->word) & XCTX_DRAIN_NAP) xctx_and32(&head->word, ~(uint32_t)XCTX_DRAIN_NAP);
        }
        xctx_store32(&line->flags, attempt->want);
        attempt->phase = XCTX_IDLE;
        return 1;
    default:
        return xctx_poll_reader(head, line, attempt);
    }
}

static inline uint32_t xctx_nap_bit(const xctx_attempt *attempt) {
    switch (attempt->phase) {
    case XCTX_COUNTED: return XCTX_READERS_NAP;
    case XCTX_SEATED: return XCTX_DRAIN_NAP;
    default: return attempt->patient == XCTX_FAMISHED ? XCTX_FAMINE : XCTX_SEAT_NAP;
    }
}

/* How long to sleep, in ns. Where the seat is kept for the famished, they may have died. */
static inline uint64_t xctx_nap_time(xctx_head *head) {
    return (xctx_load32(&head->word) & (XCTX_SEAT | XCTX_FAMINE)) == XCTX_FAMINE ? XCTX_SHORT_NAP : XCTX_NAP;
}

/* One who has wanted the seat for long, by now, is famished. */
static inline void xctx_grow_hungry(xctx_attempt *attempt) {
    uint64_t now;
    if (attempt->phase != XCTX_QUEUE) return;
    now = xctx_monotonic_ns();
    if (attempt->since == 0) attempt->since = now;
    else if (now - attempt->since > XCTX_STARVED) attempt->patient = XCTX_FAMISHED;
}

/* A last look before sleeping. True where the lock is held; otherwise the caller sleeps while the gate is attempt->gate. */
static inline int xctx_arm(xctx_head *head, uint32_t index, xctx_attempt *attempt) {
    uint8_t phase;
    do {
        phase = attempt->phase;
        xctx_grow_hungry(attempt);
        attempt->gate = xctx_load32(&head->gate);
        xctx_or32(&head->word, xctx_nap_bit(attempt));
        if (xctx_poll(head, index, attempt)) return 1;
        /* One who has got the seat meanwhile sleeps for something else: once more. */
    } while (phase != attempt->phase);
    return 0;
}

/* --- giving up, giving back -------------------------------------------------------------------------------------------- */

/* Gives up the seat or, where upgradable is what is kept, only writing. `clear` is one more bit of the word. */
static inline void xctx_step_down(xctx_head *head, uint32_t index, int keep, uint32_t clear) {
    xctx_line *line = xctx_line_at(head, index);
    if (keep == XCTX_SHARED) xctx_add64(&line->state, 1);   /* before the seat goes: no writer comes in between */
    /* First of the rest: from here on what was written is whole, and nobody need be told of a death. */
    xctx_store32(&line->flags, keep == XCTX_UPGRADABLE ? XCTX_UPGRADABLE : XCTX_NONE);
    xctx_admit(head);
    xctx_vacate(head, XCTX_ANNOUNCED | clear | (keep == XCTX_UPGRADABLE ? 0 : XCTX_SEAT));
}

/* One who does not want the seat any more may have been woken for it: another must hear of it. */
static inline void xctx_hand_on(xctx_head *head) {
    uint32_t word = xctx_load32(&head->word);
    while (word & XCTX_SEAT)
        if (xctx_cas32(&head->word, &word, word | XCTX_SEAT_NAP)) return;
    xctx_wake(head, word | XCTX_SEAT_NAP, XCTX_SEAT_NAP | XCTX_FAMINE);
}

/* Leaves no trace of a try, unless it has come to its end: then true, and the lock is held. */
static inline int xctx_cancel(xctx_head *head, uint32_t index, xctx_attempt *attempt, int upgrading) {
    xctx_line *line = xctx_line_at(head, index);
    uint8_t phase = attempt->phase;
    uint64_t state;
    attempt->phase = XCTX_IDLE;
    switch (phase) {
    case XCTX_QUEUE:
        if (attempt->patient) xctx_hand_on(head);
        return 0;
    case XCTX_SEATED:
        xctx_step_down(head, index, upgrading ? XCTX_UPGRADABLE : XCTX_NONE, 0);
        return 0;
    case XCTX_COUNTED:
        state = xctx_load64(&line->state);
        while (XCTX_EPOCH(state) == attempt->epoch)
            if (xctx_cas64(&line->state, &state, state - XCTX_ONE_WAITING)) return 0;
        return 1;
    default:
        return 0;
    }
}

/* From upgradable to exclusive: to be polled as any other try. */
static inline void xctx_announce(xctx_head *head, xctx_attempt *attempt) {
    attempt->want = XCTX_EXCLUSIVE;
    attempt->phase = XCTX_SEATED;
    attempt->at = 0;
    xctx_or32(&head->word, XCTX_ANNOUNCED);
}

/* --- after the dead ---------------------------------------------------------------------------------------------------- */

/* Strikes out what the dead owner of a line had. Under the line's lock, hence never by two; may be done twice. */
static inline void xctx_bury(xctx_head *head, uint32_t index) {
    xctx_line *line = xctx_line_at(head, index);
    if ((xctx_load32(&head->word) & XCTX_SEAT) == index + 1) {
        /* Before anybody is let in, who would look for it. */
        if (xctx_load32(&line->flags) == XCTX_EXCLUSIVE) xctx_or32(&head->word, XCTX_DIED);
        xctx_admit(head);
        xctx_vacate(head, XCTX_SEAT | XCTX_ANNOUNCED);
    }
    xctx_store32(&line->flags, XCTX_NONE);
    xctx_store32(&line->waiters, 0);
    xctx_store64(&line->state, 0);
    xctx_left(head, 1);
    xctx_store32(&line->owner, 0);
}

#endif
