/* The two methods of one `with` statement, matched.
 *
 * A `with` statement looks up __enter__ and __exit__ on the scope's type and binds both to the scope before it calls
 * either; nothing else runs in this thread in between. The first to be bound makes a block and leaves it here, the second
 * takes it. So both are the same object, made for this statement alone, and the exit ends what the entry bound, however
 * many units have the same scope open. */
#ifndef XCTX_PAIRING_H
#define XCTX_PAIRING_H

#include "xctx/_runtime/cpython.h"

/* Of the thread: owned. NULL but between the two. */
extern XCTX_HIDDEN XCTX_TLS_FAST PyObject *xctx_half_paired;

#endif
