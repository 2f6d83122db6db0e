/* Functions and methods that take their arguments as they come: by vectorcall, without a tuple or a dict. */
#ifndef XCTX_CALLS_H
#define XCTX_CALLS_H

#include <Python.h>

/* What stands behind a function or a method made by the next two. */
typedef PyObject *(*xctx_fast_call)(PyObject *self, PyObject **args, Py_ssize_t n, PyObject *kwnames);

/* `def` is filled here and must live as long as the function: let it be static. */
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
