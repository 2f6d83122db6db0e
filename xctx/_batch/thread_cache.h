/* What a thread holds: the values that it took along, and the fills that it has not finished; thread_cache.c has the idea. */
#ifndef XCTX_BATCH_THREAD_CACHE_H
#define XCTX_BATCH_THREAD_CACHE_H

#include "xctx/_batch/core.h"

#if defined(__GNUC__)
#  pragma GCC visibility push(hidden)
#endif

#ifdef Py_GIL_DISABLED
/* This thread's cache, which is made if there is none, if it is empty. NULL if it holds a value, or if there is no memory,
 * which is no error. Under the mutex. */
ThreadCache *batch_cache_to_fill(BatchCore *c, BatchThread *t);

/* How many of n values in the ring this thread may take along. Counts them as taken. Under the mutex. */
size_t batch_cache_share(BatchCore *c, ThreadCache *cache, size_t n);

/* Puts a value into slot i of a cache that is being filled. Under the mutex. */
static inline void batch_cache_put(ThreadCache *cache, size_t i, PyObject *v) {
    xctx_store_ptr((void **)&cache->slots[i], v);
}
#endif

/* Takes one value, and on free-threaded builds a few more into the cache. NULL if there is none. Under the mutex. */
PyObject *batch_take(BatchCore *c, BatchThread *t);

/* Moves the values in all caches back to the front of the ring. Under the mutex. */
void batch_rob_caches(BatchCore *c);

/* In a forked child, for the thread that forked: forgets its caches, which are the parent's. */
void batch_thread_renew(BatchThread *t);

/* At the end of a thread: its values go back to the ring, and fills that it did not finish are given up. The result is a chain
 * of waiters to wake. A child calls this also for threads that a fork left behind; then it touches nothing. */
xctx_waiter *batch_thread_end(BatchThread *t);

#if defined(__GNUC__)
#  pragma GCC visibility pop
#endif

#endif
