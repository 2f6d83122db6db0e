/* The types of proxies, and the class that a LocalWrapper gets for its target's type; class.c has the idea. */
#ifndef XCTX_PROXY_CLASS_H
#define XCTX_PROXY_CLASS_H

#include "xctx/_proxy/body.h"

#if defined(__GNUC__)
#  pragma GCC visibility push(hidden)
#endif

/* ---- what proxy.pyx sets, once, when it is imported -------------------------------------------------------- */

/* Finds or makes the class for wrappers of class `leaf` around objects of `type`. A new reference. */
extern PyObject *(*proxy_find_class)(PyTypeObject *leaf, PyTypeObject *type);

/* LocalProxy.__init__: decides what kind of source it is. */
extern int (*proxy_configure)(PyObject *self, PyObject *args, PyObject *kwargs);

/* A new _LazyFactory of a callable, which the caller has not checked. */
extern PyObject *(*proxy_new_factory)(PyObject *factory);

/* Counts the deaths of target types, because a new type can get the address of a dead one. Atomic, never goes down. */
extern uint64_t proxy_type_deaths;

/* ---- what class.c defines ---------------------------------------------------------------------------------- */

/* Makes everything, once, when the module is imported. `implicit_names` is a frozenset of the names that the compiler puts
 * into every class, `plain` an empty class written in Python, `union_type` the type of `int | str`. */
int proxy_init(PyObject *implicit_names, PyObject *plain, PyObject *union_type);

/* A type from its spec, with one base or none. */
PyTypeObject *proxy_make_type(PyType_Spec *spec, PyTypeObject *base);

/* Which lines of the table a wrapper of an object of `type` has: a bit each, the IF methods after the IF slots. */
uint64_t proxy_mask(PyTypeObject *type);

/* A new class with these lines, for wrappers of class `leaf` around objects of `type`. */
PyObject *proxy_make_class(PyTypeObject *leaf, PyTypeObject *type, uint64_t mask, const char *name);

/* A new wrapper of class `leaf`, which is LocalWrapper or a subclass written in Python, around `obj`. */
PyObject *proxy_wrap(PyTypeObject *leaf, PyObject *obj);

#if defined(__GNUC__)
#  pragma GCC visibility pop
#endif

#endif
