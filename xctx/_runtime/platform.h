/* What the compiled rooms need of the compiler, the processor and the operating system.
 *
 * Nothing here knows about CPython's objects, units or stores. Python.h is included because it says whether this build
 * has a GIL (Py_GIL_DISABLED), and has to come before any header of the system. */
#ifndef XCTX_PLATFORM_H
#define XCTX_PLATFORM_H

#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(_WIN32)
#  include <windows.h>
#else
#  include <time.h>
#endif
#if defined(_MSC_VER)
#  include <intrin.h>
#endif

#if defined(_MSC_VER)
#  define XCTX_TLS __declspec(thread)
#  define XCTX_LIKELY(x) (x)
#  define XCTX_UNLIKELY(x) (x)
#  define XCTX_NOINLINE __declspec(noinline)
#else
#  define XCTX_TLS __thread
#  define XCTX_LIKELY(x) __builtin_expect(!!(x), 1)
#  define XCTX_UNLIKELY(x) __builtin_expect(!!(x), 0)
#  define XCTX_NOINLINE __attribute__((noinline, unused))   /* not every module that has a header uses all of it */
#endif

/* For a thread-local variable of a few bytes that a hot path reads. The code of a shared library finds its thread-local
 * variables by a function call; with this model, by one instruction. The loader has to find room for such a variable in
 * a reserve that all libraries share (glibc: some 500 bytes or more), so nothing large may be declared with it. musl has
 * no such reserve, and refuses to load a library that needs it. */
#if defined(__GLIBC__) && defined(__GNUC__)
#  define XCTX_TLS_FAST __attribute__((tls_model("initial-exec"))) __thread
#else
#  define XCTX_TLS_FAST XCTX_TLS
#endif

#ifdef Py_GIL_DISABLED
#  define XCTX_FREE_THREADED 1
#else
#  define XCTX_FREE_THREADED 0
#endif

/* For a variable that is defined in a header: all C files of an extension module share one, and other modules do not see it. */
#if defined(_MSC_VER)
#  define XCTX_ONE_PER_MODULE __declspec(selectany)
#else
#  define XCTX_ONE_PER_MODULE __attribute__((weak, visibility("hidden")))
#endif

/* For a function or variable that several C files of one extension module share, and other modules do not see. */
#if defined(_MSC_VER)
#  define XCTX_HIDDEN
#else
#  define XCTX_HIDDEN __attribute__((visibility("hidden")))
#endif

/* For the one variable of an extension module that is looked for by its name. */
#if defined(_MSC_VER)
#  define XCTX_VISIBLE
#else
#  define XCTX_VISIBLE __attribute__((visibility("default")))
#endif

/* --- time -------------------------------------------------------------------------------------------------------------- */

/* Nanoseconds of a clock that is never set back, since an arbitrary moment. The same clock in all processes of a
 * machine on POSIX. */
static inline uint64_t xctx_monotonic_ns(void) {
#if defined(_WIN32)
    LARGE_INTEGER ticks, per_second;
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&per_second);
    /* In two parts: ticks * 10^9 would overflow within half an hour. */
    return (uint64_t)(ticks.QuadPart / per_second.QuadPart) * 1000000000u
           + (uint64_t)(ticks.QuadPart % per_second.QuadPart) * 1000000000u / (uint64_t)per_second.QuadPart;
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
#endif
}

/* The same in seconds. */
static inline double xctx_monotonic(void) { return (double)xctx_monotonic_ns() * 1e-9; }

/* Tells the processor that this loop waits for another thread. */
#if defined(_MSC_VER)
#  define xctx_pause() YieldProcessor()
#elif defined(__x86_64__) || defined(__i386__)
#  define xctx_pause() __builtin_ia32_pause()
#elif defined(__aarch64__)
#  define xctx_pause() __asm__ volatile("yield")
#else
#  define xctx_pause() ((void)0)
#endif

/* --- a lock ------------------------------------------------------------------------------------------------------------ */

/* A lock for a few instructions that run no Python code, switch nothing and reach no point where the interpreter may stop
 * or end a thread. Where there is a GIL, the caller holds that throughout, so these do nothing.
 *
 * A PyMutex would not do: a thread that waits for one is detached, may be handed the lock in its sleep, and if the
 * interpreter ends meanwhile the thread never wakes up to release the lock. A thread that waits here stays attached: what
 * stops the world waits for that thread, and that thread waits for a holder that needs only a few instructions more. */
#ifdef Py_GIL_DISABLED
#  if defined(_MSC_VER)
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

/* --- atomics between the threads of one interpreter -------------------------------------------------------------------- */

/* Plain accesses where the GIL orders everything. Memory that other processes share needs atomics in any build: see
 * _lock/shared_memory.h. */
#if defined(Py_GIL_DISABLED) && defined(_MSC_VER)
static inline void *xctx_load_ptr(void **p) { return (void *)_InterlockedCompareExchangePointer(p, NULL, NULL); }
static inline void xctx_store_ptr(void **p, void *v) { _InterlockedExchangePointer(p, v); }
static inline void *xctx_swap_ptr(void **p, void *v) { return _InterlockedExchangePointer(p, v); }
static inline int xctx_cas_ptr(void **p, void *expected, void *v) {
    return _InterlockedCompareExchangePointer(p, v, expected) == expected;
}
static inline uint64_t xctx_next_u64(uint64_t *p) { return (uint64_t)_InterlockedIncrement64((volatile __int64 *)p); }
static inline uint64_t xctx_load_u64(uint64_t *p) { return *(volatile uint64_t *)p; }
static inline void xctx_store_u64(uint64_t *p, uint64_t v) { *(volatile uint64_t *)p = v; }
static inline intptr_t xctx_add(intptr_t *p, intptr_t d) {
    return (intptr_t)_InterlockedExchangeAdd64((volatile __int64 *)p, d) + d;
}
static inline int xctx_load_int(int *p) { return *(volatile int *)p; }
static inline void xctx_store_int(int *p, int v) { *(volatile int *)p = v; }
static inline intptr_t xctx_load_count(intptr_t *p) { return *(volatile intptr_t *)p; }
static inline void xctx_store_count(intptr_t *p, intptr_t v) { *(volatile intptr_t *)p = v; }
#elif defined(Py_GIL_DISABLED)
static inline void *xctx_load_ptr(void **p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void xctx_store_ptr(void **p, void *v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
static inline void *xctx_swap_ptr(void **p, void *v) { return __atomic_exchange_n(p, v, __ATOMIC_ACQ_REL); }
static inline int xctx_cas_ptr(void **p, void *expected, void *v) {
    return __atomic_compare_exchange_n(p, &expected, v, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}
static inline uint64_t xctx_next_u64(uint64_t *p) { return __atomic_add_fetch(p, 1, __ATOMIC_RELAXED); }
static inline uint64_t xctx_load_u64(uint64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void xctx_store_u64(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
/* For the count of references that threads have to a piece of raw memory. */
static inline intptr_t xctx_add(intptr_t *p, intptr_t d) { return __atomic_add_fetch(p, d, __ATOMIC_ACQ_REL); }
/* For a flag that is written under a lock, and read without it. */
static inline int xctx_load_int(int *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void xctx_store_int(int *p, int v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
/* For a count that says nothing of other memory. */
static inline intptr_t xctx_load_count(intptr_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
static inline void xctx_store_count(intptr_t *p, intptr_t v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }
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
static inline void xctx_store_u64(uint64_t *p, uint64_t v) { *p = v; }
static inline intptr_t xctx_add(intptr_t *p, intptr_t d) { return *p += d; }
static inline int xctx_load_int(int *p) { return *p; }
static inline void xctx_store_int(int *p, int v) { *p = v; }
static inline intptr_t xctx_load_count(intptr_t *p) { return *p; }
static inline void xctx_store_count(intptr_t *p, intptr_t v) { *p = v; }
#endif

#endif
