# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Context values: the names and values that a store keeps in a context, under the keys `flow` and `context`.

A context variable holds them. They never change: each change of the store makes new ones, in the context that is current, so
copied contexts share them until the store is changed in one of the contexts. Contexts own the object. The names and values in
it belong to the store, which has all its context values in a list: so the garbage collector sees the values as the store's,
and they are released when the store dies, although contexts live on. What then remains in a context is an empty object under
the variable of the store. These are removed once in a while, when another store is changed in it.
"""
cimport cython
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport uint64_t

from contextvars import ContextVar

from xctx._runtime.python cimport (PyContextVar_Get_, PyMem_RawFree, PyMem_RawMalloc, PyThreadState, PyTuple_New_,
                                   PyTuple_SET_ITEM_, Py_DECREF_, Py_INCREF_, Py_XDECREF_, xctx_dict_get,
                                   xctx_copy_context, xctx_forbid_instances, xctx_load_u64, xctx_lock, xctx_mutex,
                                   xctx_store_u64, xctx_taken, xctx_tstate, xctx_unlock, xctx_var_set)
from xctx._runtime.runtime cimport connect, xctx_count_contexts, xctx_fork_count, xctx_put
from xctx._stores.names cimport interned
from xctx._stores.values cimport MOST, stores_lock


connect()


cdef xctx_mutex *lock = stores_lock()   # of values.pyx: it guards the lists of all stores

# How many stores have died that contexts had values of. It is changed with the lock held.
cdef uint64_t deaths = 0
# In a context: how many had died when what was left of them was last removed.
cdef object CLEANED_AT = ContextVar("xctx.cleaned_at")

cdef enum:
    FEW = 64   # so many have died since, at least: to look through a context takes as long as there is much in it


@cython.final
@cython.freelist(32)
cdef class ContextValues:
    """What a store holds in a context.

    Thread-safety: any thread that holds a reference may read it.
    Lifetime: held by contexts. Its content is released when this dies, or when the store does.
    """

    def __dealloc__(self):
        cdef PyObject *content
        xctx_lock(lock)
        content = remove_from_list(<PyObject*>self)
        xctx_unlock(lock)
        Py_XDECREF_(content)


xctx_forbid_instances(<PyTypeObject*>ContextValues)


cdef PyObject *remove_from_list(PyObject *values) noexcept:
    """Removes them from their list and takes out their content, for the caller to release. With the lock held."""
    cdef PyObject *content = (<ContextValues>values).content
    cdef PyObject *prev = (<ContextValues>values).prev
    cdef PyObject *following = (<ContextValues>values).next
    if content != NULL:
        if prev != NULL:
            (<ContextValues>prev).next = following
        elif (<ContextValues>values).head != NULL:
            (<ContextValues>values).head[0] = following
        if following != NULL:
            (<ContextValues>following).prev = prev
        (<ContextValues>values).content = NULL
    return content


cdef ContextValues context_values(PyObject **head, object content, bint of_flow):
    """Makes context values that are in no context yet.

    Args:
        head: the head of the store's list.
        of_flow: whether the store's key is `flow`.
    """
    cdef ContextValues made = ContextValues.__new__(ContextValues)
    made.forks = xctx_fork_count()
    made.of_flow = of_flow
    Py_INCREF(content)   # this reference belongs to `made`
    xctx_lock(lock)
    made.content = <PyObject*>content
    made.head = head
    made.next = head[0]
    if made.next != NULL:
        (<ContextValues>made.next).prev = <PyObject*>made
    head[0] = <PyObject*>made
    xctx_unlock(lock)
    return made


cdef object publish(PyObject **head, object var, object content, bint of_flow):
    """Makes the content current in this context. Returns the token of `var`, the store's context variable."""
    token = xctx_var_set(var, context_values(head, content, of_flow))
    xctx_count_contexts(xctx_tstate())   # setting it may have made a context
    if xctx_load_u64(&deaths) >= FEW:
        try:
            clean_context()
        except MemoryError:
            pass   # another time, then: the store has been changed
    return token


cdef int clean_context() except -1:
    """Removes from this context, if enough stores have died since the last time, what is left in it of such. Runs no code of
    others: what goes is empty."""
    cdef PyObject *noted = NULL
    cdef uint64_t died = xctx_load_u64(&deaths)
    cdef list variables = []
    cdef bint is_dead
    PyContextVar_Get_(<PyObject*>CLEANED_AT, NULL, &noted)
    cleaned_at = 0 if noted == NULL else xctx_taken(noted)
    if died - <uint64_t>cleaned_at < FEW:
        return 0
    for var, value in xctx_copy_context().items():
        if type(value) is ContextValues:
            xctx_lock(lock)
            is_dead = (<ContextValues>value).content == NULL
            xctx_unlock(lock)
            if is_dead:
                variables.append(var)
    for var in variables:
        xctx_put(xctx_tstate(), <PyObject*>var, NULL, NULL)
    xctx_var_set(CLEANED_AT, died)
    return 0


cdef ContextValues current_values(object var):
    """What the variable holds in this context, or None."""
    cdef PyThreadState *tstate = xctx_tstate()
    cdef PyObject *value = NULL
    if tstate.context == NULL:
        return None
    xctx_count_contexts(tstate)
    PyContextVar_Get_(<PyObject*>var, NULL, &value)
    found = None if value == NULL else xctx_taken(value)
    return None if found is None else <ContextValues?>found   # inherited.pyx sets variables to None


# --- the death of a store, and the collector -------------------------------------------------------------------------

cdef PyObject **detach_list(PyObject **head) noexcept:
    """Detaches the list of a store that lives on, for the caller to release. NULL if it is empty, or there is none."""
    # The new head is on the heap: a finaliser may switch to a greenlet that uses the list while this stack is moved away.
    cdef PyObject **detached = NULL
    cdef PyObject *values
    if head == NULL:
        return NULL
    xctx_lock(lock)
    values = head[0]
    if values != NULL:
        detached = <PyObject**>PyMem_RawMalloc(sizeof(PyObject*))
    if detached != NULL:   # otherwise there is no memory, and the values stay until the store dies
        detached[0] = values
        head[0] = NULL
        while values != NULL:
            (<ContextValues>values).head = detached
            values = (<ContextValues>values).next
    xctx_unlock(lock)
    return detached


cdef void release_list(PyObject **head) noexcept:
    # Runs finalisers, hence any Python code. Contexts that die meanwhile remove their values from the list.
    cdef PyObject *content
    if head != NULL:
        xctx_lock(lock)
        if head[0] != NULL:
            xctx_store_u64(&deaths, deaths + 1)
        xctx_unlock(lock)
    while head != NULL:
        xctx_lock(lock)
        content = NULL if head[0] == NULL else remove_from_list(head[0])
        xctx_unlock(lock)
        if content == NULL:
            PyMem_RawFree(head)
            break
        Py_DECREF_(content)


cdef int traverse_list(PyObject *first, visitproc visit, void *arg) noexcept:
    """Shows the collector what a store keeps."""
    cdef PyObject *values = first
    cdef int result = 0
    while values != NULL and not result:
        if (<ContextValues>values).content != NULL:
            result = visit((<ContextValues>values).content, arg)
        values = (<ContextValues>values).next
    return result


# --- contents --------------------------------------------------------------------------------------------------------

cdef PyObject *read_content_slowly(PyObject *content, PyObject *name) except? NULL:
    # The rest of `read_content`: the content is a dict, or the name is not interned.
    cdef PyObject *found = NULL
    cdef Py_ssize_t i
    if not PyTuple_CheckExact_(content):
        xctx_dict_get(content, name, &found)
        return found
    for i in range(0, PyTuple_GET_SIZE_(content), 2):
        if <object>PyTuple_GET_ITEM_(content, i) == <object>name:
            found = PyTuple_GET_ITEM_(content, i + 1)
            Py_INCREF_(found)
            break
    return found


cdef object with_name(PyObject *content, object name, object value):
    """A copy of the content, which the caller holds, in which one name has another value."""
    cdef PyObject *changed
    cdef PyObject *each
    cdef Py_ssize_t i, n, at
    if not is_interned(<PyObject*>name):
        name = interned(name)
    if content == NULL:
        return (name, value)
    if not PyTuple_CheckExact_(content):
        return {**<dict>content, name: value}
    n = at = PyTuple_GET_SIZE_(content)
    for i in range(0, n, 2):
        if PyTuple_GET_ITEM_(content, i) == <PyObject*>name:
            at = i
            break
    if at == n and n >= 2 * MOST:
        return {**as_new_dict(content), name: value}
    changed = PyTuple_New_(n if at < n else n + 2)
    for i in range(n):
        each = PyTuple_GET_ITEM_(content, i) if i != at + 1 else <PyObject*>value
        Py_INCREF_(each)
        PyTuple_SET_ITEM_(changed, i, each)
    if at == n:
        Py_INCREF_(<PyObject*>name)
        PyTuple_SET_ITEM_(changed, n, <PyObject*>name)
        Py_INCREF_(<PyObject*>value)
        PyTuple_SET_ITEM_(changed, n + 1, <PyObject*>value)
    return xctx_taken(changed)


cdef dict as_new_dict(PyObject *content):
    """A new dict of the names and values."""
    if content == NULL:
        return {}
    _held = <object>content   # making the dict may run the collector, and a finaliser may replace the content
    if PyTuple_CheckExact_(content):
        items = iter(<tuple>content)
        return dict(zip(items, items))
    return dict(<dict>content)


cdef object as_content(dict names):
    """The content of context values with these names and values. The dict may become a part of them."""
    if len(names) > MOST:
        return names
    return tuple([each for name, value in names.items() for each in (interned(name), value)])
