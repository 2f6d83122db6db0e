/* Chains of objects that are freed in a loop.
 *
 * A chain may be of any length. CPython's own remedy for long chains, the trashcan, goes fifty frees deep before it stacks
 * up the rest, and some versions several times as deep: too deep for a thread with a stack of 128 KB.
 *
 * The destructor that Cython made is called for a link that refers to no further link any more. Whatever it runs
 * (finalisers, which may switch greenlets) finds no state of this loop. Then the reference to the next link is dropped. If
 * it was the last one, the next link's destructor is called, finds that the loop awaits it, and leaves it to the loop. No
 * reference count is looked at, so it does not matter who else refers to the link, nor which thread owns it: a link that
 * lives on, or that is left to its owner to free, ends the loop.
 *
 * links.c is a part of each extension module that has a type of links, one type a module. */
#ifndef XCTX_LINKS_H
#define XCTX_LINKS_H

#include "xctx/_runtime/cpython.h"

/* Makes objects of a type be freed so. `outer` is the offset of an object's reference to the next link, which may be None. */
XCTX_HIDDEN void xctx_free_in_a_loop(PyTypeObject *type, Py_ssize_t outer);

#endif
