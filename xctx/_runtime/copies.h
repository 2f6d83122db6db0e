/* Copies of the compiled rooms, of which each further interpreter of a process gets one.
 *
 * A compiled room keeps its types, its objects, and the memory of its threads in static variables. They belong to the shared
 * object that the loader made of a file. So the main interpreter uses the files themselves, and each other interpreter
 * a copy of each, which the loader takes for another file: no two interpreters have a variable in common, and a room need
 * not ask which interpreter it runs in. Only copies.c, the module xctx._runtime.copies, is shared by all interpreters.
 *
 * A shared object is never unloaded, because something may still refer to its types. When the interpreter of a copy has
 * ended, the next interpreter that needs one gets that copy, with its variables as they were when the copy was loaded.
 *
 * This header is the border between copies.c and state.c. Each copy of the module xctx._runtime.runtime has an xctx_copy, by
 * the name `xctx_this_copy`, which the loader finds; it says what has to be done when the process forks or ends, and when the
 * interpreter does. */
#ifndef XCTX_RUNTIME_COPIES_H
#define XCTX_RUNTIME_COPIES_H

#include <Python.h>
#include <stddef.h>
#include <stdint.h>

/* Whether there can be copies: the handling of segments is for ELF, and only the locks of Linux can do with copies. */
#if defined(__linux__) && defined(__ELF__)
#  define XCTX_HAS_COPIES 1
#else
#  define XCTX_HAS_COPIES 0
#endif

/* Notes the memory that a thread has for a copy. It is a part of that memory, so that noting allocates nothing. */
typedef struct xctx_thread_memory {
    void *start;
    size_t size;
    struct xctx_thread_memory *next;        /* of another thread, for the same copy */
    struct xctx_thread_memory **before;     /* what points to this one */
    struct xctx_thread_memory *other;       /* of the same thread, for another copy */
    void *copy;
} xctx_thread_memory;

typedef struct {
    /* Of the copy, which sets them when it is imported. Each may be NULL. */
    void (*before_fork)(void);
    void (*after_fork_in_parent)(void);
    void (*after_fork_in_child)(void);
    void (*at_exit)(void);                  /* the process ends */
    void (*at_end)(void);                   /* the interpreter ends: what others wait for is given back */
    void (*discard)(void);                  /* the interpreter has ended: nothing uses what the copy has allocated */
    uint64_t (*last_serial)(void);
    /* Of copies.c, which sets them before the copy is imported. In the original, `copy` is NULL. */
    void *copy;
    uint64_t first_serial;                  /* greater than what threads remember of this copy from earlier interpreters */
    void (*remember)(void *copy, xctx_thread_memory *memory);   /* until the thread ends. Once a thread */
} xctx_copy;

#endif
