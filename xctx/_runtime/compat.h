/* What the compiled rooms need of the platform and of CPython, and what differs between the versions and builds
 * that xctx supports. Nothing here knows about units, stores or proxies. */
#ifndef XCTX_COMPAT_H
#define XCTX_COMPAT_H

#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(_MSC_VER)
#  include <intrin.h>
#  define XCTX_TLS __declspec(thread)
#  define XCTX_LIKELY(x) (x)
#  define XCTX_UNLIKELY(x) (x)
#  define XCTX_NOINLINE __declspec(noinline)
#else
#  define XCTX_TLS __thread
#  define XCTX_LIKELY(x) __builtin_expect(!!(x), 1)
#  define XCTX_UNLIKELY(x) __builtin_expect(!!(x), 0)
#  define XCTX_NOINLINE __attribute__((noinline))
#endif

/* The current thread state. Every caller runs with one attached, so the check of PyThreadState_Get is not needed. */
#if PY_VERSION_HEX >= 0x030D0000
#  define xctx_tstate PyThreadState_GetUnchecked
#else
#  define xctx_tstate _PyThreadState_UncheckedGet
#endif

/* A lock for a few instructions that run no Python code, switch nothing and reach no point where the interpreter may stop
 * or end a thread. Where the GIL is held throughout it is that lock already, and these are nothing.
 *
 * A PyMutex would not do: a thread that waits for one is detached, may be handed the lock in its sleep, and where the
 * interpreter is ending meanwhile it never wakes up to give it back. Who waits here stays attached: a pause that stops the
 * world waits for it, and it for a holder that runs on to the end of its few instructions. */
#ifdef Py_GIL_DISABLED
#  if defined(_MSC_VER)
#    include <windows.h>
typedef volatile char xctx_mutex;
static inline char xctx_try(xctx_mutex *m) { return !_InterlockedExchange8(m, 1); }
static inline char xctx_is_free(xctx_mutex *m) { return !*m; }
static inline void xctx_unlock(xctx_mutex *m) { _InterlockedExchange8(m, 0); }
#    define xctx_let_others_run() SwitchToThread()
#  else
#    include <sched.h>
typedef char xctx_mutex;
static inline char xctx_try(xctx_mutex *m) { return !__atomic_exchange_n(m, 1, __ATOMIC_ACQUIRE); }
static inline char xctx_is_free(xctx_mutex *m) { return !__atomic_load_n(m, __ATOMIC_RELAXED); }
static inline void xctx_unlock(xctx_mutex *m) { __atomic_store_n(m, 0, __ATOMIC_RELEASE); }
#    define xctx_let_others_run() sched_yield()
#  endif
static inline void xctx_lock(xctx_mutex *m) {
    int turns = 0;
    while (XCTX_UNLIKELY(!xctx_try(m))) {
        while (!xctx_is_free(m)) {
            if (++turns % 64 == 0) xctx_let_others_run();   /* the holder may be waiting for this very core */
        }
    }
}
#else
typedef char xctx_mutex;
#  define xctx_lock(m) ((void)(m))
#  define xctx_unlock(m) ((void)(m))
#endif

/* Atomics that are plain accesses where the GIL orders everything. */
#ifdef Py_GIL_DISABLED
#  if defined(_MSC_VER)
static inline void *xctx_load_ptr(void **p) { return (void *)_InterlockedCompareExchangePointer(p, NULL, NULL); }
static inline void xctx_store_ptr(void **p, void *v) { _InterlockedExchangePointer(p, v); }
static inline void *xctx_swap_ptr(void **p, void *v) { return _InterlockedExchangePointer(p, v); }
static inline int xctx_cas_ptr(void **p, void *expected, void *v) {
    return _InterlockedCompareExchangePointer(p, v, expected) == expected;
}
static inline uint64_t xctx_next_u64(uint64_t *p) { return (uint64_t)_InterlockedIncrement64((volatile __int64 *)p); }
static inline uint64_t xctx_load_u64(uint64_t *p) { return *(volatile uint64_t *)p; }
#  else
static inline void *xctx_load_ptr(void **p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void xctx_store_ptr(void **p, void *v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
static inline void *xctx_swap_ptr(void **p, void *v) { return __atomic_exchange_n(p, v, __ATOMIC_ACQ_REL); }
static inline int xctx_cas_ptr(void **p, void *expected, void *v) {
    return __atomic_compare_exchange_n(p, &expected, v, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}
static inline uint64_t xctx_next_u64(uint64_t *p) { return __atomic_add_fetch(p, 1, __ATOMIC_RELAXED); }
static inline uint64_t xctx_load_u64(uint64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
#  endif
#else
static inline void *xctx_load_ptr(void **p) { return *p; }
static inline void xctx_store_ptr(void **p, void *v) { *p = v; }
static inline void *xctx_swap_ptr(void **p, void *v) { void *old = *p; *p = v; return old; }
static inline int xctx_cas_ptr(void **p, void *expected, void *v) {
    if (*p != expected) return 0;
    *p = v;
    return 1;
}
static inline uint64_t xctx_next_u64(uint64_t *p) { return ++*p; }
static inline uint64_t xctx_load_u64(uint64_t *p) { return *p; }
#endif

/* Runs `handler` in the child of every fork, before any Python code does. Elsewhere than on POSIX nothing forks. */
#if defined(_WIN32)
static inline int xctx_at_fork_in_child(void (*handler)(void)) { (void)handler; return 0; }
#else
#  include <pthread.h>
static inline int xctx_at_fork_in_child(void (*handler)(void)) { return pthread_atfork(NULL, NULL, handler); }
#endif

/* The count of things that threads hold on a piece of raw memory. */
#if defined(Py_GIL_DISABLED) && defined(_MSC_VER)
static inline intptr_t xctx_add(intptr_t *p, intptr_t d) {
    return (intptr_t)_InterlockedExchangeAdd64((volatile __int64 *)p, d) + d;
}
#elif defined(Py_GIL_DISABLED)
static inline intptr_t xctx_add(intptr_t *p, intptr_t d) { return __atomic_add_fetch(p, d, __ATOMIC_ACQ_REL); }
#else
static inline intptr_t xctx_add(intptr_t *p, intptr_t d) { return *p += d; }
#endif

/* A flag that is read without the lock that it is written under. */
#if defined(Py_GIL_DISABLED) && !defined(_MSC_VER)
static inline int xctx_load_int(int *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void xctx_store_int(int *p, int v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
#else
static inline int xctx_load_int(int *p) { return *(volatile int *)p; }
static inline void xctx_store_int(int *p, int v) { *(volatile int *)p = v; }
#endif

/* What was written before is seen by whoever finds, with no lock, a pointer that is stored after. */
#if defined(Py_GIL_DISABLED) && defined(_MSC_VER)
#  define xctx_publish_before() MemoryBarrier()
#elif defined(Py_GIL_DISABLED)
#  define xctx_publish_before() __atomic_thread_fence(__ATOMIC_RELEASE)
#else
#  define xctx_publish_before() ((void)0)
#endif

/* Tells the processor that this is a loop that waits for another one. */
#if defined(_MSC_VER)
#  define xctx_pause() YieldProcessor()
#elif defined(__x86_64__) || defined(__i386__)
#  define xctx_pause() __builtin_ia32_pause()
#elif defined(__aarch64__)
#  define xctx_pause() __asm__ volatile("yield")
#else
#  define xctx_pause() ((void)0)
#endif

/* xctx_promote(op): takes the traffic off the count of references of an object that several threads use all the time.
 * Nothing where there is a GIL. From 3.14 on the interpreter defers the counting, and still collects the object.
 * 3.13 knows only one remedy, the one that it takes for its own functions and classes once a second thread runs:
 * the object becomes immortal, so promote only what is hot, and say so.
 *
 * The owner counts its references with plain loads and stores. A store from another thread could fall between the
 * two and be undone after somebody saw it, who would then leave out an increment but not the decrement. So either
 * the owner does it, or it is done while the world stands still; walking the objects of the collector is the public
 * way to have that, and the walk ends at the first of them. */
#if defined(Py_GIL_DISABLED) && PY_VERSION_HEX < 0x030E0000
static int xctx_promote_visit(PyObject *Py_UNUSED(first), void *arg) {
    PyObject *op = (PyObject *)arg;
    _Py_atomic_store_uint32_relaxed(&op->ob_ref_local, _Py_IMMORTAL_REFCNT_LOCAL);
    return 0;
}
static inline void xctx_promote(PyObject *op) {
    if (_Py_IsImmortal(op)) return;
    if (_Py_IsOwnedByCurrentThread(op)) xctx_promote_visit(NULL, op);
    else PyUnstable_GC_VisitObjects(xctx_promote_visit, op);
}
#elif defined(Py_GIL_DISABLED)
static inline void xctx_promote(PyObject *op) { (void)PyUnstable_Object_EnableDeferredRefcount(op); }
#else
static inline void xctx_promote(PyObject *op) { (void)op; }
#endif

/* Setting a context variable, with no code of anybody run in the midst of it. CPython builds the new mapping from one that it
 * does not hold, and 3.11 collects garbage whenever it allocates: a finaliser that sets a variable then frees the mapping
 * that is being read. (Nothing dies of the setting itself: the token holds the old value.) */
#if PY_VERSION_HEX < 0x030C0000
static inline PyObject *xctx_var_set(PyObject *var, PyObject *value) {
    int collects = PyGC_Disable();
    PyObject *token = PyContextVar_Set(var, value);
    if (collects) PyGC_Enable();
    return token;
}
static inline int xctx_var_reset(PyObject *var, PyObject *token) {
    int collects = PyGC_Disable();
    int done = PyContextVar_Reset(var, token);
    if (collects) PyGC_Enable();
    return done;
}
#else
#  define xctx_var_set PyContextVar_Set
#  define xctx_var_reset PyContextVar_Reset
#endif

/* Looking into a dict that other threads change. Cython's own get() and setdefault() borrow from it for a moment, in which
 * another thread may take out and free what was found. Both give a new reference; the first, or Py_None. */
static inline PyObject *xctx_shared_get(PyObject *dict, PyObject *key) {
    PyObject *found;
#if PY_VERSION_HEX >= 0x030D0000
    if (PyDict_GetItemRef(dict, key, &found) < 0) return NULL;
#else
    found = Py_XNewRef(PyDict_GetItemWithError(dict, key));
    if (found == NULL && PyErr_Occurred()) return NULL;
#endif
    return found != NULL ? found : Py_NewRef(Py_None);
}
static inline PyObject *xctx_shared_setdefault(PyObject *dict, PyObject *key, PyObject *value) {
    PyObject *found;
#if PY_VERSION_HEX >= 0x030D0000
    if (PyDict_SetDefaultRef(dict, key, value, &found) < 0) return NULL;
    return found;
#else
    found = PyDict_SetDefault(dict, key, value);
    return Py_XNewRef(found);
#endif
}

/* Gives a type made by Cython, which takes no attributes afterwards, one more; before anything derives from it. */
static inline int xctx_type_put(PyObject *type, PyObject *name, PyObject *value) {
    if (PyDict_SetItem(((PyTypeObject *)type)->tp_dict, name, value)) return -1;
    PyType_Modified((PyTypeObject *)type);
    return 0;
}

#endif
