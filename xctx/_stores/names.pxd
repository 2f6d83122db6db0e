"""Names of attributes: interned names, reserved names, and names whose class is str itself."""
from cpython.object cimport PyObject


cdef extern from "xctx/_stores/names.h":
    bint is_interned "xctx_is_interned"(PyObject *)
    bint is_reserved "xctx_is_reserved"(PyObject *)
    object plain_name "xctx_plain_name"(object)
    object interned "xctx_interned"(object)
