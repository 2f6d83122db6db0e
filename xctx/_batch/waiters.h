/* The list of callers that wait for a core. waiting.pxi has the objects that wait, and wakes those that are picked here. */
#ifndef XCTX_BATCH_WAITERS_H
#define XCTX_BATCH_WAITERS_H

#include "xctx/_batch/core.h"

#if defined(__GNUC__)
#  pragma GCC visibility push(hidden)
#endif

/* One caller that waits; a part of the object that `owner` names. While it is linked the list holds a reference on the
 * object, which goes to the one that unlinks it. */
struct BatchWaiter {
    BatchWaiter *next, *prev;
    PyObject *owner;  /* never changes; borrowed from itself */
    int linked;       /* guarded by the core's mutex, as are `next` and `prev` */
    int hub;          /* never changes: it waits in a greenlet, so that its thread goes on meanwhile */
    uint32_t forks;   /* the count of forks when it was put in line: a child has another list */
    double since;     /* never changes: when its caller began to wait */
};

/* Under the mutex: puts a caller in line, in front if it has waited before. */
void batch_enqueue(BatchCore *c, BatchWaiter *w, int front);

/* Under the mutex: adds up to n waiters to a chain of those that the caller wakes once it holds no lock. */
void batch_pick_waiters(BatchCore *c, size_t n, BatchWaiter **chain);

/* Under the mutex. While there are waiters and nobody fills, one of them is always on its way, because each caller that
 * goes on picks the next. */
void batch_pass_on(BatchCore *c, BatchWaiter **wake);

/* A wait is over. Returns whether it was still in line; then the list's reference is the caller's. */
int batch_leave(BatchCore *c, BatchWaiter *w);

/* The same for a caller that was killed or interrupted: a wake-up that was meant for it goes to another. */
int batch_abandon(BatchCore *c, BatchWaiter *w, BatchWaiter **wake);

#if defined(__GNUC__)
#  pragma GCC visibility pop
#endif

#endif
