/* Filling.
 *
 * One unit at a time fills a core. It is chosen under the mutex (batch_next_step), runs the source without it, and keeps
 * what the source makes in `fresh`, which only its thread touches. batch_publish then moves the fresh values to the ring,
 * or, if no caller waits, to the filler's own thread cache. Each fill has a number. If the core has another number when the
 * source returns, the fill was given up because the filler's thread ended or the process forked; then the filler's values go
 * to the ring one by one. */
#include "xctx/_batch/fill.h"
#include "xctx/_batch/thread_cache.h"
#include "xctx/_batch/waiters.h"

/* ---- who fills: under the mutex -------------------------------------------------------------------------- */

static void begin_fill(BatchCore *c, BatchThread *t, void *greenlet) {
    xctx_store_int(&c->filling, 1);
    xctx_next_u64(&c->fill);
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

void batch_end_fill(BatchCore *c) {
    BatchThread *t = c->filler;
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
    xctx_next_u64(&c->fill);
    xctx_store_int(&c->filling, 0);
    xctx_add(&c->refs, -1);  /* never the last one: the executor has one, or the caller */
}

BatchStep batch_next_step(BatchCore *c, BatchThread *t, void *greenlet, xctx_waiter *w, int waited, int rob,
                          PyObject **value, xctx_waiter **wake) {
    BatchStep step;
    *wake = NULL;
    batch_lock(c);
    if (waited) c->due = 0;
    if (c->closed) step = BATCH_CLOSED;
    else if ((*value = batch_take(c, t))) step = BATCH_VALUE;
    else if (rob && (batch_rob_caches(c), *value = batch_take(c, t))) step = BATCH_VALUE;
    else if (c->error) {
        *value = c->error;
        c->error = NULL;
        step = BATCH_ERROR;
    }
    else if (!c->filling && (!c->due || waited || rob)) {
        begin_fill(c, t, greenlet);
        step = BATCH_FILL;
    }
    else if (c->filling && c->filler == t && (c->greenlet == greenlet || !c->greenlet)) step = BATCH_INNER;
    else if (c->filling && c->filler == t && !(w && w->in_hub)) step = BATCH_SIBLING;
    else {
        step = BATCH_WAIT;
        if (w) {
            xctx_queue_add(&c->waiters, w, waited);
            c->waits += !waited;
        }
    }
    if (step == BATCH_VALUE || step == BATCH_ERROR) batch_pass_on(c, wake);
    batch_unlock(c);
    return step;
}

int batch_claim_refill(BatchCore *c) {
    batch_lock(c);
    int mine = !c->refilling && !c->closed && !c->filling && !c->error && batch_ring_length(c) <= c->mark;
    if (mine) xctx_store_int(&c->refilling, 1);
    batch_unlock(c);
    return mine;
}

int batch_refill_step(BatchCore *c, BatchThread *t, void *greenlet) {
    batch_lock(c);
    int fills = !c->closed && !c->error && !c->filling && batch_ring_length(c) <= c->mark;
    if (fills) begin_fill(c, t, greenlet);
    batch_unlock(c);
    return fills;
}

int batch_is_low(BatchCore *c) {
    batch_lock(c);
    int low = batch_ring_length(c) <= c->mark;
    batch_unlock(c);
    return low;
}

void batch_spin(BatchCore *c) {
#ifdef Py_GIL_DISABLED
    for (int i = 0; i < 400 && xctx_load_int(&c->filling); i++) xctx_pause();
#else
    (void)c;
#endif
}

/* ---- the filler's side ----------------------------------------------------------------------------------- */

int batch_add(BatchCore *c, PyObject *v, xctx_waiter **wake) {
    *wake = NULL;
    batch_lock(c);
    int full = batch_ring_reserve(c, 1);
    if (!full) {
        batch_ring_push(c, v);
        c->made++;
        if (c->waiters.first) batch_pick_waiters(c, 1, wake);
    }
    batch_unlock(c);
    if (full) { Py_DECREF(v); PyErr_NoMemory(); }
    return full;
}

int batch_keep(BatchCore *c, PyObject *v) {
    if (c->fresh_tail == c->fresh_room) {
        size_t room = c->fresh_room ? c->fresh_room * 2 : 8;  /* a power of two: publishing makes a ring of it */
        PyObject **fresh = PyMem_RawRealloc(c->fresh, room * sizeof *fresh);
        if (!fresh) { Py_DECREF(v); PyErr_NoMemory(); return -1; }
        c->fresh = fresh;
        c->fresh_room = room;
    }
    c->fresh[c->fresh_tail++] = v;
    return 0;
}

PyObject *batch_fresh_pop(BatchCore *c) { return c->fresh_head < c->fresh_tail ? c->fresh[c->fresh_head++] : NULL; }

int batch_fill_from(BatchCore *c, PyObject *source, uint64_t fill, xctx_waiter **wake) {
    for (Py_ssize_t n = 1;; n++) {
        PyObject *v = PyObject_CallNoArgs(source);
        if (XCTX_UNLIKELY(!v)) return -1;
        if (XCTX_UNLIKELY(!batch_fill_is_current(c, fill))) return batch_add(c, v, wake);
        if (XCTX_LIKELY(c->fresh_tail < c->fresh_room)) c->fresh[c->fresh_tail++] = v;
        else if (batch_keep(c, v) < 0) return -1;
        if (n >= c->size || xctx_load_int(&c->closed)) return 0;
        if ((n & 1023) == 0 && PyErr_CheckSignals() < 0) return -1;  /* a source in C may never check */
    }
}

/* Moves the fresh values to the ring, under the mutex. Memory is needed only if values came back to the ring meanwhile. If there
 * is none, the fresh values are lost: the result is an array of n references to release once the mutex is free. */
static PyObject **move_to_ring(BatchCore *c, size_t n, PyObject ***array) {
    PyObject **ring = c->ring;
    *array = NULL;
    if (!batch_ring_length(c)) {  /* the usual case: the two arrays change places */
        size_t room = ring ? c->mask + 1 : 0;
        c->ring = c->fresh;
        c->mask = c->fresh_room - 1;
        c->head = c->fresh_head;
        c->tail = c->fresh_tail;
        c->fresh = ring;
        c->fresh_room = room;
        return NULL;
    }
    if (batch_ring_reserve(c, n) == 0) {
        while (n--) batch_ring_push(c, batch_fresh_pop(c));
        return NULL;
    }
    c->made -= n;
    *array = c->fresh;
    PyObject **lost = c->fresh + c->fresh_head;
    c->fresh = NULL;
    c->fresh_room = 0;
    return lost;
}

PyObject *batch_publish(BatchCore *c, BatchThread *t, uint64_t fill, int own, PyObject **error, xctx_waiter **wake) {
    PyObject *mine = NULL, **lost = NULL, **array = NULL;
    *wake = NULL;
    batch_lock(c);
    if (xctx_load_u64(&c->fill) != fill) { batch_unlock(c); return NULL; }
    size_t n = c->fresh_tail - c->fresh_head, n_lost = 0;
    c->made += c->fresh_tail;
    if (own && n) {
        mine = batch_fresh_pop(c);
        n--;
#ifdef Py_GIL_DISABLED
        ThreadCache *cache;
        if (n && !c->closed && !c->waiters.count && !batch_ring_length(c) && (cache = batch_cache_to_fill(c, t))) {
            size_t k = batch_cache_share(c, cache, n);
            for (size_t i = 0; i < k; i++) batch_cache_put(cache, i, batch_fresh_pop(c));
            n -= k;
        }
#else
        (void)t;
#endif
    }
    if (n) lost = move_to_ring(c, n, &array);
    if (lost) n_lost = n;
    c->fresh_head = c->fresh_tail = 0;
    if (*error && own && !mine) {
        batch_rob_caches(c);  /* what other threads hold was made before the exception */
        if (batch_ring_length(c)) mine = batch_ring_pop(c);
    }
    if (*error && !c->error && (mine || batch_ring_length(c) || !own)) {
        c->error = *error;
        *error = NULL;
    }
    batch_end_fill(c);
    n = batch_ring_length(c) + (c->error != NULL);
    if (c->waiters.first) batch_pick_waiters(c, c->closed ? (size_t)-1 : n ? n : 1, wake);
    batch_unlock(c);
    while (n_lost) Py_DECREF(lost[--n_lost]);
    PyMem_RawFree(array);
    return mine;
}

void batch_return_value(BatchCore *c, PyObject *v) {
    batch_lock(c);
    int full = batch_ring_reserve(c, 1);
    if (!full) batch_ring_unpop(c, v);
    batch_unlock(c);
    if (full) Py_DECREF(v);
}
