/* A core's life: how it is made, renewed in a forked child, emptied and freed; and its ring. core.h has the idea. */
#include "xctx/_batch/core.h"
#include "xctx/_batch/fill.h"
#include "xctx/_batch/thread_cache.h"

/* ---- ids and indices: state of the process --------------------------------------------------------------- */

static xctx_mutex global_mutex;  /* guards the next four, and the renewal of a core in a child */
static uint64_t last_id;
static size_t n_indices;         /* how many indices were ever in use at once */
static size_t *free_indices;
static size_t n_free, free_room;

/* In the child, with one thread, maybe inside a signal handler: stores to memory only. */
static void forget_global_mutex(void) { memset(&global_mutex, 0, sizeof global_mutex); }

void batch_setup(void) { xctx_at_fork(XCTX_FORK_BATCHES, NULL, NULL, forget_global_mutex); }

void batch_core_give_index_back(BatchCore *c) {
    xctx_lock(&global_mutex);
    if (n_free == free_room) {
        size_t room = free_room ? free_room * 2 : 16;
        size_t *indices = PyMem_RawRealloc(free_indices, room * sizeof *indices);
        if (indices) { free_indices = indices; free_room = room; }
    }
    if (n_free < free_room) free_indices[n_free++] = c->index;  /* without memory the index is not used again */
    xctx_unlock(&global_mutex);
}

/* ---- cores ----------------------------------------------------------------------------------------------- */

BatchCore *batch_core_new(Py_ssize_t size, size_t mark) {
    BatchCore *c = PyMem_RawCalloc(1, sizeof *c);
    if (!c) return NULL;
    xctx_lock(&global_mutex);
    c->id = ++last_id;
    c->index = n_free ? free_indices[--n_free] : n_indices++;
    xctx_unlock(&global_mutex);
    c->size = size;
    c->mark = mark;
    c->forks = (int)xctx_fork_count();
    c->refs = 1;
    return c;
}

void batch_core_unref(BatchCore *c) {
    if (xctx_add(&c->refs, -1) == 0) {  /* the executor is gone, and so are its values */
        PyMem_RawFree(c->ring);
        PyMem_RawFree(c->fresh);
        PyMem_RawFree(c);
    }
}

void batch_core_renew(BatchCore *c) {
    xctx_lock(&global_mutex);
    if (!batch_core_is_current(c)) {
        memset(&c->mutex, 0, sizeof c->mutex);
        c->fresh_head = c->fresh_tail = 0;
        if (c->filler && c->filler == batch_thread()) batch_end_fill(c);  /* the fork happened in the source */
        c->next_fill = NULL;
        c->prev_fill = NULL;
        c->filler = NULL;
        c->greenlet = NULL;
        xctx_store_int(&c->filling, 0);
        xctx_next_u64(&c->fill);
        c->ring = c->fresh = NULL;
        c->mask = c->head = c->tail = c->fresh_room = c->fresh_head = c->fresh_tail = 0;
        c->error = NULL;
        memset(&c->waiters, 0, sizeof(c->waiters));
        c->due = 0;
        xctx_store_int(&c->refilling, 0);
        c->caches = NULL;
        c->made = c->fills = c->waits = c->left = 0;
        xctx_store_int(&c->forks, (int)xctx_fork_count());  /* last: others compare it without the lock */
    }
    xctx_unlock(&global_mutex);
}

size_t batch_held(BatchCore *c) {
    size_t n = batch_ring_length(c);
#ifdef Py_GIL_DISABLED
    for (ThreadCache *cache = c->caches; cache; cache = cache->next)
        for (uint32_t i = 0; i < cache->room; i++) n += xctx_load_ptr((void **)&cache->slots[i]) != NULL;
#endif
    return n;
}

PyObject **batch_drain(BatchCore *c, size_t *n) {
    PyObject **values;
    batch_lock(c);
    batch_rob_caches(c);
    *n = batch_ring_length(c);
    values = PyMem_RawMalloc((*n + 1) * sizeof *values);
    if (values) {
        for (size_t i = 0; i < *n; i++) values[i] = batch_ring_pop(c);
        c->left += *n;
    }
    batch_unlock(c);
    if (!values) PyErr_NoMemory();
    return values;
}

void batch_undrain(BatchCore *c, PyObject **values, size_t n) {
    batch_lock(c);
    for (size_t i = n; i > 0; i--) batch_ring_unpop(c, values[i - 1]);
    c->left -= n;
    batch_unlock(c);
}

PyObject *batch_swap_error(BatchCore *c, PyObject *error) {
    batch_lock(c);
    PyObject *old = c->error;
    c->error = error;
    batch_unlock(c);
    return old;
}

void batch_release(BatchCore *c) {
    size_t n = 0;
    if (!batch_core_is_current(c)) return;  /* the parent's values */
    PyObject **values = batch_drain(c, &n);
    if (!values) { PyErr_Clear(); return; }
    PyObject *error = batch_swap_error(c, NULL);
    while (n) { n--; Py_DECREF(values[n]); }
    PyMem_RawFree(values);
    Py_XDECREF(error);
}

/* ---- the ring -------------------------------------------------------------------------------------------- */

int batch_ring_reserve(BatchCore *c, size_t more) {
    size_t n = batch_ring_length(c), room = c->ring ? c->mask + 1 : 0;
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
