/* The state under all rooms: the units that each thread was last found to run (its "now"), what the process counts, and
 * what is done at a fork.
 *
 *     process   one xctx_process        the count of forks, the serial numbers, the steps of a fork
 *     thread    one xctx_now            the units that run, what stores hold for them, the batch room's record
 *
 * Both are defined in state.c, which is a part of the module xctx._runtime.runtime alone. Each other extension module has
 * two pointers to them, defined here: `xctx_the_process`, which `connect` of runtime.pxd sets when the module is imported,
 * and for each thread `xctx_known_now`, which is set when that thread first needs it. So a hot path reaches the record of
 * its thread by one load and one dereference, and all modules see the same record.
 *
 * Lifetime: the process's part is never freed. The record of a thread is thread-local memory, so it is freed with the
 * thread, and a thread that forks still has it in the child. Nothing in it owns a reference. */
#ifndef XCTX_STATE_H
#define XCTX_STATE_H

#include "xctx/_runtime/cpython.h"

/* --- the thread's "now" ------------------------------------------------------------------------------------------------ */

/* A cache entry: what one store holds for the unit that runs here.
 *
 * It is valid for as long as nothing was switched: the thread state counts, in context_ver, every context entered or left
 * and every greenlet switch, and never counts down. So an entry need not be emptied when a greenlet dies or a thread ends,
 * and what it points to is borrowed: the unit that runs keeps that alive, and the store's own code changes the entry
 * whenever it changes what it holds. Only a fork replaces a unit without a switch; it empties the entries. */
typedef struct {
    uint64_t serial;    /* of the store; 0 where the entry is empty */
    uint64_t ver;       /* the context_ver at which this was found */
    uint64_t tsid;      /* the thread state it was found in: an OS thread may have several, one after the other */
    PyObject *context;  /* the thread state's, borrowed: compared only, because a thread's first context is not counted */
    void *what;         /* borrowed; NULL where the store holds nothing */
#ifdef Py_GIL_DISABLED
    uint64_t uses;
#endif
} xctx_cache_entry;

#define XCTX_CACHE_ENTRIES 32   /* so many stores that were made one after the other have an entry each */
_Static_assert((XCTX_CACHE_ENTRIES & (XCTX_CACHE_ENTRIES - 1)) == 0, "a serial number is masked to find its entry");

#define XCTX_UNIT_KINDS 8       /* how many kinds of units may be cached */
#define XCTX_NEVER UINT64_MAX   /* a context_ver that no thread state reaches */

/* The unit of one kind that was found to be current. Valid for as long as a cache entry is. */
typedef struct {
    uint64_t ver;
    PyObject *context;  /* compared only */
    PyObject *unit;     /* borrowed from the registry of units */
} xctx_found_unit;

typedef struct {
    uint64_t tsid;      /* the thread state that the next two are about */
    PyObject *thread;   /* the thread's unit, which no switch changes; NULL where it is not known. Borrowed */
    xctx_found_unit found[XCTX_UNIT_KINDS];
    struct {            /* when contexts were last counted: see xctx_count_contexts */
        uint64_t tsid, ver;
        PyObject *context;   /* compared only */
    } last;
    void *batch;        /* the batch room's record of this thread, or NULL. Only that room uses it */
    xctx_cache_entry entries[XCTX_CACHE_ENTRIES];
} xctx_now;

/* --- forks ------------------------------------------------------------------------------------------------------------- */

/* The steps of a fork. Afterwards, in the child and in the parent, the handlers run in this order; before it, the `prepare`
 * handlers run in the reverse order. In the child, two things are done first: the fork is counted, so that each room can
 * tell the parent's objects from its own by comparing counts; and the forking thread's "now" is emptied, because it points
 * to units of the parent.
 *
 * A handler of the child runs with no other thread, maybe inside a signal handler: it may store to memory, close
 * descriptors and reset locks, and nothing else. The parent's objects are left alone, neither released nor used. */
typedef enum {
    XCTX_FORK_UNITS,      /* forgets the registry of units: from here on no unit of the parent is found */
    XCTX_FORK_STORES,     /* the lock of the stores' tables, which is held across the fork */
    XCTX_FORK_MAPPINGS,   /* the memory that locks share with other processes; its mutex is held across the fork */
    XCTX_FORK_BATCHES,    /* resets the batch room's lock */
    XCTX_FORK_STEPS
} xctx_fork_step;

typedef struct {
    void (*prepare)(void);   /* each may be NULL */
    void (*parent)(void);
    void (*child)(void);
} xctx_fork_handlers;

/* --- the process ------------------------------------------------------------------------------------------------------- */

/* What xctx uses of greenlet's C API. */
typedef struct {
    PyObject *(*getcurrent)(void);
    int (*is_main)(PyObject *);
    int (*started)(PyObject *);
    int (*active)(PyObject *);
} xctx_greenlet_api;

typedef struct {
    uint32_t fork_count;          /* written by the forking thread alone, in the child */
    xctx_now *(*now)(void);       /* gives this thread's record. This and the next two never change */
    void (*at_fork)(xctx_fork_step, const xctx_fork_handlers *);
    int (*at_exit)(void (*exit)(void), void (*end)(void), void (*discard)(void));
    xctx_mapping_methods mapping; /* never changes */
    xctx_greenlet_api greenlet;   /* all NULL until the program has imported greenlet; getcurrent is set last */
    int promoting;                /* how many threads promote an object at this moment, */
    int ending;                   /* and whether none may begin to, because the interpreter ends. See xctx_promote_store */
    char apart[128];              /* keeps what follows, which is written often, off the cache lines of the above */
    uint64_t serials;             /* the last serial number given to a store */
} xctx_process;

/* In state.c: as the interpreter ends, waits until no object is being promoted, and lets none be from then on. */
void xctx_end_promoting(void);

/* In state.c: makes the process's part when xctx._runtime.runtime is imported; NULL where there is no room for a fork
 * handler. Other modules get it by `connect`. */
XCTX_HIDDEN xctx_process *xctx_set_up_process(void);

/* Process-wide: set when this module is imported. */
XCTX_ONE_PER_MODULE xctx_process *xctx_the_process = NULL;
/* Thread: NULL until first used by this file in this thread. */
static XCTX_TLS_FAST xctx_now *xctx_known_now;

static inline void xctx_connect(xctx_process *process) { xctx_the_process = process; }

/* How many forks lie between this process and the one that imported xctx. */
static inline uint32_t xctx_fork_count(void) { return xctx_the_process->fork_count; }

/* A number for a new store or lock: never 0, and never given twice in a process. */
static inline uint64_t xctx_next_serial(void) { return xctx_next_u64(&xctx_the_process->serials); }

/* Sets what a room does at a step of every fork. Each step belongs to one room. */
static inline void xctx_at_fork(xctx_fork_step step, void (*prepare)(void), void (*parent)(void), void (*child)(void)) {
    xctx_fork_handlers handlers = {prepare, parent, child};
    xctx_the_process->at_fork(step, &handlers);
}

/* Sets what the room of locks does as the process ends (`exit`), as an interpreter ends that is not the main one (`end`), and
 * when nothing uses its memory any more (`discard`). Not 0 where there is no room. */
static inline int xctx_at_exit(void (*exit)(void), void (*end)(void), void (*discard)(void)) {
    return xctx_the_process->at_exit(exit, end, discard);
}

/* This thread's record. */
static inline xctx_now *xctx_here(void) {
    if (XCTX_UNLIKELY(xctx_known_now == NULL)) xctx_known_now = xctx_the_process->now();
    return xctx_known_now;
}

/* Sets a context variable in the current context, or unsets it if `value` is NULL: see xctx_var_put in cpython.h. */
static inline int xctx_put(PyThreadState *tstate, PyObject *var, PyObject *value, PyObject **kept) {
    return xctx_var_put(&xctx_the_process->mapping, tstate, var, value, kept);
}

/* --- the current units ------------------------------------------------------------------------------------------------- */

/* Forgets which units run here, so that they are looked for again. */
static inline void xctx_found_drop(xctx_now *now) {
    int i;
    for (i = 0; i < XCTX_UNIT_KINDS; i++) now->found[i].ver = XCTX_NEVER;
}

static inline int xctx_found_hit(const xctx_now *now, int kind, const PyThreadState *tstate) {
    return XCTX_LIKELY(now->found[kind].ver == tstate->context_ver && now->tsid == tstate->id
                       && now->found[kind].context == tstate->context);
}

/* Makes the record one of this thread state. */
static inline void xctx_found_begin(xctx_now *now, const PyThreadState *tstate) {
    if (XCTX_LIKELY(now->tsid == tstate->id)) return;
    now->tsid = tstate->id;
    now->thread = NULL;
    xctx_found_drop(now);
}

static inline void xctx_found_set(xctx_now *now, int kind, const PyThreadState *tstate, PyObject *unit) {
    xctx_found_begin(now, tstate);
    now->found[kind].ver = tstate->context_ver;
    now->found[kind].context = tstate->context;
    now->found[kind].unit = unit;
}

/* --- using the cache --------------------------------------------------------------------------------------------------- */

static inline xctx_cache_entry *xctx_cache_entry_of(uint64_t serial) {
    return &xctx_here()->entries[serial & (XCTX_CACHE_ENTRIES - 1)];
}

/* As xctx_promote. Where that stops the world, it must be over before the interpreter ends: stopping the world is guarded by a
 * mutex of the interpreter's, for which a thread may have to wait. A thread that is ended while it waits may be handed the mutex
 * all the same; then nobody releases it, and the collection at the end waits for ever. */
static XCTX_NOINLINE void xctx_promote_store(PyObject *op) {
#if XCTX_PROMOTING_STOPS_THE_WORLD
    _Py_atomic_add_int(&xctx_the_process->promoting, 1);
    if (!_Py_atomic_load_int(&xctx_the_process->ending)) xctx_promote(op);
    _Py_atomic_add_int(&xctx_the_process->promoting, -1);
#else
    xctx_promote(op);
#endif
}

/* Without the GIL, a store that a thread other than its maker has used this often is promoted (see xctx_promote): it is
 * probably a global of a module, and lives as long as the program. */
#define XCTX_HOT 10000

/* Whether the entry has what the store with that serial number holds for the unit that runs here. This is the whole
 * rule: the same store, and nothing switched since. The context is compared because it may be replaced without being
 * counted: when a thread gets its first context, and when a thread that ends loses its context and a finaliser then needs
 * a new one. */
static inline int xctx_cache_hit(xctx_cache_entry *entry, uint64_t serial, PyThreadState *tstate, PyObject *store) {
    if (XCTX_LIKELY(entry->serial == serial && entry->ver == tstate->context_ver && entry->tsid == tstate->id
                    && entry->context == tstate->context)) {
#ifdef Py_GIL_DISABLED
        if (XCTX_UNLIKELY(++entry->uses % XCTX_HOT == 0) && !xctx_made_here(store)) xctx_promote_store(store);
#else
        (void)store;
#endif
        return 1;
    }
    return 0;
}

static inline void xctx_cache_set(xctx_cache_entry *entry, uint64_t serial, PyThreadState *tstate, void *what) {
#ifdef Py_GIL_DISABLED
    if (entry->serial != serial) entry->uses = 0;
#endif
    entry->serial = serial;
    entry->ver = tstate->context_ver;
    entry->tsid = tstate->id;
    entry->context = tstate->context;
    entry->what = what;
}

/* The same for a store under the key `work`, whose unit may change although nothing is switched, and which threads share.
 * The entry is right for as long as the unit's table has the version that it had then: no two tables ever have the same. */
static inline int xctx_cache_knows(const xctx_cache_entry *entry, uint64_t serial, uint64_t version) {
    return XCTX_LIKELY(entry->ver == version && entry->serial == serial);
}

static inline void xctx_cache_note(xctx_cache_entry *entry, uint64_t serial, uint64_t version, void *what) {
    entry->serial = serial;
    entry->ver = version;
    entry->what = what;
}

/* In this thread, what the store holds is looked up again. */
static inline void xctx_cache_drop(xctx_cache_entry *entry, uint64_t serial) {
    if (entry->serial == serial) entry->ver = XCTX_NEVER;
}

/* In this thread, what any store holds is looked up again. */
static inline void xctx_cache_empty(void) {
    xctx_now *now = xctx_here();
    memset(now->entries, 0, sizeof(now->entries));
}

/* When a thread ends it loses its context, and a finaliser may then need a new one. CPython counts neither, so context
 * variables would go on giving values that they have cached of the first context, although these are gone. So count it. */
static inline void xctx_count_contexts(PyThreadState *tstate) {
    xctx_now *now = xctx_here();
    if (now->last.context != tstate->context) {
        if (now->last.tsid == tstate->id && now->last.ver == tstate->context_ver) tstate->context_ver++;
        now->last.context = tstate->context;
    }
    now->last.tsid = tstate->id;
    now->last.ver = tstate->context_ver;
}

#endif
