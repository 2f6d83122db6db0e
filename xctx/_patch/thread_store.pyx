# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""The store by which asgiref finds the thread that waits for a task, read in C.

asgiref asks it in each call of ``sync_to_async``, a few dozen times a request under Django, and nearly always nothing is
set: asgiref's own class then raises two errors, and makes their messages.
"""
cimport cython
from cpython.object cimport PyObject, PyObject_GenericGetAttr

from xctx._runtime.python cimport PyContextVar_Get_, xctx_dict_get, xctx_taken, xctx_var_set


@cython.final
cdef class ThreadStore:
    """A store of asgiref's, with the same attributes: they are kept where asgiref's own object keeps them.

    An attribute is seen in the context in which it was set, and there only by the thread that set it or that
    ``_restore_context`` has given it to.

    Thread-safety: any thread may use it; what is kept never changes, but is replaced.
    Lifetime: holds the variable, not asgiref's object.
    """
    cdef object variable    # the context variable of asgiref's object
    cdef object storage     # the type of what that has: an object with `thread_id` and `data`
    cdef object threading   # the module, because gevent replaces its get_ident

    def __cinit__(self, *, variable, storage, threading):
        self.variable, self.storage, self.threading = variable, storage, threading

    def __getattribute__(self, name):
        cdef PyObject *found = NULL
        data = data_here(self)
        if data is not None:
            xctx_dict_get(<PyObject*>data, <PyObject*>name, &found)
            if found != NULL:
                return xctx_taken(found)
        return PyObject_GenericGetAttr(self, name)

    def __setattr__(self, name, value):
        data = data_here(self)
        data = {} if data is None else data.copy()
        data[name] = value
        replace(self, data)

    def __delattr__(self, name):
        data = data_here(self)
        if data is None or name not in data:
            raise AttributeError(f"{self!r} object has no attribute {name!r}")
        data = data.copy()
        del data[name]
        replace(self, data)


cdef dict data_here(ThreadStore self):
    """The attributes of this thread in the current context, or None."""
    cdef PyObject *here = NULL
    PyContextVar_Get_(<PyObject*>self.variable, NULL, &here)
    if here == NULL:
        return None
    found = xctx_taken(here)
    if type(found) is not self.storage or found.thread_id != self.threading.get_ident():
        return None
    return found.data


cdef int replace(ThreadStore self, dict data) except -1:
    xctx_var_set(self.variable, self.storage(self.threading.get_ident(), data))
    return 0
