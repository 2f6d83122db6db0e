/* The batch buffer: where values lie between the source that made them and the caller that gets them.
 *
 *     source --fill--> fresh --publish--> ring --take--> caller
 *                                          |  ^
 *                                   a few  v  | the thread ends, the executor is closed
 *                                      thread cache --pop--> caller      (free-threaded builds only)
 *
 * - A value is a reference, and lies in one place at a time. It is moved from place to place, never copied, so no thread
 *   increments a count that others touch, and no value is handed out twice.
 * - `fresh` belongs to the one unit that fills, and only its thread touches it. Publishing moves what it holds.
 * - `ring` is a queue, first in, first out, guarded by `mutex`. Where there is a GIL, the GIL is the mutex.
 * - A thread cache is filled under the mutex, and robbed under it. Its own thread pops without the mutex: it exchanges the
 *   slot with NULL, and the exchange decides between the owner and a robber. The cache grows with its owner's use, so a
 *   thread never holds back more than it has taken so far. A thread that fills while nobody waits keeps its batch: those
 *   values live and die in one thread, which is what makes a free-threaded interpreter fast.
 * - No section under the mutex allocates objects, drops a reference or runs Python.
 * - A forked child starts with an empty buffer. The values that the parent will hand out are left where they lie, and are not
 *   released: a finaliser that ran in the child too might undo what the parent's values stand for. Each core and each
 *   thread's record notes the count of forks when it was made, and every operation compares that first.
 *
 *     core.c          makes, renews in a child and drops the buffer; the ring
 *     thread_cache.c  what a thread holds: its caches, the fills it is in the middle of
 *     waiters.c       the list of callers that wait
 *     fill.c          what a caller does next, filling, publishing
 *     object.c        the collector's view of an executor, and the fast way into `load`
 *     batch.pyx       the Python classes: runs the source, lets callers wait
 *
 * The caller of each function has an attached thread state and holds a reference to the executor. */
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
    size_t index;       /* never changes; at this index threads find their cache of this core */
    Py_ssize_t size;    /* never changes; how many values a batch has */
    size_t mark;        /* never changes; with so many values left, or fewer, a helper makes the next batch. 0: no helper */
    int forks;          /* the count of forks when the following fields were last reset. Atomic */
    intptr_t refs;      /* references of the executor, each thread cache and each fill. Atomic */
    xctx_mutex mutex;   /* guards all fields below; those called atomic are also read without it */

    int closed;         /* atomic; only ever goes to 1 */
    int refilling;      /* atomic; a helper was asked for and has not finished. Set under the mutex, cleared without */
    int hot;            /* atomic; how many threads have taken many values */
    int promoted;       /* atomic, and not guarded: two threads that promote an executor at once do no harm */

    PyObject **ring;    /* slots head..tail-1 are owned references; `mask` is the number of slots less one */
    size_t mask, head, tail;
    PyObject *error;    /* owned: what the source raised after the values in the buffer */

    xctx_queue waiters;   /* calls that wait */
    int due;            /* a caller that waited long was woken: no newcomer may fill before it */

    int filling;        /* atomic */
    uint64_t fill;      /* atomic; the number of the fill. A filler that finds another number knows that its fill was given up */
    BatchThread *filler;  /* the filler's thread, which gives up the fill when it ends */
    void *greenlet;     /* borrowed, only compared: a greenlet cannot die before its fill has ended */
    BatchCore *next_fill, **prev_fill;  /* in filler->fills; touched only by the filler's thread, not under the mutex */
    PyObject **fresh;   /* slots fresh_head..fresh_tail-1; touched only by the filler's thread, not under the mutex */
    size_t fresh_room, fresh_head, fresh_tail;

    uint64_t made, fills, waits, left;  /* values made, batches begun, calls that waited, values given back by close() */
    ThreadCache *caches;  /* the caches of all threads */
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
    uint32_t forks;         /* the count of forks when it was last reset */
    BatchCore *fills;       /* the cores that this thread is in the middle of filling */
    PyObject **fresh;       /* an array for the next fill: memory that this processor core has in its cache */
    size_t room;
    ThreadCache **caches;   /* by core->index */
    size_t n_caches;
};

/* This thread's record, or NULL before its first use and after the thread's end. */
static inline BatchThread *batch_thread(void) { return (BatchThread *)xctx_here()->batch; }

/* ---- a core's life --------------------------------------------------------------------------------------- */

/* Once, when the module is imported: says what a fork has to reset. */
void batch_setup(void);

/* A new core with one reference, or NULL where there is no memory. */
BatchCore *batch_core_new(Py_ssize_t size, size_t mark);
void batch_core_unref(BatchCore *c);

/* Lets a later core reuse the index of this one, which holds no values any more. */
void batch_core_give_index_back(BatchCore *c);

/* At a forked child's first use of this core: empties it, without releasing what it held. */
void batch_core_renew(BatchCore *c);

static inline int batch_core_is_current(BatchCore *c) { return (uint32_t)xctx_load_int(&c->forks) == xctx_fork_count(); }

static inline void batch_lock(BatchCore *c) {
    if (XCTX_UNLIKELY(!batch_core_is_current(c))) batch_core_renew(c);
    xctx_lock(&c->mutex);
}

static inline void batch_unlock(BatchCore *c) { xctx_unlock(&c->mutex); }

/* How many values have been made and not handed out. Under the mutex. */
size_t batch_held(BatchCore *c);

/* Takes all values out for good, the oldest first. The caller owns the array and the references; NULL with an error set
 * where there is no memory. */
PyObject **batch_drain(BatchCore *c, size_t *n);

/* Returns the last n of the values that a drain took out. Nothing fills a closed executor, so the ring still has the room. */
void batch_undrain(BatchCore *c, PyObject **values, size_t n);

/* Replaces the kept exception by another one, or NULL. The caller owns the result, and releases it without holding a lock. */
PyObject *batch_swap_error(BatchCore *c, PyObject *error);

/* Drops all that the core holds. Finalisers run. */
void batch_release(BatchCore *c);

/* ---- the ring, under the mutex --------------------------------------------------------------------------- */

/* Makes room for so many more. Negative where there is no memory. */
int batch_ring_reserve(BatchCore *c, size_t more);

static inline size_t batch_ring_length(BatchCore *c) { return c->tail - c->head; }
static inline PyObject *batch_ring_pop(BatchCore *c) { return c->ring[c->head++ & c->mask]; }
static inline void batch_ring_push(BatchCore *c, PyObject *v) { c->ring[c->tail++ & c->mask] = v; }

/* Returns a value to the front, so that the order of values stays the same. */
static inline void batch_ring_unpop(BatchCore *c, PyObject *v) { c->ring[--c->head & c->mask] = v; }

/* ---- taking: what nearly every load does ----------------------------------------------------------------- */

#ifdef Py_GIL_DISABLED
/* To be called by the owner. */
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

/* An owned reference; or NULL, with no exception, if no value lies ready. */
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
