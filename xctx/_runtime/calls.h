/* Functions and methods that are called by vectorcall: their arguments come as an array, without a tuple or a dict. */
#ifndef XCTX_CALLS_H
#define XCTX_CALLS_H

#include <Python.h>

/* The C function of a function or a method that the next two make. */
typedef PyObject *(*xctx_fast_call)(PyObject *self, PyObject **args, Py_ssize_t n, PyObject *kwnames);

/* Fills `def`, which must live as long as the function, so it should be static. */
static inline void xctx_define(PyMethodDef *def, const char *name, xctx_fast_call call, const char *doc) {
    def->ml_name = name;
    def->ml_meth = (PyCFunction)(void (*)(void))call;
    def->ml_flags = METH_FASTCALL | METH_KEYWORDS;
    def->ml_doc = doc;
}

/* A function of a module; `self` is NULL in its calls. */
static inline PyObject *xctx_make_function(PyMethodDef *def, PyObject *module, const char *name, xctx_fast_call call,
                                           const char *doc) {
    xctx_define(def, name, call, doc);
    return PyCFunction_NewEx(def, NULL, module);
}

/* A method, to be put into the dict of the type. */
static inline PyObject *xctx_make_method(PyMethodDef *def, PyTypeObject *type, const char *name, xctx_fast_call call,
                                         const char *doc) {
    xctx_define(def, name, call, doc);
    return PyDescr_NewMethod(type, def);
}

#endif
