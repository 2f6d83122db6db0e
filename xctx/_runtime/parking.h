/* Queues of waiters, as parking.pyx explains them: what is done to a queue under the lock that guards it. */
#ifndef XCTX_PARKING_H
#define XCTX_PARKING_H

#include "xctx/_runtime/cpython.h"
#include "xctx/_runtime/state.h"

/* One unit that waits; part of the Waiter object `owner`. The lock that guards its queue guards all fields that change. */
typedef struct xctx_waiter {
    struct xctx_waiter *next, *prev;    /* in the queue */
    struct xctx_waiter *next_chosen;    /* in the chain of one waker */
    PyObject *owner;                    /* never changes */
    int linked;                         /* it is in a queue, which owns a reference to the owner */
    int chosen;                         /* a waker is about to wake it, and owns another reference */
    int parked;                         /* it sleeps, or is about to, so others may look for it at what it waits for */
    int in_hub;                         /* never changes: a greenlet waits, so its thread goes on meanwhile */
    uint32_t forks;                     /* the count of forks when it was put into the queue: a child has other queues */
    double since;                       /* when it began to wait, by xctx_monotonic, if the room needs that */
} xctx_waiter;

typedef struct {
    xctx_waiter *first, *last;
    size_t count;
} xctx_queue;

static inline void xctx_queue_add(xctx_queue *queue, xctx_waiter *waiter, int in_front) {
    waiter->linked = 1;
    waiter->forks = xctx_fork_count();
    waiter->next = in_front ? queue->first : NULL;
    waiter->prev = in_front ? NULL : queue->last;
    if (waiter->prev) waiter->prev->next = waiter;
    else queue->first = waiter;
    if (waiter->next) waiter->next->prev = waiter;
    else queue->last = waiter;
    queue->count++;
    Py_INCREF(waiter->owner);
}

/* Hands the queue's reference to the owner to the caller, who releases it once no lock is held. */
static inline void xctx_queue_remove(xctx_queue *queue, xctx_waiter *waiter) {
    if (waiter->prev) waiter->prev->next = waiter->next;
    else queue->first = waiter->next;
    if (waiter->next) waiter->next->prev = waiter->prev;
    else queue->last = waiter->prev;
    waiter->next = waiter->prev = NULL;
    waiter->linked = 0;
    queue->count--;
}

/* Adds a waiter, which stays in its queue, to the chain of those that the caller wakes once it holds no lock. If another
 * waker has chosen the waiter already, nothing is added: the waiter will see everything that was done before this call. */
static inline void xctx_choose(xctx_waiter *waiter, xctx_waiter **chain) {
    if (waiter->chosen) return;
    waiter->chosen = 1;
    waiter->next_chosen = *chain;
    *chain = waiter;
    Py_INCREF(waiter->owner);
}

/* Takes up to `number` waiters out of the queue, the first of them first, and adds them to the end of the chain. */
static inline void xctx_queue_pick(xctx_queue *queue, size_t number, xctx_waiter **chain) {
    while (*chain) chain = &(*chain)->next_chosen;
    while (number-- && queue->first) {
        xctx_waiter *waiter = queue->first;
        xctx_queue_remove(queue, waiter);   /* its reference goes with the chain */
        waiter->chosen = 1;
        waiter->next_chosen = NULL;
        *chain = waiter;
        chain = &waiter->next_chosen;
    }
}

/* Sets a waiter's signal, or clears it. Returns whether it was set. */
#ifdef Py_GIL_DISABLED
#  if defined(_MSC_VER)
static inline int xctx_signal(int *signal, int value) { return (int)_InterlockedExchange((volatile long *)signal, value); }
#  else
static inline int xctx_signal(int *signal, int value) { return __atomic_exchange_n(signal, value, __ATOMIC_SEQ_CST); }
#  endif
#else
static inline int xctx_signal(int *signal, int value) {
    int before = *signal;
    *signal = value;
    return before;
}
#endif

#endif
