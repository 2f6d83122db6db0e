/* The batch buffer: where values lie between the source that made them and the caller that gets them.
 *
 *     source --fill--> fresh --publish--> ring --take--> caller
 *                                          |  ^
 *                                   a few  v  | the thread ends, the executor is closed
 *                                      thread cache --pop--> caller      (free-threaded builds only)
 *
 * - A value is a reference that has one place. It leaves a place by being moved, never by being copied, so no thread
 *   increments a count that others touch, and no value is handed out twice.
 * - `fresh` belongs to the one unit that fills, and only its thread touches it. Publishing moves what it holds.
 * - `ring` is a queue, first in, first out, guarded by `mutex`. Where there is a GIL, the GIL is the mutex.
 * - A thread cache is filled under the mutex, and robbed under it. Its own thread pops without the mutex: it exchanges the
 *   slot with NULL, and the exchange decides between the owner and a robber. The cache grows with its owner's use, so a
 *   thread never holds back more than it has taken so far. A thread that fills while nobody waits keeps its batch: those
 *   values live and die in one thread, which is what makes a free-threaded interpreter fast.
 * - No section under the mutex allocates objects, drops a reference or runs Python.
 * - A forked child starts with an empty buffer. What the parent still hands out is left where it lies, unreleased: a
 *   finaliser that ran in the child too would undo the parent's values. Each core and each thread's record notes the count
 *   of forks when it was made, and every entry compares.
 *
 *     core.c          makes, renews in a child and drops the buffer; the ring
 *     thread_cache.c  what a thread holds: its caches, the fills it is in the middle of
 *     waiters.c       the list of callers that wait
 *     fill.c          what a caller does next, filling, publishing
 *     object.c        the collector's view of an executor, and the fast way into `load`
 *     batch.pyx       the Python classes: runs the source, lets callers wait
 *
 * The caller of each function has an attached thread state, and a reference on the executor. */
#ifndef XCTX_BATCH_CORE_H
#define XCTX_BATCH_CORE_H

#include "xctx/_runtime/parking.h"
#include "xctx/_runtime/state.h"

/* Only this extension uses the names below. Hidden ones are reached directly, without the dynamic linker's tables. */
#if defined(__GNUC__)
#  pragma GCC visibility push(hidden)
#endif

/* ---- layout ---------------------------------------------------------------------------------------------- */

typedef struct BatchCore BatchCore;
typedef struct ThreadCache ThreadCache;
typedef struct BatchThread BatchThread;

struct BatchCore {
    uint64_t id;        /* never changes, and no later core gets it */
    size_t index;       /* never changes; where threads find their cache of this core */
    Py_ssize_t size;    /* never changes; how many values a batch has */
    size_t mark;        /* never changes; with so many values left, or fewer, a helper makes the next batch */
    int forks;          /* the count of forks when the rest was last made anew. Atomic */
    intptr_t refs;      /* of the executor, each thread cache, each fill. Atomic */
    xctx_mutex mutex;   /* guards all fields below; those called atomic are also read without it */

    int closed;         /* atomic; only ever goes to 1 */
    int refilling;      /* atomic; a helper was asked for and has not finished. Set under the mutex, cleared without */
    int hot;            /* atomic; how many threads have taken many values */
    int promoted;       /* atomic, and not guarded: two threads that promote an executor at once do no harm */

    PyObject **ring;    /* slots head..tail-1 are owned references; `mask` is the number of slots less one */
    size_t mask, head, tail;
    PyObject *error;    /* owned: what the source raised after the values in the buffer */

    xctx_queue waiters;   /* calls that wait */
    int due;            /* a caller that waited long was woken: the next to fill is not a newcomer */

    int filling;        /* atomic */
    uint64_t fill;      /* atomic; the number of the fill. A filler that finds another number has been given up */
    BatchThread *filler;  /* the filler's thread, which gives the fill up when it ends */
    void *greenlet;     /* borrowed, only compared: a greenlet cannot die before its fill has ended */
    BatchCore *next_fill, **prev_fill;  /* in filler->fills; touched only by the filler's thread, not under the mutex */
    PyObject **fresh;   /* slots fresh_head..fresh_tail-1; touched only by the filler's thread, not under the mutex */
    size_t fresh_room, fresh_head, fresh_tail;

    uint64_t made, fills, waits, left;  /* values made, batches begun, calls that waited, values given back by close() */
    ThreadCache *caches;
};

/* The values of one core that one thread took along. */
struct ThreadCache {
    uint64_t id;         /* of the core; never changes */
    BatchCore *core;     /* a counted reference; never changes */
    uint32_t room;       /* never changes */
    uint32_t chunk;      /* how many to take along next time; this and the next three are the owner's only */
    uint32_t head, tail;
    size_t taken;        /* how many the owner has taken along so far */
    ThreadCache *next, **prev;  /* in core->caches, guarded by the core's mutex */
    PyObject *slots[];   /* owned references or NULL; atomic */
};

/* What one thread holds. Only that thread touches it. */
struct BatchThread {
    uint32_t forks;         /* the count of forks when it was last made anew */
    BatchCore *fills;       /* the cores that this thread is in the middle of filling */
    PyObject **fresh;       /* room for the next fill. Memory that another core wrote would have to travel */
    size_t room;
    ThreadCache **caches;   /* by core->index */
    size_t n_caches;
};

/* This thread's record, or NULL before its first use and after the thread's end. */
static inline BatchThread *batch_thread(void) { return (BatchThread *)xctx_here()->batch; }

/* ---- a core's life --------------------------------------------------------------------------------------- */

/* Once, when the module is imported: what a fork has to reset. */
void batch_setup(void);

/* A new core with one reference, or NULL where there is no memory. */
BatchCore *batch_core_new(Py_ssize_t size, size_t mark);
void batch_core_unref(BatchCore *c);

/* Lets a later core have the index of one whose values are gone. */
void batch_core_give_index_back(BatchCore *c);

/* A forked child's first touch of this core: empties it, and leaves what it held unreleased. */
void batch_core_renew(BatchCore *c);

static inline int batch_core_is_current(BatchCore *c) { return (uint32_t)xctx_load_int(&c->forks) == xctx_fork_count(); }

static inline void batch_lock(BatchCore *c) {
    if (XCTX_UNLIKELY(!batch_core_is_current(c))) batch_core_renew(c);
    xctx_lock(&c->mutex);
}

static inline void batch_unlock(BatchCore *c) { xctx_unlock(&c->mutex); }

/* How many values are made and not handed out. Under the mutex. */
size_t batch_held(BatchCore *c);

/* Takes all values out for good, the oldest first. The caller owns the array and the references; NULL with an error set
 * where there is no memory. */
PyObject **batch_drain(BatchCore *c, size_t *n);

/* Puts an exception, or NULL, in the place of the kept one. The caller owns what it gets, and drops it without a lock. */
PyObject *batch_swap_error(BatchCore *c, PyObject *error);

/* Drops all that the core holds. Finalisers run. */
void batch_release(BatchCore *c);

/* ---- the ring, under the mutex --------------------------------------------------------------------------- */

/* Makes room for so many more. Negative where there is no memory. */
int batch_ring_reserve(BatchCore *c, size_t more);

static inline size_t batch_ring_length(BatchCore *c) { return c->tail - c->head; }
static inline PyObject *batch_ring_pop(BatchCore *c) { return c->ring[c->head++ & c->mask]; }
static inline void batch_ring_push(BatchCore *c, PyObject *v) { c->ring[c->tail++ & c->mask] = v; }

/* To the front, so that the order of values survives their return. */
static inline void batch_ring_unpop(BatchCore *c, PyObject *v) { c->ring[--c->head & c->mask] = v; }

/* ---- taking: how nearly every load ends ------------------------------------------------------------------ */

#ifdef Py_GIL_DISABLED
/* By the owner. */
static inline PyObject *batch_cache_pop(ThreadCache *cache) {
    while (cache->head < cache->tail) {
        PyObject *v = xctx_swap_ptr((void **)&cache->slots[cache->head++], NULL);
        if (v) return v;
    }
    return NULL;
}

/* This thread's cache of a core, or NULL. */
static inline ThreadCache *batch_cache_of(BatchCore *c, BatchThread *t) {
    ThreadCache *cache = c->index < t->n_caches ? t->caches[c->index] : NULL;
    return cache && cache->id == c->id ? cache : NULL;
}
#endif

/* An owned reference, or NULL with nothing raised where the value has to be had the slow way. */
static inline PyObject *batch_pop(BatchCore *c) {
#ifdef Py_GIL_DISABLED
    BatchThread *t = batch_thread();
    if (XCTX_LIKELY(t && t->forks == xctx_fork_count())) {
        ThreadCache *cache = batch_cache_of(c, t);
        if (XCTX_LIKELY(cache != NULL)) return batch_cache_pop(cache);
    }
#else
    if (XCTX_LIKELY(batch_ring_length(c) > c->mark && batch_core_is_current(c))) return batch_ring_pop(c);
#endif
    return NULL;
}

#if defined(__GNUC__)
#  pragma GCC visibility pop
#endif

#endif
