/* The queue of callers that wait for a core; see waiters.h. */
#include "xctx/_batch/waiters.h"

/* Seconds: once a caller has waited for longer, newcomers do not overtake it. */
#define LONG_WAIT 0.001

void batch_pick_waiters(BatchCore *c, size_t n, xctx_waiter **chain) {
    if (!c->waiters.first) return;
    if (xctx_monotonic() - c->waiters.first->since > LONG_WAIT) c->due = 1;
    xctx_queue_pick(&c->waiters, n, chain);
}

void batch_pass_on(BatchCore *c, xctx_waiter **wake) {
    if (c->waiters.first && (!c->filling || batch_ring_length(c) || c->closed || c->error)) batch_pick_waiters(c, 1, wake);
}

/* Under the mutex. */
static int take_out_of_line(BatchCore *c, xctx_waiter *w) {
    if (w->forks != xctx_fork_count() || !w->linked) return 0;
    xctx_queue_remove(&c->waiters, w);
    return 1;
}

int batch_leave(BatchCore *c, xctx_waiter *w) {
    batch_lock(c);
    int linked = take_out_of_line(c, w);
    batch_unlock(c);
    return linked;
}

int batch_abandon(BatchCore *c, xctx_waiter *w, xctx_waiter **wake) {
    *wake = NULL;
    batch_lock(c);
    int linked = take_out_of_line(c, w);
    c->due = 0;
    batch_pass_on(c, wake);
    batch_unlock(c);
    return linked;
}
