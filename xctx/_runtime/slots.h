/* A small cache a thread: "what does that store hold for whoever runs now".
 *
 * A slot is right for as long as nothing was switched: the thread state counts, in context_ver, every context entered or
 * left and every greenlet switch, and never counts down. So a slot needs no emptying when a greenlet dies or a thread
 * ends, and what it points to is borrowed: whoever runs now keeps it alive, or this module's own code has changed the
 * slot along with it. The one thing that replaces a unit with no switch is a fork, which empties the slots.
 *
 * Each room that includes this has slots of its own, and serial numbers of its own for its stores. */
#ifndef XCTX_SLOTS_H
#define XCTX_SLOTS_H

#include "xctx/_runtime/compat.h"

typedef struct {
    uint64_t serial;   /* of the store; 0 is none */
    uint64_t ver;      /* the context_ver at which this was found */
    uint64_t tsid;     /* the thread state it was found in: one OS thread may have several, one after the other */
    PyObject *context; /* the thread state's, borrowed: compared only. A context made where there was none is not counted */
    void *what;        /* borrowed; NULL where the store holds nothing */
#ifdef Py_GIL_DISABLED
    uint64_t uses;
#endif
} xctx_slot;

#define XCTX_SLOTS 16   /* a power of 2; stores made one after the other never meet before as many */

static XCTX_TLS xctx_slot xctx_slots[XCTX_SLOTS];

static inline xctx_slot *xctx_slot_of(uint64_t serial) { return &xctx_slots[serial & (XCTX_SLOTS - 1)]; }

/* Without the GIL, a store that a thread other than its maker has used this often is promoted (see xctx_promote): it is
 * one that lives as long as the program, as a module's global does. */
#define XCTX_HOT 10000

static inline int xctx_slot_hit(xctx_slot *slot, uint64_t serial, PyThreadState *tstate, PyObject *store) {
    if (XCTX_LIKELY(slot->serial == serial && slot->ver == tstate->context_ver && slot->tsid == tstate->id)) {
#ifdef Py_GIL_DISABLED
        if (XCTX_UNLIKELY(++slot->uses % XCTX_HOT == 0) && store->ob_tid != _Py_ThreadId()) xctx_promote(store);
#else
        (void)store;
#endif
        return 1;
    }
    return 0;
}

static inline void xctx_slot_set(xctx_slot *slot, uint64_t serial, PyThreadState *tstate, void *what) {
#ifdef Py_GIL_DISABLED
    if (slot->serial != serial) slot->uses = 0;
#endif
    slot->serial = serial;
    slot->ver = tstate->context_ver;
    slot->tsid = tstate->id;
    slot->context = tstate->context;
    slot->what = what;
}

static inline void xctx_slot_drop(xctx_slot *slot, uint64_t serial) {
    if (slot->serial == serial) slot->ver = UINT64_MAX;
}

static XCTX_TLS struct { uint64_t tsid, ver; PyObject *context; } xctx_last;   /* compared only */

/* When a thread ends its context is taken down; a finaliser may have another one made. Neither is counted, so context
 * variables go on giving values cached of the first one, though they are gone: count it for them. */
static inline void xctx_count_contexts(PyThreadState *tstate) {
    if (xctx_last.context != tstate->context) {
        if (xctx_last.tsid == tstate->id && xctx_last.ver == tstate->context_ver) tstate->context_ver++;
        xctx_last.context = tstate->context;
    }
    xctx_last.tsid = tstate->id;
    xctx_last.ver = tstate->context_ver;
}

static inline void xctx_slots_empty(void) { memset(xctx_slots, 0, sizeof(xctx_slots)); }

#endif
