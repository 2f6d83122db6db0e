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
#else
#  define XCTX_TLS __thread
#  define XCTX_LIKELY(x) __builtin_expect(!!(x), 1)
#  define XCTX_UNLIKELY(x) __builtin_expect(!!(x), 0)
#endif

/* The current thread state. Every caller runs with one attached, so the check of PyThreadState_Get is not needed. */
#if PY_VERSION_HEX >= 0x030D0000
#  define xctx_tstate PyThreadState_GetUnchecked
#else
#  define xctx_tstate _PyThreadState_UncheckedGet
#endif

/* A lock for a few instructions that run no Python code and switch nothing. Where the GIL is held throughout it is
 * that lock already, and these are nothing. A PyMutex detaches the thread while it waits, so that a stop-the-world
 * pause cannot deadlock with it. */
#ifdef Py_GIL_DISABLED
typedef PyMutex xctx_mutex;
#  define xctx_lock(m) PyMutex_Lock(m)
#  define xctx_unlock(m) PyMutex_Unlock(m)
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
#  else
static inline void *xctx_load_ptr(void **p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void xctx_store_ptr(void **p, void *v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
static inline void *xctx_swap_ptr(void **p, void *v) { return __atomic_exchange_n(p, v, __ATOMIC_ACQ_REL); }
static inline int xctx_cas_ptr(void **p, void *expected, void *v) {
    return __atomic_compare_exchange_n(p, &expected, v, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}
static inline uint64_t xctx_next_u64(uint64_t *p) { return __atomic_add_fetch(p, 1, __ATOMIC_RELAXED); }
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
#endif

/* Runs `handler` in the child of every fork, before any Python code does. Elsewhere than on POSIX nothing forks. */
#if defined(_WIN32)
static inline int xctx_at_fork_in_child(void (*handler)(void)) { (void)handler; return 0; }
#else
#  include <pthread.h>
static inline int xctx_at_fork_in_child(void (*handler)(void)) { return pthread_atfork(NULL, NULL, handler); }
#endif

/* Takes the traffic off the reference count of an object that many threads hammer. Without the GIL each load of such an
 * object onto a stack writes its count, and threads that share it wait for each other's cache line.
 * 3.14t defers such counts where asked. 3.13t knows only the way it goes with its own functions, classes and modules
 * once a second thread runs: the object becomes immortal. The plain store may race with the owner's own count: the
 * loser is the promotion, which the next caller repeats; the caller holds a reference, so the count cannot reach zero. */
#ifdef Py_GIL_DISABLED
static inline void xctx_promote(PyObject *op) {
#  if PY_VERSION_HEX >= 0x030E0000
    PyUnstable_Object_EnableDeferredRefcount(op);
#  else
    __atomic_store_n(&op->ob_ref_local, _Py_IMMORTAL_REFCNT_LOCAL, __ATOMIC_RELAXED);
#  endif
}
#else
#  define xctx_promote(op) ((void)(op))
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

/* Gives a type made by Cython, which takes no attributes afterwards, one more; before anything derives from it. */
static inline int xctx_type_put(PyObject *type, PyObject *name, PyObject *value) {
    if (PyDict_SetItem(((PyTypeObject *)type)->tp_dict, name, value)) return -1;
    PyType_Modified((PyTypeObject *)type);
    return 0;
}

#endif
