/* Thread caches, and the end of a thread.
 *
 * On free-threaded builds every thread keeps a few values of each executor that it loads from, so that most loads touch
 * nothing that another thread touches. The first time a thread takes one value along, each later time twice as many, up to
 * CACHE_ROOM. With a GIL there is nothing to gain, so there are no caches. */
#include "xctx/_batch/thread_cache.h"
#include "xctx/_batch/fill.h"
#include "xctx/_batch/waiters.h"

#ifdef Py_GIL_DISABLED

#define CACHE_ROOM 256
#define MANY 16384  /* a thread that has taken so many values makes its executor hot */

/* ---- making and freeing ---------------------------------------------------------------------------------- */

static void unlink_cache(ThreadCache *cache) {  /* under its core's mutex */
    *cache->prev = cache->next;
    if (cache->next) cache->next->prev = cache->prev;
}

/* Frees a cache that is empty, and unlinked or of a core that is dead. */
static void free_cache(ThreadCache *cache) {
    batch_core_unref(cache->core);
    PyMem_RawFree(cache);
}

static ThreadCache *make_cache(BatchCore *c, BatchThread *t) {
    if (c->index >= t->n_caches) {
        size_t n = t->n_caches ? t->n_caches : 8;
        while (n <= c->index) n *= 2;
        ThreadCache **caches = PyMem_RawRealloc(t->caches, n * sizeof *caches);
        if (!caches) return NULL;
        memset(caches + t->n_caches, 0, (n - t->n_caches) * sizeof *caches);
        t->caches = caches;
        t->n_caches = n;
    }
    ThreadCache *cache = t->caches[c->index];
    if (cache) {  /* it is of a core that gave its index back, so that core is dead, and its caches are empty */
        xctx_lock(&cache->core->mutex);  /* a second mutex; but no thread that holds that one waits for another mutex */
        unlink_cache(cache);
        xctx_unlock(&cache->core->mutex);
        free_cache(cache);
    }
    size_t room = c->size < CACHE_ROOM ? (size_t)c->size : CACHE_ROOM;
    cache = PyMem_RawCalloc(1, sizeof *cache + room * sizeof(PyObject *));
    t->caches[c->index] = cache;
    if (!cache) return NULL;
    cache->id = c->id;
    cache->core = c;
    xctx_add(&c->refs, 1);
    cache->room = (uint32_t)room;
    cache->chunk = 1;
    cache->prev = &c->caches;
    cache->next = c->caches;
    if (cache->next) cache->next->prev = &cache->next;
    c->caches = cache;
    return cache;
}

/* ---- filling and robbing --------------------------------------------------------------------------------- */

ThreadCache *batch_cache_to_fill(BatchCore *c, BatchThread *t) {
    ThreadCache *cache = batch_cache_of(c, t);
    if (!cache) cache = make_cache(c, t);
    return cache && cache->head >= cache->tail ? cache : NULL;
}

size_t batch_cache_share(BatchCore *c, ThreadCache *cache, size_t n) {
    size_t k = cache->chunk, fair = (n + c->waiters.count) / (1 + c->waiters.count);
    if (k > fair) k = fair;
    cache->taken += k;
    if (cache->taken >= MANY && cache->taken - k < MANY) xctx_store_int(&c->hot, c->hot + 1);
    cache->chunk = cache->chunk * 2 <= cache->room ? cache->chunk * 2 : cache->room;
    cache->head = 0;
    cache->tail = (uint32_t)k;
    return k;
}

PyObject *batch_take(BatchCore *c, BatchThread *t) {
    ThreadCache *cache = batch_cache_of(c, t);
    PyObject *v = cache ? batch_cache_pop(cache) : NULL;
    size_t n = batch_ring_length(c);
    if (v || !n) return v;
    v = batch_ring_pop(c);
    if (n > 1 && (cache = batch_cache_to_fill(c, t))) {
        size_t k = batch_cache_share(c, cache, n - 1);
        for (size_t i = 0; i < k; i++) batch_cache_put(cache, i, batch_ring_pop(c));
    }
    return v;
}

/* Moves the values in a cache to the front of the ring, which has room. Returns how many they were. */
static size_t rob_cache(BatchCore *c, ThreadCache *cache) {
    size_t n = 0;
    for (uint32_t i = cache->room; i--;) {
        PyObject *v = xctx_swap_ptr((void **)&cache->slots[i], NULL);
        if (v) { batch_ring_unpop(c, v); n++; }
    }
    return n;
}

void batch_rob_caches(BatchCore *c) {
    size_t n = 0;
    for (ThreadCache *cache = c->caches; cache; cache = cache->next) n += cache->room;
    if (!n || batch_ring_reserve(c, n) < 0) return;
    for (ThreadCache *cache = c->caches; cache; cache = cache->next) rob_cache(c, cache);
}

#else

PyObject *batch_take(BatchCore *c, BatchThread *Py_UNUSED(t)) { return batch_ring_length(c) ? batch_ring_pop(c) : NULL; }

void batch_rob_caches(BatchCore *Py_UNUSED(c)) {}

#endif

/* ---- threads --------------------------------------------------------------------------------------------- */

void batch_thread_renew(BatchThread *t) {
    t->forks = xctx_fork_count();
    t->caches = NULL;
    t->n_caches = 0;
}

xctx_waiter *batch_thread_end(BatchThread *t) {
    xctx_waiter *wake = NULL;
    if (batch_thread() == t) xctx_here()->batch = NULL;
    if (t->forks != xctx_fork_count()) return NULL;
    while (t->fills) {
        BatchCore *c = t->fills;
        PyObject *no_error = NULL;
        xctx_waiter *more = NULL, **end = &wake;
        if (!batch_core_is_current(c) || c->filler != t) break;  /* a list from before the fork */
        xctx_add(&c->refs, 1);
        batch_publish(c, t, xctx_load_u64(&c->fill), 0, &no_error, &more);
        batch_core_unref(c);
        while (*end) end = &(*end)->next_chosen;
        *end = more;
    }
#ifdef Py_GIL_DISABLED
    for (size_t i = 0; i < t->n_caches; i++) {
        ThreadCache *cache = t->caches[i];
        if (!cache) continue;
        BatchCore *c = cache->core;
        if (batch_core_is_current(c)) {
            batch_lock(c);
            size_t n = batch_ring_reserve(c, cache->room) == 0 ? rob_cache(c, cache) : 0;
            unlink_cache(cache);
            if (n) batch_pick_waiters(c, n, &wake);
            batch_unlock(c);
        }
        free_cache(cache);
    }
    PyMem_RawFree(t->caches);
    t->caches = NULL;
    t->n_caches = 0;
#endif
    PyMem_RawFree(t->fresh);
    t->fresh = NULL;
    t->room = 0;
    return wake;
}
