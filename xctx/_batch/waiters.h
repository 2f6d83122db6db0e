/* Which of the callers that wait for a core are woken. _runtime/parking.pyx lets them wait, and wakes them. */
#ifndef XCTX_BATCH_WAITERS_H
#define XCTX_BATCH_WAITERS_H

#include "xctx/_batch/core.h"

#if defined(__GNUC__)
#  pragma GCC visibility push(hidden)
#endif

/* Under the mutex: adds up to n waiters to a chain of those that the caller wakes once it holds no lock. */
void batch_pick_waiters(BatchCore *c, size_t n, xctx_waiter **chain);

/* Under the mutex: picks the next waiter if there is something for it to do. Each caller that goes on calls this, so while there
 * are waiters and no unit fills, one of them has always been woken. */
void batch_pass_on(BatchCore *c, xctx_waiter **wake);

/* At the end of a wait. Returns whether the waiter was still in the queue; then the queue's reference is the caller's. */
int batch_leave(BatchCore *c, xctx_waiter *w);

/* The same for a caller that was killed or interrupted: a wake-up that was meant for it goes to another waiter. */
int batch_abandon(BatchCore *c, xctx_waiter *w, xctx_waiter **wake);

#if defined(__GNUC__)
#  pragma GCC visibility pop
#endif

#endif
