/* Filling: what a caller does next, running a source of values, publishing what it made. fill.c has the idea. */
#ifndef XCTX_BATCH_FILL_H
#define XCTX_BATCH_FILL_H

#include "xctx/_batch/core.h"

#if defined(__GNUC__)
#  pragma GCC visibility push(hidden)
#endif

/* What a caller that found nothing does next. */
typedef enum {
    BATCH_VALUE,    /* it has got a value after all */
    BATCH_ERROR,    /* it has got the exception that was kept */
    BATCH_CLOSED,   /* it raises: the executor is closed */
    BATCH_FILL,     /* it is the filler now */
    BATCH_INNER,    /* it is inside the source of the fill that it would wait for */
    BATCH_SIBLING,  /* it is in another greenlet of the filler's thread, and cannot wait without stopping that thread */
    BATCH_WAIT      /* it waits; it is in line, if it came with a waiter */
} BatchStep;

/* With a waiter the caller is put in line where it has to wait: in front if it has `waited` before. With `rob` it would
 * rather take from other threads than wait. *value is owned. *wake is a chain of waiters to wake. */
BatchStep batch_next_step(BatchCore *c, BatchThread *t, void *greenlet, xctx_waiter *w, int waited, int rob,
                          PyObject **value, xctx_waiter **wake);

/* Whether the fill with this number goes on. A source may run for long, and find that its fill was given up meanwhile. */
static inline int batch_fill_is_current(BatchCore *c, uint64_t fill) {
    return batch_core_is_current(c) && xctx_load_u64(&c->fill) == fill;
}

/* Calls a source of values until the batch is full, the executor is closed, or this fill was given up; in the last case
 * the value in hand goes to the ring, and *wake is to be woken. Anything may happen in a call. */
int batch_fill_from(BatchCore *c, PyObject *source, uint64_t fill, xctx_waiter **wake);

/* Both consume the reference to v: to the fresh values of the fill, or straight to the ring. */
int batch_keep(BatchCore *c, PyObject *v);
int batch_add(BatchCore *c, PyObject *v, xctx_waiter **wake);

/* A fresh value for a load from inside the source, in the filler's thread; or NULL. */
PyObject *batch_fresh_pop(BatchCore *c);

/* Moves the fresh values on and ends the fill, if it is still the one with this number. With `own` the first value is
 * returned, for the filler's caller. *error is owned; it is kept, and set to NULL, where a value comes before it, because
 * then it is another caller's. */
PyObject *batch_publish(BatchCore *c, BatchThread *t, uint64_t fill, int own, PyObject **error, xctx_waiter **wake);

/* Ends the fill, under the mutex, in the filler's thread, when nothing fresh is left. */
void batch_end_fill(BatchCore *c);

/* Takes a value that could not be handed to its caller. Consumes the reference. */
void batch_return_value(BatchCore *c, PyObject *v);

/* Whether values are few and nobody sees to it; then the caller does, and `refilling` says so. */
int batch_claim_refill(BatchCore *c);

/* Whether a helper that has claimed it becomes the filler: somebody else may be, or values may have come. */
int batch_refill_step(BatchCore *c, BatchThread *t, void *greenlet);

/* Whether so few values are left that a helper goes on. */
int batch_is_low(BatchCore *c);

/* Spares a sleep where a fill takes a few microseconds and runs on another core. */
void batch_spin(BatchCore *c);

#if defined(__GNUC__)
#  pragma GCC visibility pop
#endif

#endif
