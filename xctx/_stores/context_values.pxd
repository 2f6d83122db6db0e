"""Context values: the names and values that a store keeps in a context, under the keys `flow` and `context`."""
cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t

from xctx._runtime.python cimport PyTuple_CheckExact_, PyTuple_GET_ITEM_, PyTuple_GET_SIZE_, Py_XINCREF_, visitproc
from xctx._stores.names cimport is_interned


@cython.final
cdef class ContextValues:
    # A tuple (name, value, name, value, ...) with interned names, or a dict if there are many, or NULL once the store has
    # died. This owns it on behalf of the store: the collector sees it as the store's, not as this object's.
    cdef PyObject *content
    cdef bint of_flow          # never changes: the store's key is `flow`
    cdef uint32_t forks        # never changes: the count of forks in the process that they were made in
    # The store's list: guarded by the lock of values.pyx.
    cdef PyObject **head     # where the list's first element is noted: in the store, or on the heap while the list is emptied
    cdef PyObject *prev
    cdef PyObject *next


cdef ContextValues context_values(PyObject **head, object content, bint of_flow)
cdef object publish(PyObject **head, object var, object content, bint of_flow)
cdef ContextValues current_values(object var)
cdef PyObject **detach_list(PyObject **head) noexcept
cdef void release_list(PyObject **head) noexcept
cdef int traverse_list(PyObject *first, visitproc visit, void *arg) noexcept
cdef PyObject *read_content_slowly(PyObject *content, PyObject *name) except? NULL
cdef object with_name(PyObject *content, object name, object value)
cdef dict as_new_dict(PyObject *content)
cdef object as_content(dict names)


cdef inline PyObject *read_content(PyObject *content, PyObject *name) except? NULL:
    """A new reference to the value of a name, a plain str; or NULL with no exception."""
    cdef PyObject *found
    cdef Py_ssize_t i
    if content == NULL:
        return NULL
    if PyTuple_CheckExact_(content):
        for i in range(0, PyTuple_GET_SIZE_(content), 2):
            if PyTuple_GET_ITEM_(content, i) == name:
                found = PyTuple_GET_ITEM_(content, i + 1)
                Py_XINCREF_(found)
                return found
        if is_interned(name):
            return NULL
    return read_content_slowly(content, name)
