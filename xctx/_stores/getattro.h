/* Attribute look-ups that fail fast.
 *
 * hasattr() and getattr() with a default swallow the AttributeError. Where a Cython method raises it, a traceback is made
 * that they swallow too, which costs more than the rest of the look-up. So the __getattribute__ of a store returns the
 * object `xctx_missing` instead, and the function in the type's slot raises.
 *
 * getattro.c is a part of each extension module that has a store's type, and the variables are that module's own. */
#ifndef XCTX_GETATTRO_H
#define XCTX_GETATTRO_H

#include "xctx/_stores/names.h"

extern XCTX_HIDDEN PyObject *xctx_missing;   /* owned; set once, by the next */

/* Makes a type's __getattribute__ fail fast. It must be called before anything derives from the type. The message of the
 * error is "'TYPE' object <has> 'NAME'<why>": `has` is ASCII, `why` gives a new reference to a str, or NULL with an error.
 * Where `why` is NULL, nothing follows the name. */
XCTX_HIDDEN int xctx_install_getattro(PyObject *type, PyObject *missing, const char *has,
                                      PyObject *(*why)(PyObject *self, PyObject *name));

/* The name of the object's type, without its module. */
XCTX_HIDDEN const char *xctx_type_name(PyObject *o);

#endif
