/* What a thread holds: the values it took along, and the fills it is in the middle of; thread_cache.c has the idea. */
#ifndef XCTX_BATCH_THREAD_CACHE_H
#define XCTX_BATCH_THREAD_CACHE_H

#include "xctx/_batch/core.h"

#if defined(__GNUC__)
#  pragma GCC visibility push(hidden)
#endif

#ifdef Py_GIL_DISABLED
/* This thread's cache, made when it is needed, and empty: NULL where it holds something, or where there is no memory,
 * which is no error. Under the mutex. */
ThreadCache *batch_cache_to_fill(BatchCore *c, BatchThread *t);

/* How many of n values that lie there this thread may take along. Counts them as taken. Under the mutex. */
size_t batch_cache_share(BatchCore *c, ThreadCache *cache, size_t n);

/* Puts a value into slot i of a cache that is being filled. Under the mutex. */
static inline void batch_cache_put(ThreadCache *cache, size_t i, PyObject *v) {
    xctx_store_ptr((void **)&cache->slots[i], v);
}
#endif

/* Takes one value, and on free-threaded builds a few more along. NULL where there is none. Under the mutex. */
PyObject *batch_take(BatchCore *c, BatchThread *t);

/* Moves what the threads hold back to the front of the ring. Under the mutex. */
void batch_rob_caches(BatchCore *c);

/* In a forked child, for the thread that forked: its caches are the parent's. */
void batch_thread_renew(BatchThread *t);

/* The end of a thread: its values go back, and a fill that it never came back to is given up. The result is a chain of
 * waiters to wake. The child also calls this for the threads that a fork left behind; then it touches nothing. */
xctx_waiter *batch_thread_end(BatchThread *t);

#if defined(__GNUC__)
#  pragma GCC visibility pop
#endif

#endif
