#include "xctx/_stores/getattro.h"

/* Process, like the type that they belong to. Set once, when the module is imported. */
PyObject *xctx_missing;
static getattrofunc find_attribute;   /* the slot as Cython filled it */
static const char *missing_has;
static PyObject *(*why_missing)(PyObject *self, PyObject *name);

const char *xctx_type_name(PyObject *o) {
    const char *dot = strrchr(Py_TYPE(o)->tp_name, '.');
    return dot ? dot + 1 : Py_TYPE(o)->tp_name;
}

/* Makes what PyUnicode_FromFormat would, which takes longer than all the rest of a look-up that fails. */
static PyObject *message(const char *type, PyObject *name, PyObject *why) {
    size_t type_size = strnlen(type, 200), has_size = strlen(missing_has), name_size, why_size, i;
    unsigned char high = 0;
    PyObject *made;
    char *at;
    for (i = 0; i < type_size; i++) high |= (unsigned char)type[i];
    if (high & 0x80 || !PyUnicode_IS_ASCII(name) || !PyUnicode_IS_ASCII(why)) {
        return PyUnicode_FromFormat("'%.200s' object %s '%U'%U", type, missing_has, name, why);
    }
    name_size = (size_t)PyUnicode_GET_LENGTH(name);
    why_size = (size_t)PyUnicode_GET_LENGTH(why);
    made = PyUnicode_New((Py_ssize_t)(type_size + has_size + name_size + why_size + 13), 127);
    if (made == NULL) return NULL;
    at = (char *)PyUnicode_1BYTE_DATA(made);
    *at++ = '\'';
    at = (char *)memcpy(at, type, type_size) + type_size;
    at = (char *)memcpy(at, "' object ", 9) + 9;
    at = (char *)memcpy(at, missing_has, has_size) + has_size;
    *at++ = ' ';
    *at++ = '\'';
    at = (char *)memcpy(at, PyUnicode_1BYTE_DATA(name), name_size) + name_size;
    *at++ = '\'';
    memcpy(at, PyUnicode_1BYTE_DATA(why), why_size);
    return made;
}

static PyObject *raise_missing(PyObject *self, PyObject *name) {
    PyObject *why = why_missing == NULL ? PyUnicode_New(0, 0) : why_missing(self, name);
    PyObject *said = why == NULL ? NULL : message(xctx_type_name(self), name, why);
    if (said != NULL) PyErr_SetObject(PyExc_AttributeError, said);
    Py_XDECREF(said);
    Py_XDECREF(why);
    return NULL;
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
        return raise_missing(self, name);
    }
    return found;
}

int xctx_install_getattro(PyObject *type, PyObject *missing, const char *has,
                          PyObject *(*why)(PyObject *self, PyObject *name)) {
    xctx_missing = Py_NewRef(missing);
    missing_has = has;
    why_missing = why;
    find_attribute = xctx_replace_getattro((PyTypeObject *)type, getattro);
    return find_attribute == NULL ? -1 : 0;
}
