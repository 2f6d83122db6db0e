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

#endif
