/* Where the state that state.h describes lies. Part of the module xctx._runtime.runtime alone. */
#include "xctx/_runtime/state.h"

#if !defined(_WIN32)
#  include <pthread.h>
#endif

static XCTX_TLS xctx_now now_of_this_thread;   /* thread */

static xctx_now *now(void) { return &now_of_this_thread; }

/* The batch room's record stays, because it has a count of forks of its own, which tells that it is from before the fork. */
static void forget_now(void) {
    xctx_now *here = &now_of_this_thread;
    void *batch = here->batch;
    memset(here, 0, sizeof(*here));
    here->batch = batch;
}

/* --- forks ------------------------------------------------------------------------------------------------------------- */

static void at_fork(xctx_fork_step step, const xctx_fork_handlers *handlers);

/* Process. */
static xctx_process process = {.now = now, .at_fork = at_fork};
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

static int watch_forks(void) { return pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child); }

#endif

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
        watched = 1;
    }
    return &process;
}
