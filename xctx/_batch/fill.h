/* Filling: what a caller does next, running a source of values, publishing what it made. fill.c has the idea. */
#ifndef XCTX_BATCH_FILL_H
#define XCTX_BATCH_FILL_H

#include "xctx/_batch/core.h"

#if defined(__GNUC__)
#  pragma GCC visibility push(hidden)
#endif

/* What a caller that found nothing does next. */
typedef enum {
    BATCH_VALUE,    /* it gets a value after all */
    BATCH_ERROR,    /* it gets the exception that was kept */
    BATCH_CLOSED,   /* it raises, because the executor is closed */
    BATCH_FILL,     /* it is the filler now */
    BATCH_INNER,    /* it is inside the source of the fill that it would wait for */
    BATCH_SIBLING,  /* it is in another greenlet of the filler's thread, and cannot wait without stopping that thread */
    BATCH_WAIT      /* it waits; if it came with a waiter, that is in the queue now */
} BatchStep;

/* Decides what the caller does next. If it has to wait and has a waiter, that is put into the queue: in front if the caller
 * has `waited` before. With `rob` it takes values from the caches of other threads rather than wait. *value is owned. *wake is
 * a chain of waiters to wake. */
BatchStep batch_next_step(BatchCore *c, BatchThread *t, void *greenlet, xctx_waiter *w, int waited, int rob,
                          PyObject **value, xctx_waiter **wake);

/* Whether the fill with this number goes on. A source may run for long, and find that its fill was given up meanwhile. */
static inline int batch_fill_is_current(BatchCore *c, uint64_t fill) {
    return batch_core_is_current(c) && xctx_load_u64(&c->fill) == fill;
}

/* Calls a source of values until the batch is full, the executor is closed, or this fill was given up. In the last case the
 * latest value goes to the ring, and the caller has to wake *wake. Anything may happen in a call. */
int batch_fill_from(BatchCore *c, PyObject *source, uint64_t fill, xctx_waiter **wake);

/* Both take over the reference to v. The first adds it to the fresh values of the fill, the second to the ring. */
int batch_keep(BatchCore *c, PyObject *v);
int batch_add(BatchCore *c, PyObject *v, xctx_waiter **wake);

/* A fresh value for a load from inside the source, in the filler's thread; or NULL. */
PyObject *batch_fresh_pop(BatchCore *c);

/* Moves the fresh values to where callers find them, and ends the fill, if it is still the one with this number. With `own` the
 * first value is returned, for the filler itself. *error is owned. If a value comes before the exception, it belongs to another
 * caller: then it is kept in the core, and *error set to NULL. */
PyObject *batch_publish(BatchCore *c, BatchThread *t, uint64_t fill, int own, PyObject **error, xctx_waiter **wake);

/* Ends the fill, under the mutex, in the filler's thread, when nothing fresh is left. */
void batch_end_fill(BatchCore *c);

/* Takes back a value that could not be handed to its caller. Takes over the reference. */
void batch_return_value(BatchCore *c, PyObject *v);

/* Whether few values are left and no unit refills the buffer. If so, `refilling` is set, and the caller must arrange a refill. */
int batch_claim_refill(BatchCore *c);

/* Makes a helper, for which a refill was claimed, the filler. Returns 0 if another unit fills by now, or values have come. */
int batch_refill_step(BatchCore *c, BatchThread *t, void *greenlet);

/* Whether so few values are left that the helper makes another batch. */
int batch_is_low(BatchCore *c);

/* Waits without sleeping for a fill that takes a few microseconds on another processor core. */
void batch_spin(BatchCore *c);

#if defined(__GNUC__)
#  pragma GCC visibility pop
#endif

#endif
