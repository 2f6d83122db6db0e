/* The bound methods and iterators that a LocalWrapper gives out on free-threaded builds; nogil.c has the idea. */
#ifndef XCTX_PROXY_NOGIL_H
#define XCTX_PROXY_NOGIL_H

#include "xctx/_proxy/body.h"

#ifdef Py_GIL_DISABLED

#if defined(__GNUC__)
#  pragma GCC visibility push(hidden)
#endif

/* State of the process, made by proxy_nogil_init() and never changed afterwards. */
extern PyTypeObject *proxy_method_type;
extern PyTypeObject *proxy_iterator_type;

/* Once, when the module is imported and the base type is there. */
int proxy_nogil_init(void);

/* `function` bound to the target of `wrapper`, which has one. Consumes the reference to `function`. */
PyObject *proxy_method_new(PyObject *wrapper, PyObject *function);

/* The bound method that CPython would have made. */
PyObject *proxy_method_real(PyObject *self);

/* Frees the memory that a wrapper kept for its next method. */
void proxy_method_free(PyObject *spare);

/* An iterator over `target`, which is `wrapper`'s own. */
PyObject *proxy_iterator_new(PyObject *wrapper, PyObject *target);

/* The iterator that CPython would have made, at the same place. */
PyObject *proxy_iterator_real(PyObject *self);

#if defined(__GNUC__)
#  pragma GCC visibility pop
#endif

#endif
#endif
