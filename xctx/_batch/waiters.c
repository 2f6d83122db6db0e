/* The list of callers that wait for a core; see waiters.h. */
#include "xctx/_batch/waiters.h"

/* Seconds of waiting after which newcomers do not overtake any more. */
#define LONG_WAIT 0.001

static void unlink_waiter(BatchCore *c, BatchWaiter *w) {
    if (w->prev) w->prev->next = w->next; else c->first = w->next;
    if (w->next) w->next->prev = w->prev; else c->last = w->prev;
    w->next = w->prev = NULL;
    w->linked = 0;
    c->waiting--;
}

void batch_enqueue(BatchCore *c, BatchWaiter *w, int front) {
    w->linked = 1;
    w->forks = xctx_fork_count();
    w->next = front ? c->first : NULL;
    w->prev = front ? NULL : c->last;
    if (w->prev) w->prev->next = w; else c->first = w;
    if (w->next) w->next->prev = w; else c->last = w;
    c->waiting++;
    Py_INCREF(w->owner);
}

void batch_pick_waiters(BatchCore *c, size_t n, BatchWaiter **chain) {
    if (!c->first) return;
    while (*chain) chain = &(*chain)->next;
    if (xctx_monotonic() - c->first->since > LONG_WAIT) c->due = 1;
    while (n-- && c->first) {
        BatchWaiter *w = c->first;
        unlink_waiter(c, w);
        *chain = w;
        chain = &w->next;
    }
}

void batch_pass_on(BatchCore *c, BatchWaiter **wake) {
    if (c->first && (!c->filling || batch_ring_length(c) || c->closed || c->error)) batch_pick_waiters(c, 1, wake);
}

/* Under the mutex. */
static int take_out_of_line(BatchCore *c, BatchWaiter *w) {
    if (w->forks != xctx_fork_count() || !w->linked) return 0;
    unlink_waiter(c, w);
    return 1;
}

int batch_leave(BatchCore *c, BatchWaiter *w) {
    batch_lock(c);
    int linked = take_out_of_line(c, w);
    batch_unlock(c);
    return linked;
}

int batch_abandon(BatchCore *c, BatchWaiter *w, BatchWaiter **wake) {
    *wake = NULL;
    batch_lock(c);
    int linked = take_out_of_line(c, w);
    c->due = 0;
    batch_pass_on(c, wake);
    batch_unlock(c);
    return linked;
}
