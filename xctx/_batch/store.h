/* The store behind a BatchExecutor: where values lie between the source that made them and the caller that gets them.
 *
 *     source --fill--> fresh --publish--> ring --take--> caller
 *                                          |  ^
 *                                   a few  v  | the thread ends, the executor is closed
 *                                         stash --pop--> caller            (free-threaded builds only)
 *
 * - A value is a reference that has one place. It leaves a place by being taken out of it, never by being copied, so
 *   nobody increments a count that others touch, and it cannot be handed out twice.
 * - `fresh` belongs to the one unit that fills, and only its thread touches it. Publishing moves what it holds.
 * - `ring` is a queue, first in, first out. Where there is a GIL, whoever holds it may take; otherwise `mutex` guards.
 * - A `stash` is filled, and robbed, under the mutex; its thread empties it without: the slot is exchanged with NULL,
 *   which decides between the owner and a robber. It grows with its owner's use, so that a thread never holds back
 *   more than it has taken so far. A thread that fills while nobody waits keeps its batch: those values live and die
 *   in one thread, which is what makes a free-threaded interpreter fast.
 * - No section under the mutex allocates objects, drops a reference or runs Python.
 * - A forked child starts with an empty store. What the parent still hands out is left where it lies, unreleased: a
 *   finaliser that ran here too would undo the parent's values. `xb_forks` counts, and every entry compares.
 *
 * The caller of each function here has an attached thread state and a reference on the executor.
 */
#ifndef XCTX_BATCH_H
#define XCTX_BATCH_H

#include "xctx/_runtime/state.h"

typedef struct xb_core xb_core;
typedef struct xb_stash xb_stash;
typedef struct xb_thread xb_thread;
typedef struct xb_waiter xb_waiter;

/* One waiting caller; part of the object that `owner` names. While it is linked the list holds a reference on it,
 * which goes to whoever unlinks it. */
struct xb_waiter {
    xb_waiter *next, *prev;
    PyObject *owner;
    int linked;  /* guarded by the core's mutex, as is all above */
    int woken;   /* set once, together with `linked` cleared, by the one who will wake it */
    int hub;     /* never changes: it waits in a greenlet, so the thread goes on meanwhile */
    double since; /* never changes: when its caller began to wait */
};

struct xb_core {
    uint64_t id;       /* never changes, and never comes back */
    size_t index;      /* never changes; where threads find their stash */
    Py_ssize_t size;   /* never changes */
    size_t mark;       /* never changes: at or below it a taker looks for the helper that refills */
    int forks;         /* what xb_forks was when the rest was last made anew */
    intptr_t refs;     /* the executor, each stash, each fill */
    xctx_mutex mutex;  /* guards everything below */
    int closed;        /* only ever goes to 1; also read without the mutex */
    int helper;        /* a refill is asked for or under way */
    PyObject **ring;   /* slots head..tail-1, each an owned reference; `mask` is their number less one */
    size_t mask, head, tail;
    PyObject *error;   /* owned: what the source raised after the values in the store */
    xb_waiter *first, *last;
    Py_ssize_t waiting;
    int due;           /* one who waited long was woken: the next to fill is not a newcomer */
    int filling;       /* also read without the mutex, by one who spins */
    uint64_t fill;     /* the number of the fill; a filler that finds another one there has been given up */
    xb_thread *filler; /* its thread, which gives the fill up when it ends */
    void *greenlet;    /* borrowed and only compared: a greenlet cannot die before its fill has ended */
    xb_core *next_fill, **prev_fill; /* in filler->fills; only that thread touches them */
    PyObject **fresh;  /* slots fresh_head..fresh_tail-1; only the filler's thread touches them */
    size_t fresh_room, fresh_head, fresh_tail;
    uint64_t made, fills, waits, left;
    xb_stash *stashes;
    int hot;           /* how many threads have taken a lot */
    int promoted;
};

struct xb_stash {
    uint64_t id;         /* of the core; never changes */
    xb_core *core;       /* a counted reference; never changes */
    uint32_t room;       /* never changes */
    uint32_t chunk;      /* owner only, as the next three */
    uint32_t head, tail;
    size_t taken;
    xb_stash *next, **prev; /* in core->stashes, guarded by the core's mutex */
    PyObject *slots[];   /* owned references or NULL */
};

struct xb_thread {       /* only its thread touches it */
    int forks;
    xb_core *fills;      /* those that this thread is in the middle of */
    PyObject **fresh;    /* room for the next fill, near to this thread: what another one wrote would have to travel */
    size_t room;
    size_t n;
    xb_stash **stashes;  /* by core->index */
};

#define XB_STASH_ROOM 256
#define XB_HOT 16384

enum { XB_VALUE, XB_ERROR, XB_CLOSED, XB_FILL, XB_INNER, XB_SIBLING, XB_WAIT };

/* This thread's record, or NULL before its first need and after its end. */
#define xb_here (*(xb_thread **)&xctx_here()->batch)
#define xb_forks ((int)xctx_fork_count())
static xctx_mutex xb_global;         /* guards the next four, and the making anew of a core in a child */
static uint64_t xb_ids;
static size_t xb_indices;
static size_t *xb_spare;
static size_t xb_nspare, xb_spare_room;

static void xb_after_fork(void) {    /* in the child, with one thread, maybe inside a signal handler: stores only */
    memset(&xb_global, 0, sizeof xb_global);
}

static void xb_setup(void) { xctx_at_fork(XCTX_FORK_BATCHES, NULL, NULL, xb_after_fork); }

/* Cores */

static xb_core *xb_new(Py_ssize_t size, size_t mark) {
    xb_core *c = PyMem_RawCalloc(1, sizeof *c);
    if (!c) return NULL;
    xctx_lock(&xb_global);
    c->id = ++xb_ids;
    c->index = xb_nspare ? xb_spare[--xb_nspare] : xb_indices++;
    xctx_unlock(&xb_global);
    c->size = size;
    c->mark = mark;
    c->forks = xb_forks;
    c->refs = 1;
    return c;
}

static void xb_unref(xb_core *c) {
    if (xctx_add(&c->refs, -1) == 0) {  /* the executor is gone, so are its values */
        PyMem_RawFree(c->ring);
        PyMem_RawFree(c->fresh);
        PyMem_RawFree(c);
    }
}

static void xb_spare_index(size_t index) {
    xctx_lock(&xb_global);
    if (xb_nspare == xb_spare_room) {
        size_t room = xb_spare_room ? xb_spare_room * 2 : 16;
        size_t *spare = PyMem_RawRealloc(xb_spare, room * sizeof *spare);
        if (spare) { xb_spare = spare; xb_spare_room = room; }
    }
    if (xb_nspare < xb_spare_room) xb_spare[xb_nspare++] = index;
    xctx_unlock(&xb_global);
}

static void xb_begin_fill(xb_core *c, xb_thread *t, void *greenlet) {  /* under the mutex, where nobody fills */
    xctx_store_int(&c->filling, 1);
    c->fill++;
    c->fills++;
    c->filler = t;
    c->greenlet = greenlet;
    c->fresh = t->fresh;
    c->fresh_room = t->room;
    c->fresh_head = c->fresh_tail = 0;
    t->fresh = NULL;
    t->room = 0;
    c->prev_fill = &t->fills;
    c->next_fill = t->fills;
    if (c->next_fill) c->next_fill->prev_fill = &c->next_fill;
    t->fills = c;
    xctx_add(&c->refs, 1);
}

static void xb_end_fill(xb_core *c) {  /* under the mutex, in the filler's thread; nothing fresh is left */
    xb_thread *t = c->filler;
    *c->prev_fill = c->next_fill;
    if (c->next_fill) c->next_fill->prev_fill = c->prev_fill;
    c->next_fill = NULL;
    c->prev_fill = NULL;
    if (t->fresh) PyMem_RawFree(c->fresh);
    else {
        t->fresh = c->fresh;
        t->room = c->fresh_room;
    }
    c->fresh = NULL;
    c->fresh_room = c->fresh_head = c->fresh_tail = 0;
    c->filler = NULL;
    c->greenlet = NULL;
    c->fill++;
    xctx_store_int(&c->filling, 0);
    xctx_add(&c->refs, -1);  /* never the last one: the executor has one, or the caller */
}

static void xb_renew(xb_core *c) {  /* a child's first touch of this core */
    xctx_lock(&xb_global);
    if (c->forks != xb_forks) {
        memset(&c->mutex, 0, sizeof c->mutex);
        c->fresh_head = c->fresh_tail = 0;
        if (c->filler && c->filler == xb_here) xb_end_fill(c);
        c->next_fill = NULL;
        c->prev_fill = NULL;
        c->filler = NULL;
        c->greenlet = NULL;
        c->filling = 0;
        c->fill++;
        c->ring = c->fresh = NULL;
        c->mask = c->head = c->tail = c->fresh_room = c->fresh_head = c->fresh_tail = 0;
        c->error = NULL;
        c->first = c->last = NULL;
        c->waiting = c->due = 0;
        c->helper = 0;
        c->stashes = NULL;
        c->made = c->fills = c->waits = c->left = 0;
        xctx_store_int(&c->forks, xb_forks);
    }
    xctx_unlock(&xb_global);
}

static inline void xb_lock(xb_core *c) {
    if (XCTX_UNLIKELY(xctx_load_int(&c->forks) != xb_forks)) xb_renew(c);
    xctx_lock(&c->mutex);
}

static inline void xb_unlock(xb_core *c) { xctx_unlock(&c->mutex); }

/* The ring, under the mutex */

static int xb_ring_room(xb_core *c, size_t more) {
    size_t n = c->tail - c->head, room = c->ring ? c->mask + 1 : 0;
    if (n + more <= room) return 0;
    size_t wanted = room ? room : 8;
    while (wanted < n + more) wanted *= 2;
    PyObject **ring = PyMem_RawMalloc(wanted * sizeof *ring);
    if (!ring) return -1;
    for (size_t i = 0; i < n; i++) ring[i] = c->ring[(c->head + i) & c->mask];
    PyMem_RawFree(c->ring);
    c->ring = ring;
    c->mask = wanted - 1;
    c->head = 0;
    c->tail = n;
    return 0;
}

static inline PyObject *xb_ring_pop(xb_core *c) { return c->ring[c->head++ & c->mask]; }

static inline void xb_ring_push(xb_core *c, PyObject *v) { c->ring[c->tail++ & c->mask] = v; }

static inline void xb_ring_unpop(xb_core *c, PyObject *v) {  /* the order of values survives a giving back */
    c->ring[--c->head & c->mask] = v;
}

/* Waiters, under the mutex */

static void xb_unlink(xb_core *c, xb_waiter *w) {
    if (w->prev) w->prev->next = w->next; else c->first = w->next;
    if (w->next) w->next->prev = w->prev; else c->last = w->prev;
    w->next = w->prev = NULL;
    w->linked = 0;
    c->waiting--;
}

static void xb_enqueue(xb_core *c, xb_waiter *w, int front) {
    w->linked = 1;
    w->next = front ? c->first : NULL;
    w->prev = front ? NULL : c->last;
    if (w->prev) w->prev->next = w; else c->first = w;
    if (w->next) w->next->prev = w; else c->last = w;
    c->waiting++;
    Py_INCREF(w->owner);
}

#define XB_LONG 0.001  /* seconds of waiting, after which newcomers do not overtake any more */

#define xb_now xctx_monotonic

/* Adds up to n waiters to a chain of those that the caller has to wake once it holds no lock. */
static void xb_pick(xb_core *c, size_t n, xb_waiter **chain) {
    if (!c->first) return;
    while (*chain) chain = &(*chain)->next;
    if (xb_now() - c->first->since > XB_LONG) c->due = 1;
    while (n-- && c->first) {
        xb_waiter *w = c->first;
        xb_unlink(c, w);
        w->woken = 1;
        *chain = w;
        chain = &w->next;
    }
}

/* While there are waiters and nobody fills, one of them is always on its way: whoever leaves wakes the next. */
static void xb_pass_on(xb_core *c, xb_waiter **wake) {
    if (c->first && (!c->filling || c->tail != c->head || c->closed || c->error)) xb_pick(c, 1, wake);
}

/* Stashes */

#ifdef Py_GIL_DISABLED

static inline PyObject *xb_stash_pop(xb_stash *s) {
    while (s->head < s->tail) {
        PyObject *v = xctx_swap_ptr((void **)&s->slots[s->head++], NULL);
        if (v) return v;
    }
    return NULL;
}

static void xb_stash_unlink(xb_stash *s) {
    *s->prev = s->next;
    if (s->next) s->next->prev = s->prev;
}

static void xb_stash_free(xb_stash *s) {  /* empty, and unlinked or of a core that is dead */
    xb_unref(s->core);
    PyMem_RawFree(s);
}

/* This thread's stash, made at need; NULL where there is no memory, which is no error. Under the core's mutex. */
static xb_stash *xb_stash_here(xb_core *c, xb_thread *t) {
    if (c->index >= t->n) {
        size_t n = t->n ? t->n : 8;
        while (n <= c->index) n *= 2;
        xb_stash **stashes = PyMem_RawRealloc(t->stashes, n * sizeof *stashes);
        if (!stashes) return NULL;
        memset(stashes + t->n, 0, (n - t->n) * sizeof *stashes);
        t->stashes = stashes;
        t->n = n;
    }
    xb_stash *s = t->stashes[c->index];
    if (s && s->id == c->id) return s;
    if (s) {  /* its core gave the index back, so it is dead and has drained its stashes */
        xctx_lock(&s->core->mutex);  /* nobody who holds that one waits for another */
        xb_stash_unlink(s);
        xctx_unlock(&s->core->mutex);
        xb_stash_free(s);
    }
    size_t room = c->size < XB_STASH_ROOM ? (size_t)c->size : XB_STASH_ROOM;
    s = PyMem_RawCalloc(1, sizeof *s + room * sizeof(PyObject *));
    t->stashes[c->index] = s;
    if (!s) return NULL;
    s->id = c->id;
    s->core = c;
    xctx_add(&c->refs, 1);
    s->room = (uint32_t)room;
    s->chunk = 1;
    s->prev = &c->stashes;
    s->next = c->stashes;
    if (s->next) s->next->prev = &s->next;
    c->stashes = s;
    return s;
}

/* How many values this thread may take along, of n that lie there. */
static size_t xb_share(xb_core *c, xb_stash *s, size_t n) {
    size_t k = s->chunk, fair = (n + c->waiting) / (1 + (size_t)c->waiting);
    if (k > fair) k = fair;
    s->taken += k;
    if (s->taken >= XB_HOT && s->taken - k < XB_HOT) c->hot++;
    if (s->chunk * 2 <= s->room) s->chunk *= 2; else s->chunk = s->room;
    return k;
}

/* Brings what the threads hold back to the front of the ring. */
static void xb_rob(xb_core *c) {
    size_t n = 0;
    for (xb_stash *s = c->stashes; s; s = s->next) n += s->room;
    if (!n || xb_ring_room(c, n) < 0) return;
    for (xb_stash *s = c->stashes; s; s = s->next)
        for (uint32_t i = s->room; i--;) {
            PyObject *v = xctx_swap_ptr((void **)&s->slots[i], NULL);
            if (v) xb_ring_unpop(c, v);
        }
}

#else
static void xb_rob(xb_core *c) { (void)c; }
#endif

static size_t xb_held(xb_core *c) {  /* under the mutex: made and not handed out */
    size_t n = c->tail - c->head;
#ifdef Py_GIL_DISABLED
    for (xb_stash *s = c->stashes; s; s = s->next)
        for (uint32_t i = 0; i < s->room; i++) n += xctx_load_ptr((void **)&s->slots[i]) != NULL;
#endif
    return n;
}

/* Taking: the way that nearly every load goes. An owned reference, or NULL with nothing raised. */
static inline PyObject *xb_pop(xb_core *c) {
#ifdef Py_GIL_DISABLED
    xb_thread *t = xb_here;
    if (XCTX_LIKELY(t && c->index < t->n && t->forks == xb_forks)) {
        xb_stash *s = t->stashes[c->index];
        if (XCTX_LIKELY(s && s->id == c->id)) return xb_stash_pop(s);
    }
    return NULL;
#else
    if (XCTX_LIKELY(c->tail - c->head > c->mark && c->forks == xb_forks)) return xb_ring_pop(c);
    return NULL;
#endif
}

static PyObject *xb_take(xb_core *c, xb_thread *t) {  /* under the mutex */
#ifdef Py_GIL_DISABLED
    xb_stash *s = c->index < t->n ? t->stashes[c->index] : NULL;
    PyObject *v = s && s->id == c->id ? xb_stash_pop(s) : NULL;
    size_t n = c->tail - c->head;
    if (v || !n) return v;
    v = xb_ring_pop(c);
    if (n > 1 && (s = xb_stash_here(c, t))) {
        size_t k = xb_share(c, s, n - 1);
        for (size_t i = 0; i < k; i++) xctx_store_ptr((void **)&s->slots[i], xb_ring_pop(c));
        s->head = 0;
        s->tail = (uint32_t)k;
    }
    return v;
#else
    (void)t;
    return c->tail != c->head ? xb_ring_pop(c) : NULL;
#endif
}

#include "xctx/_batch/fill.h"

#endif
