/* Where the state that state.h describes lies. Part of the module xctx._runtime.runtime alone. */
#include "xctx/_runtime/state.h"
#include "xctx/_runtime/copies.h"

#include <stdlib.h>
#if !defined(_WIN32)
#  include <pthread.h>
#endif

/* Interpreter: what this module, if it is a copy, and copies.c know of each other. Found by its name. */
XCTX_VISIBLE xctx_copy xctx_this_copy;

/* Thread. What an earlier interpreter of a copy has left in the first is forgotten when another gets the copy. The second
 * stays as it is. */
static XCTX_TLS xctx_now now_of_this_thread;
static XCTX_TLS xctx_thread_memory memory_of_this_thread;

static xctx_now *now(void) {
    if (xctx_this_copy.copy && !memory_of_this_thread.start) {
        memory_of_this_thread.start = &now_of_this_thread;
        memory_of_this_thread.size = sizeof(now_of_this_thread);
        xctx_this_copy.remember(xctx_this_copy.copy, &memory_of_this_thread);
    }
    return &now_of_this_thread;
}

/* The batch room's record stays, because it has a count of forks of its own, which shows that it is from before the fork. */
static void forget_now(void) {
    xctx_now *here = &now_of_this_thread;
    void *batch = here->batch;
    memset(here, 0, sizeof(*here));
    here->batch = batch;
}

/* --- forks ------------------------------------------------------------------------------------------------------------- */

static void at_fork(xctx_fork_step step, const xctx_fork_handlers *handlers);
static int at_exit(void (*at_exit)(void), void (*at_end)(void), void (*discard)(void));

/* Process. */
static xctx_process process = {.now = now, .at_fork = at_fork, .at_exit = at_exit};
static xctx_fork_handlers steps[XCTX_FORK_STEPS];

#if defined(_WIN32)

/* Nothing forks. */
static void at_fork(xctx_fork_step step, const xctx_fork_handlers *handlers) { steps[step] = *handlers; }
static int watch_forks(void) { return 0; }

#else

/* Process: guards `steps`, and is held across a fork, so that the handlers that run afterwards are those of which `prepare`
 * ran. Two threads may fork at once, in a C library that runs without the GIL. */
static pthread_mutex_t fork_mutex = PTHREAD_MUTEX_INITIALIZER;

static void at_fork(xctx_fork_step step, const xctx_fork_handlers *handlers) {
    pthread_mutex_lock(&fork_mutex);
    steps[step] = *handlers;
    pthread_mutex_unlock(&fork_mutex);
}

static void before_fork(void) {
    int step;
    pthread_mutex_lock(&fork_mutex);
    for (step = XCTX_FORK_STEPS; step-- > 0;)
        if (steps[step].prepare) steps[step].prepare();
}

static void after_fork_in_parent(void) {
    int step;
    for (step = 0; step < XCTX_FORK_STEPS; step++)
        if (steps[step].parent) steps[step].parent();
    pthread_mutex_unlock(&fork_mutex);
}

static void after_fork_in_child(void) {
    int step;
    process.fork_count++;
    process.promoting = 0;   /* those threads are the parent's */
    forget_now();
    for (step = 0; step < XCTX_FORK_STEPS; step++)
        if (steps[step].child) steps[step].child();
    pthread_mutex_init(&fork_mutex, NULL);
}

static int watch_forks(void) {
    if (!xctx_this_copy.copy) return pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    /* The same functions would be registered by each interpreter that gets this copy. So copies.c calls them. */
    xctx_this_copy.before_fork = before_fork;
    xctx_this_copy.after_fork_in_parent = after_fork_in_parent;
    xctx_this_copy.after_fork_in_child = after_fork_in_child;
    return 0;
}

#endif

/* --- the end ----------------------------------------------------------------------------------------------------------- */

static int at_exit(void (*exit)(void), void (*end)(void), void (*discard)(void)) {
    if (!xctx_this_copy.copy) return atexit(exit);
    xctx_this_copy.at_exit = exit;
    xctx_this_copy.at_end = end;
    xctx_this_copy.discard = discard;
    return 0;
}

static uint64_t last_serial(void) { return xctx_load_u64(&process.serials); }


/* --- promoting ---------------------------------------------------------------------------------------------------------- */

void xctx_end_promoting(void) {
#if XCTX_PROMOTING_STOPS_THE_WORLD
    _Py_atomic_store_int(&process.ending, 1);
    while (_Py_atomic_load_int(&process.promoting)) {
        Py_BEGIN_ALLOW_THREADS
        xctx_let_others_run();
        Py_END_ALLOW_THREADS
    }
#endif
}

xctx_process *xctx_set_up_process(void) {
    static int watched = 0;   /* process: set once, while the import lock is held */
    if (!watched) {
        if (xctx_find_mapping_methods(&process.mapping) || watch_forks()) return NULL;
        process.serials = xctx_this_copy.first_serial;
        xctx_this_copy.last_serial = last_serial;
        watched = 1;
    }
    return &process;
}
