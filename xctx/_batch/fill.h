/* The second half of _batch/store.h, which includes it: whose turn it is, filling and publishing, and what happens at the end of
 * a thread, of an executor and of a reachable cycle. */
#ifndef XCTX_BATCH_FILL_H
#define XCTX_BATCH_FILL_H

/* Decides what a caller that found nothing does next. With a waiter it is put in line where it has to wait: in `front`
 * if it has waited before. With `rob` it would rather take from other threads than wait. */
static int xb_turn(xb_core *c, xb_thread *t, void *greenlet, xb_waiter *w, int front, int rob,
                   PyObject **value, xb_waiter **wake) {
    int turn;
    *wake = NULL;
    xb_lock(c);
    if (front) c->due = 0;
    if (c->closed) turn = XB_CLOSED;
    else if ((*value = xb_take(c, t))) turn = XB_VALUE;
    else if (rob && (xb_rob(c), *value = xb_take(c, t))) turn = XB_VALUE;
    else if (c->error) {
        *value = c->error;
        c->error = NULL;
        turn = XB_ERROR;
    }
    else if (!c->filling && (!c->due || front || rob)) {
        xb_begin_fill(c, t, greenlet);
        turn = XB_FILL;
    }
    else if (c->filling && c->filler == t && (c->greenlet == greenlet || !c->greenlet)) turn = XB_INNER;
    else if (c->filling && c->filler == t && !(w && w->hub)) turn = XB_SIBLING;
    else {
        turn = XB_WAIT;
        if (w) {
            xb_enqueue(c, w, front);
            c->waits += !front;
        }
    }
    if (turn == XB_VALUE || turn == XB_ERROR) xb_pass_on(c, wake);
    xb_unlock(c);
    return turn;
}

/* The filler's side */

static inline int xb_current(xb_core *c, uint64_t fill) { return c->forks == xb_forks && c->fill == fill; }

static int xb_add(xb_core *c, PyObject *v, xb_waiter **wake) {  /* takes over v: straight into the ring */
    *wake = NULL;
    xb_lock(c);
    int full = xb_ring_room(c, 1);
    if (!full) {
        xb_ring_push(c, v);
        c->made++;
        if (c->first) xb_pick(c, 1, wake);
    }
    xb_unlock(c);
    if (full) { Py_DECREF(v); PyErr_NoMemory(); }
    return full;
}

static int xb_keep(xb_core *c, PyObject *v) {  /* takes over v */
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

static PyObject *xb_fresh_pop(xb_core *c) {  /* a load from inside the source, in the filler's thread */
    return c->fresh_head < c->fresh_tail ? c->fresh[c->fresh_head++] : NULL;
}

/* Moves the fresh values on and ends the fill. With `own` the first one is handed back for the filler's caller.
 * `*error` is owned; where a value comes before it, it is kept for the caller that it will reach, and set to NULL. */
static PyObject *xb_publish(xb_core *c, xb_thread *t, uint64_t fill, int own, PyObject **error, xb_waiter **wake) {
    PyObject *mine = NULL;
    *wake = NULL;
    xb_lock(c);
    if (c->fill != fill) { xb_unlock(c); return NULL; }
    size_t n = c->fresh_tail - c->fresh_head;
    c->made += c->fresh_tail;
    if (own && n) {
        mine = xb_fresh_pop(c);
        n--;
#ifdef Py_GIL_DISABLED
        xb_stash *s;
        if (n && !c->closed && !c->waiting && c->tail == c->head && (s = xb_stash_here(c, t)) && s->head >= s->tail) {
            size_t k = xb_share(c, s, n);
            for (size_t i = 0; i < k; i++) xctx_store_ptr((void **)&s->slots[i], xb_fresh_pop(c));
            s->head = 0;
            s->tail = (uint32_t)k;
            n -= k;
        }
#else
        (void)t;
#endif
    }
    if (n && c->tail == c->head) {  /* the usual case: the two change places */
        PyObject **ring = c->ring;
        size_t room = ring ? c->mask + 1 : 0;
        c->ring = c->fresh;
        c->mask = c->fresh_room - 1;
        c->head = c->fresh_head;
        c->tail = c->fresh_tail;
        c->fresh = ring;
        c->fresh_room = room;
    }
    else if (n) {
        if (xb_ring_room(c, n) == 0) while (n--) xb_ring_push(c, xb_fresh_pop(c));
        else c->made -= n;  /* no memory for values that came back meanwhile: these are leaked, not handed out */
    }
    c->fresh_head = c->fresh_tail = 0;
    if (*error && own && !mine) {
        xb_rob(c);  /* what other threads hold was made before */
        if (c->tail != c->head) mine = xb_ring_pop(c);
    }
    if (*error && !c->error && (mine || c->tail != c->head || !own)) {
        c->error = *error;
        *error = NULL;
    }
    xb_end_fill(c);
    n = c->tail - c->head + (c->error != NULL);
    if (c->first) xb_pick(c, c->closed ? (size_t)-1 : n ? n : 1, wake);
    xb_unlock(c);
    return mine;
}

/* Calls a source of values until the batch is full, the executor is closed, or this fill was given up; then whoever
 * comes may have the value in hand. Anything may happen in a call. */
static int xb_make(xb_core *c, PyObject *source, uint64_t fill, xb_waiter **wake) {
    for (Py_ssize_t n = 1;; n++) {
        PyObject *v = PyObject_CallNoArgs(source);
        if (XCTX_UNLIKELY(!v)) return -1;
        if (XCTX_UNLIKELY(!xb_current(c, fill))) return xb_add(c, v, wake);
        if (XCTX_LIKELY(c->fresh_tail < c->fresh_room)) c->fresh[c->fresh_tail++] = v;
        else if (xb_keep(c, v) < 0) return -1;
        if (n >= c->size || xctx_load_int(&c->closed)) return 0;
        if ((n & 1023) == 0 && PyErr_CheckSignals() < 0) return -1;  /* the source may be one that never looks */
    }
}

/* The helper's turn: it fills where nobody does, and something is missing. */
static int xb_refill_turn(xb_core *c, xb_thread *t, void *greenlet) {
    xb_lock(c);
    int turn = !c->closed && !c->error && !c->filling && c->tail - c->head <= c->mark;
    if (turn) xb_begin_fill(c, t, greenlet);
    xb_unlock(c);
    return turn;
}

static void xb_give_back(xb_core *c, PyObject *v) {  /* takes over a value that its caller could not be handed */
    xb_lock(c);
    int full = xb_ring_room(c, 1);
    if (!full) xb_ring_unpop(c, v);
    xb_unlock(c);
    if (full) Py_DECREF(v);
}

static PyObject *xb_swap_error(xb_core *c, PyObject *error) {  /* what to drop, once no lock is held */
    xb_lock(c);
    PyObject *old = c->error;
    c->error = error;
    xb_unlock(c);
    return old;
}

/* Spares a sleep where a fill takes a few microseconds and runs on another core. */
static void xb_spin(xb_core *c) {
#ifdef Py_GIL_DISABLED
    for (int i = 0; i < 400 && xctx_load_int(&c->filling); i++) xctx_pause();
#else
    (void)c;
#endif
}

/* Taken out of the core for good, oldest first; the caller owns the array and the references. */
static PyObject **xb_drain(xb_core *c, size_t *n) {
    PyObject **values;
    xb_lock(c);
    xb_rob(c);
    *n = c->tail - c->head;
    values = PyMem_RawMalloc((*n + 1) * sizeof *values);
    if (values) {
        for (size_t i = 0; i < *n; i++) values[i] = xb_ring_pop(c);
        c->left += *n;
    }
    xb_unlock(c);
    if (!values) PyErr_NoMemory();
    return values;
}

static void xb_thread_renew(xb_thread *t) {  /* in a child, for the thread that forked */
    t->forks = xb_forks;
    t->stashes = NULL;
    t->n = 0;
}

/* The end of a thread: its stashes go back, and a fill that it never came back to is given up. The result is a chain
 * of waiters to wake. Also called for the threads that a fork left behind, by the child, which touches nothing. */
static xb_waiter *xb_thread_end(xb_thread *t) {
    xb_waiter *wake = NULL;
    if (xb_here == t) xb_here = NULL;
    if (t->forks != xb_forks) return NULL;
    while (t->fills) {
        xb_core *c = t->fills;
        PyObject *none = NULL;
        xb_waiter *more = NULL, **end = &wake;
        if (c->forks != xb_forks || c->filler != t) break;  /* a list from before the fork */
        xctx_add(&c->refs, 1);
        xb_publish(c, t, c->fill, 0, &none, &more);
        xb_unref(c);
        while (*end) end = &(*end)->next;
        *end = more;
    }
#ifdef Py_GIL_DISABLED
    for (size_t i = 0; i < t->n; i++) {
        xb_stash *s = t->stashes[i];
        if (!s) continue;
        xb_core *c = s->core;
        if (c->forks == xb_forks) {
            xb_lock(c);
            size_t n = 0;
            if (xb_ring_room(c, s->room) == 0)
                for (uint32_t k = s->room; k--;) {
                    PyObject *v = xctx_swap_ptr((void **)&s->slots[k], NULL);
                    if (v) { xb_ring_unpop(c, v); n++; }
                }
            xb_stash_unlink(s);
            if (n) xb_pick(c, n, &wake);
            xb_unlock(c);
        }
        xb_stash_free(s);
    }
    PyMem_RawFree(t->stashes);
    t->stashes = NULL;
    t->n = 0;
#endif
    PyMem_RawFree(t->fresh);
    t->fresh = NULL;
    t->room = 0;
    return wake;
}

/* The collector */

static Py_ssize_t xb_offset;  /* of the core's pointer in an executor */
static traverseproc xb_base_traverse;
static inquiry xb_base_clear;

static int xb_traverse(PyObject *self, visitproc visit, void *arg) {  /* the world stands still, or the GIL is held */
    xb_core *c = *(xb_core **)((char *)self + xb_offset);
    int result = xb_base_traverse(self, visit, arg);
    if (result || !c || c->forks != xb_forks) return result;
    for (size_t i = c->head; i != c->tail; i++) Py_VISIT(c->ring[i & c->mask]);
    for (size_t i = c->fresh_head; i < c->fresh_tail; i++) Py_VISIT(c->fresh[i]);
#ifdef Py_GIL_DISABLED
    for (xb_stash *s = c->stashes; s; s = s->next)
        for (uint32_t i = 0; i < s->room; i++) Py_VISIT(s->slots[i]);
#endif
    Py_VISIT(c->error);
    return 0;
}

static int xb_release(xb_core *c) {  /* drops what the core holds; finalisers may run */
    size_t n = 0;
    if (c->forks != xb_forks) return 0;
    PyObject **values = xb_drain(c, &n);
    if (!values) { PyErr_Clear(); return 0; }
    PyObject *error = xb_swap_error(c, NULL);
    while (n) { n--; Py_DECREF(values[n]); }
    PyMem_RawFree(values);
    Py_XDECREF(error);
    return 0;
}

static int xb_clear(PyObject *self) {
    xb_core *c = *(xb_core **)((char *)self + xb_offset);
    if (c) {
        xctx_store_int(&c->closed, 1);
        xb_release(c);
    }
    return xb_base_clear(self);
}

static void xb_collect(PyTypeObject *type, Py_ssize_t offset) {
    xb_offset = offset;
    xb_base_traverse = type->tp_traverse;
    xb_base_clear = type->tp_clear;
    type->tp_traverse = xb_traverse;
    type->tp_clear = xb_clear;
}

/* The `load` of either class, with the fast way in front of what Cython made of it: to unpack two arguments that are
 * not there costs as much as to take a value. Both classes have their core at xb_offset. */

typedef PyObject *(*xb_method)(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);
static xb_method xb_load_made[2];

static inline PyObject *xb_load(int which, PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) {
    if (XCTX_LIKELY(n == 0 && !names)) {
        PyObject *v = xb_pop(*(xb_core **)((char *)self + xb_offset));
        if (XCTX_LIKELY(v != NULL)) return v;
    }
    return xb_load_made[which](self, args, n, names);
}

static PyObject *xb_load_shared(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) {
    return xb_load(0, self, args, n, names);
}

static PyObject *xb_load_local(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) {
    return xb_load(1, self, args, n, names);
}

static int xb_shorten(PyObject *descriptor, int which) {  /* the method table is Cython's own, and not constant */
    PyMethodDef *method = ((PyMethodDescrObject *)descriptor)->d_method;
    if (!Py_IS_TYPE(descriptor, &PyMethodDescr_Type) || method->ml_flags != (METH_FASTCALL | METH_KEYWORDS)) return 0;
    xb_load_made[which] = (xb_method)(void (*)(void))method->ml_meth;
    method->ml_meth = (PyCFunction)(void (*)(void))(which ? xb_load_local : xb_load_shared);
    return 1;
}

/* Hands an owned reference over to Cython, which takes the result of a function to be one. */
static inline PyObject *xb_own(PyObject *v) { return v; }

#endif
