"""Calls by vectorcall: see calls.h."""
from cpython.object cimport PyObject, PyTypeObject


cdef extern from "Python.h":
    ctypedef PyObject *(*vectorcallfunc)(PyObject *, PyObject **, size_t, PyObject *)
    ctypedef struct PyMethodDef:
        pass
    object PyObject_Vectorcall(PyObject *, PyObject **, size_t, PyObject *)
    Py_ssize_t PyVectorcall_NARGS(size_t)

cdef extern from "xctx/_runtime/calls.h":
    ctypedef object (*xctx_fast_call)(PyObject *self, PyObject **args, Py_ssize_t n, PyObject *kwnames)
    void xctx_give_vectorcall(PyTypeObject *, Py_ssize_t)
    void xctx_inherit_vectorcall(PyTypeObject *, PyTypeObject *)
    object xctx_fast_function(PyMethodDef *, object, const char *, xctx_fast_call, const char *)
    object xctx_fast_method(PyMethodDef *, PyTypeObject *, const char *, xctx_fast_call, const char *)
