/* The two methods of one `with` statement, matched.
 *
 * A `with` statement looks up __enter__ and __exit__ on the type of a scope or snapshot and binds both to it before it
 * calls either. The first to be bound makes a block and leaves it here, the second takes it. So both are the same object,
 * made for this statement alone, and the exit ends what the entry bound, however many units have the same scope open.
 * Python code that binds one of them, as contextlib.ExitStack does from 3.15 on, calls its __get__ by name, and that makes
 * no block.
 *
 * Before 3.14 nothing else runs in this thread between the two. From 3.14 on they are two instructions, and a function that
 * traces instructions runs between them and may have with statements of its own: the frame tells them apart. */
#ifndef XCTX_PAIRING_H
#define XCTX_PAIRING_H

#include "xctx/_runtime/cpython.h"

/* Of the thread: owned. NULL except between the two. */
extern XCTX_HIDDEN XCTX_TLS_FAST PyObject *xctx_half_paired;

/* Whether a method that was looked up may be the first of a statement's two: before 3.14 that is __enter__, from 3.14 on
 * __exit__. */
#define xctx_may_be_first(is_exit) ((is_exit) == (PY_VERSION_HEX >= 0x030E0000))

/* The frame that runs: compared only. NULL where it makes no difference. */
static inline void *xctx_frame_of_statement(void) {
#if PY_VERSION_HEX >= 0x030E0000
    return (void *)xctx_innermost_frame(xctx_tstate());
#else
    return NULL;
#endif
}

#endif
