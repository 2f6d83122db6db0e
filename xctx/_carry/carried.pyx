# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Plain callables that run with a snapshot applied. Those that run in steps are in ``isolated.pyx``."""
cimport cython
from cpython.object cimport PyObject, PyTypeObject

from xctx._carry.snapshot cimport Snapshot, call_in
from xctx._runtime.python cimport (PyVectorcall_NARGS, vectorcallfunc, xctx_enter_recursion, xctx_give_vectorcall,
                                   xctx_leave_recursion)
from xctx._runtime.runtime cimport connect
from xctx._runtime import copies
from types import MethodType


cdef extern from *:
    """
    #define XCTX_VECTORCALL_OF_CARRIED offsetof(struct __pyx_obj_4xctx_6_carry_7carried_Carried, vectorcall)
    """
    Py_ssize_t VECTORCALL_OF_CARRIED "XCTX_VECTORCALL_OF_CARRIED"


connect()


@cython.final
@cython.no_gc_clear
@cython.freelist(16)
@cython.trashcan(True)   # they may be nested to any depth
cdef class Carried:
    """A callable together with the snapshot that it is called in.

    Thread-safety: never changes.
    Lifetime: holds the callable and the snapshot.
    """

    def __cinit__(self, Snapshot snapshot not None, func):
        self.snapshot = snapshot
        self.__wrapped__ = func
        self.vectorcall = <vectorcallfunc>carried_call

    def __call__(self, *args, **kwargs):
        return self.snapshot.run(self.__wrapped__, *args, **kwargs)

    def __get__(self, instance, cls):
        # As an attribute of a class it is bound to the instance, like a method, if the callable in it would be.
        if instance is None or not hasattr(type(innermost(self)), "__get__"):
            return self
        return MethodType(self, instance)

    def __getattr__(self, name):
        return getattr(innermost(self), name)

    def __repr__(self):
        return f"<{self.__wrapped__!r} with {self.snapshot!r}>"

    def __reduce_ex__(self, protocol):
        from xctx._runtime.importable import is_at, object_at
        module = getattr(self.__wrapped__, "__module__", None)
        name = getattr(self.__wrapped__, "__qualname__", None)
        if is_at(self, module, name):   # this decorates the function of that name, so the name leads here, not to the function
            return object_at, (module, name)
        return Carried, (self.snapshot, self.__wrapped__)

    def _cross(self):
        maker, args = self.__reduce_ex__(2)
        return maker.__module__, maker.__name__, *args


cdef object innermost(Carried carried):
    """The callable in it, or, if that is a Carried too, the one in that, and so on."""
    cdef object func = carried.__wrapped__
    while isinstance(func, Carried):
        func = (<Carried>func).__wrapped__
    return func


cdef object carried_call(PyObject *carried, PyObject **args, size_t nargsf, PyObject *kwnames):
    # Carried.__call__ without a tuple or a dict.
    xctx_enter_recursion(3, b" while calling a carried function")
    try:
        return call_in((<Carried>carried).snapshot, <PyObject*>(<Carried>carried).__wrapped__, args,
                       PyVectorcall_NARGS(nargsf), kwnames)
    finally:
        xctx_leave_recursion(3)


xctx_give_vectorcall(<PyTypeObject*>Carried, VECTORCALL_OF_CARRIED)
if hasattr(copies, "let_cross"):   # from 3.14 on
    copies.let_cross(Carried)
