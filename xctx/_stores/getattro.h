/* Attribute look-ups that fail fast.
 *
 * hasattr() and getattr() with a default ask, and forget the AttributeError. Where a Cython method raises it, a traceback is
 * made for them to forget too, which costs more than all the rest. So the __getattribute__ of a store returns this room's
 * `missing` instead, and what stands in the type's slot raises. */
#ifndef XCTX_GETATTRO_H
#define XCTX_GETATTRO_H

#include "xctx/_runtime/compat.h"

static PyObject *xctx_missing;             /* owned; set once, with the next two, when the room is imported */
static getattrofunc xctx_find_attribute;   /* the slot as Cython filled it */
static const char *xctx_missing_format;    /* takes the type's name and the attribute's */

static const char *xctx_type_name(PyObject *o) {
    const char *dot = strrchr(Py_TYPE(o)->tp_name, '.');
    return dot ? dot + 1 : Py_TYPE(o)->tp_name;
}

/* A name is looked for, and kept, as a plain str: where a class of its own overrides comparing or hashing, its code would
 * run in the midst of a search. A new reference. */
static PyObject *xctx_plain_name(PyObject *name) {
    if (XCTX_LIKELY(PyUnicode_CheckExact(name))) return Py_NewRef(name);
    if (PyUnicode_Check(name)) return PyUnicode_FromObject(name);
    return PyErr_Format(PyExc_TypeError, "attribute name must be string, not '%.200s'", Py_TYPE(name)->tp_name);
}

static PyObject *xctx_getattro(PyObject *self, PyObject *name) {
    PyObject *found;
    if (XCTX_UNLIKELY(!PyUnicode_CheckExact(name))) {
        if ((name = xctx_plain_name(name)) == NULL) return NULL;
        found = xctx_getattro(self, name);
        Py_DECREF(name);
        return found;
    }
    found = xctx_find_attribute(self, name);
    if (XCTX_UNLIKELY(found == xctx_missing)) {
        Py_DECREF(found);
        return PyErr_Format(PyExc_AttributeError, xctx_missing_format, xctx_type_name(self), name);
    }
    return found;
}

/* Before anything derives from the type. A subclass takes its slot from the wrapper in the type's dict, so that one is
 * turned to the same function. */
static int xctx_install_getattro(PyObject *type, PyObject *missing, const char *format) {
    PyTypeObject *tp = (PyTypeObject *)type;
    PyObject *wrapper = PyDict_GetItemString(tp->tp_dict, "__getattribute__");
    if (wrapper == NULL || !Py_IS_TYPE(wrapper, &PyWrapperDescr_Type)) {
        PyErr_SetString(PyExc_SystemError, "a store's type has no __getattribute__ of its own");
        return -1;
    }
    xctx_missing = Py_NewRef(missing);
    xctx_missing_format = format;
    xctx_find_attribute = tp->tp_getattro;
    tp->tp_getattro = xctx_getattro;
    ((PyWrapperDescrObject *)wrapper)->d_wrapped = (void *)xctx_getattro;
    PyType_Modified(tp);
    return 0;
}

#endif
