#include "xctx/_stores/getattro.h"

/* Of the process, like the type that they are about. Set once, when the module is imported. */
PyObject *xctx_missing;
static getattrofunc find_attribute;   /* the slot as Cython filled it */
static const char *missing_format;

const char *xctx_type_name(PyObject *o) {
    const char *dot = strrchr(Py_TYPE(o)->tp_name, '.');
    return dot ? dot + 1 : Py_TYPE(o)->tp_name;
}

static PyObject *getattro(PyObject *self, PyObject *name) {
    PyObject *found;
    if (XCTX_UNLIKELY(!PyUnicode_CheckExact(name))) {
        if ((name = xctx_plain_name(name)) == NULL) return NULL;
        found = getattro(self, name);
        Py_DECREF(name);
        return found;
    }
    found = find_attribute(self, name);
    if (XCTX_UNLIKELY(found == xctx_missing)) {
        Py_DECREF(found);
        return PyErr_Format(PyExc_AttributeError, missing_format, xctx_type_name(self), name);
    }
    return found;
}

int xctx_install_getattro(PyObject *type, PyObject *missing, const char *format) {
    xctx_missing = Py_NewRef(missing);
    missing_format = format;
    find_attribute = xctx_replace_getattro((PyTypeObject *)type, getattro);
    return find_attribute == NULL ? -1 : 0;
}
