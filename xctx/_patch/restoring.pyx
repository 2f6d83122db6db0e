# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""What asgiref does in Python wherever it moves work between threads: it sets here what is set in another context.

Under Django that is a few dozen times a request.
"""
cimport cython
from cpython.object cimport PyObject

from xctx._runtime.python cimport (PyContextVar_Get_, xctx_hold_collector, xctx_release_collector, xctx_taken, xctx_tstate,
                                   xctx_var_set)


@cython.final
cdef class Restorer:
    """What ``asgiref.sync._restore_context`` does, as its method of that name.

    Thread-safety: never changes.
    Lifetime: held by its bound method, which is put into asgiref's module.
    """
    cdef object storage     # the type of what asgiref's own stores keep in context variables, or None before asgiref 3.12
    cdef object transfer    # gives the same storage as one of the thread that is asked for by the next
    cdef object threading   # the module, because gevent replaces its get_ident
    cdef bint by_identity   # from asgiref 3.13 on. Before, what is equal to what is set already was not set

    def __cinit__(self, *, storage, transfer, threading, bint by_identity):
        self.storage, self.transfer, self.threading, self.by_identity = storage, transfer, threading, by_identity

    def _restore_context(self, context):
        """Sets each context variable that is set in another context to the value that it has there.

        Args:
            context: the other context. Where it is the current one, only asgiref's own stores are made seen in this thread.
        """
        cdef PyObject *here
        cdef bint current = xctx_tstate().context == <PyObject*>context
        cdef bint collects = xctx_hold_collector()   # see xctx_iterate_context
        try:
            pairs = context.items()
        finally:
            xctx_release_collector(collects)
        for var, value in pairs:
            if type(value) is self.storage:
                # It never changes, so another object for the same thread would make no difference.
                if value.thread_id != self.threading.get_ident():
                    value = self.transfer(value)
            elif current:
                continue
            here = NULL
            PyContextVar_Get_(<PyObject*>var, NULL, &here)
            if here != NULL:
                found = xctx_taken(here)
                if found is value or not self.by_identity and are_equal(found, value):
                    continue
            xctx_var_set(var, value)


cdef bint are_equal(here, there) except -1:
    try:
        return not here != there
    except LookupError:   # asgiref takes it for that of a variable which is not set
        return False
