"""Functions and methods that are called by vectorcall: see calls.h."""
from cpython.object cimport PyObject, PyTypeObject


cdef extern from "Python.h":
    ctypedef struct PyMethodDef:
        pass

cdef extern from "xctx/_runtime/calls.h":
    ctypedef object (*xctx_fast_call)(PyObject *self, PyObject **args, Py_ssize_t n, PyObject *kwnames)
    object xctx_make_function(PyMethodDef *, object, const char *, xctx_fast_call, const char *)
    object xctx_make_method(PyMethodDef *, PyTypeObject *, const char *, xctx_fast_call, const char *)
