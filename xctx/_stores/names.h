/* Names of attributes: interned names, reserved names, and names whose class is str itself. */
#ifndef XCTX_NAMES_H
#define XCTX_NAMES_H

#include "xctx/_runtime/cpython.h"

/* Two interned names are equal only if they are the same object. */
#define xctx_is_interned(name) (PyUnicode_CheckExact(name) && PyUnicode_CHECK_INTERNED(name))

/* Whether it is a str that starts with an underscore. It looks at the characters, whatever class the str has. */
static inline int xctx_is_reserved(PyObject *name) {
    if (XCTX_UNLIKELY(!PyUnicode_Check(name))) return 0;
    if (XCTX_LIKELY(PyUnicode_IS_COMPACT_ASCII(name))) return *(const char *)(((PyASCIIObject *)name) + 1) == '_';
    return PyUnicode_GET_LENGTH(name) && PyUnicode_READ_CHAR(name, 0) == '_';
}

/* The name as an object of type str itself, a new reference. A class derived from str may override comparing, hashing or
 * str(): its code would run in the middle of a search, or a name might be bound that is not the one that was checked. */
static inline PyObject *xctx_plain_name(PyObject *name) {
    if (XCTX_LIKELY(PyUnicode_CheckExact(name))) return Py_NewRef(name);
    if (PyUnicode_Check(name)) return PyUnicode_FromObject(name);
    return PyErr_Format(PyExc_TypeError, "attribute name must be string, not '%.200s'", Py_TYPE(name)->tp_name);
}

/* The same, interned. */
static inline PyObject *xctx_interned(PyObject *name) {
    name = xctx_plain_name(name);
    if (name != NULL) PyUnicode_InternInPlace(&name);
    return name;
}

#endif
