# Part of _stores/local.pyx: what a store keeps under the context key, where there is no unit.

# --- editions, under the context key -----------------------------------------------------------------------------------

@cython.final
@cython.freelist(32)
cdef class Edition:
    """What a store holds in a context: never changed, replaced. The contexts own it, its store owns what is in it.

    `content` is a tuple (name, value, name, value, ...), or a dict where there are many, or NULL once the store has died.
    """
    cdef PyObject *content      # owned, for the store's sake; not seen by the collector from here
    # The store's list; guarded by the lock.
    cdef PyObject **head        # where it starts: within the store, or on the heap with whoever empties the store
    cdef PyObject *prev
    cdef PyObject *next

    def __dealloc__(self):
        cdef PyObject *content
        xctx_lock(&lock)
        content = unlist_edition(<PyObject*>self)
        xctx_unlock(&lock)
        Py_XDECREF_(content)


cdef PyObject *unlist_edition(PyObject *edition) noexcept:
    """Takes it out of its list and its content out of it, for the caller to release. With the lock held."""
    cdef PyObject *content = (<Edition>edition).content
    cdef PyObject *prev = (<Edition>edition).prev
    cdef PyObject *following = (<Edition>edition).next
    if content != NULL:
        if prev != NULL:
            (<Edition>prev).next = following
        elif (<Edition>edition).head != NULL:
            (<Edition>edition).head[0] = following
        if following != NULL:
            (<Edition>following).prev = prev
        (<Edition>edition).content = NULL
    return content


cdef PyObject **forsake_editions(local store) noexcept:
    """Makes a store's list of editions the caller's, to be emptied. NULL where it is empty."""
    # On the heap: a finaliser may switch to another greenlet, and the list is used from there when this stack is elsewhere.
    cdef PyObject **head = NULL
    cdef PyObject *edition
    xctx_lock(&lock)
    edition = store.editions
    if edition != NULL:
        head = <PyObject**>PyMem_RawMalloc(sizeof(PyObject*))
    if head != NULL:   # else there is no memory: the store's death leaves the values to their contexts' death
        head[0] = edition
    store.editions = NULL
    while edition != NULL:
        (<Edition>edition).head = head
        edition = (<Edition>edition).next
    xctx_unlock(&lock)
    slot_drop(slot_of(store.serial), store.serial)
    return head


cdef void empty_editions(PyObject **head) noexcept:
    # Runs finalisers, hence any Python code; contexts that die meanwhile take their editions out of the list.
    cdef PyObject *content
    while head != NULL:
        xctx_lock(&lock)
        content = NULL if head[0] == NULL else unlist_edition(head[0])
        xctx_unlock(&lock)
        if content == NULL:
            PyMem_RawFree(head)
            break
        Py_DECREF_(content)


cdef object publish(local store, object content):
    """Makes an edition of the content current in this context; gives the context variable's token."""
    cdef Edition made = Edition.__new__(Edition)
    Py_INCREF(content)   # the edition's
    xctx_lock(&lock)
    made.content = <PyObject*>content
    made.head = &store.editions
    made.next = store.editions
    if made.next != NULL:
        (<Edition>made.next).prev = <PyObject*>made
    store.editions = <PyObject*>made
    xctx_unlock(&lock)
    token = var_set(store.var, made)
    count_contexts(xctx_tstate())   # setting it may have made a context
    return token


cdef Edition edition_here(local store):
    """The edition that is current in this context, or None."""
    cdef PyThreadState *tstate = xctx_tstate()
    cdef PyObject *value = NULL
    cdef Edition found
    if tstate.context != NULL:
        count_contexts(tstate)
        PyContextVar_Get(store.var, NULL, &value)
    found = None
    if value != NULL:
        found = <object>value
        Py_DECREF_(value)   # the call's reference; `found` holds one of its own
        slot_set(slot_of(store.serial), store.serial, tstate, NULL)   # says that contexts were counted
    elif store.initialises:
        token = publish(store, ())
        try:
            initialise(store)
        except BaseException:
            var_reset(store.var, token)
            raise
        return edition_here(store)
    return found


cdef PyObject *in_edition(PyObject *content, PyObject *name) except? NULL:
    """A new reference to the value, or NULL with no exception."""
    cdef PyObject *found = NULL
    cdef Py_ssize_t i
    if content == NULL:
        return NULL
    if not PyTuple_CheckExact_(content):
        dict_get(content, name, &found)
        return found
    for i in range(0, PyTuple_GET_SIZE_(content), 2):
        if PyTuple_GET_ITEM_(content, i) == name:
            found = PyTuple_GET_ITEM_(content, i + 1)
            break
    else:
        if not is_interned(name):
            for i in range(0, PyTuple_GET_SIZE_(content), 2):
                if <object>PyTuple_GET_ITEM_(content, i) == <object>name:
                    found = PyTuple_GET_ITEM_(content, i + 1)
                    break
    Py_XINCREF_(found)
    return found


cdef int set_in_edition(local store, object name, object value) except -1:
    # Making the new content may run the garbage collector, and a finaliser put another edition in the place of this one: so
    # this one is held, and what came first stays.
    cdef PyObject *content
    while True:
        content = content_here(store)
        _held = None if content == NULL else <object>content
        changed = with_name(content, name, value)
        if content == content_here(store):
            publish(store, changed)
            return 0


cdef object with_name(PyObject *content, object name, object value):
    """The content, which the caller holds, with one name bound anew."""
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
        return {**content_dict(content), name: value}
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
    return taken(changed)


cdef dict content_dict(PyObject *content):
    """A new dict of an edition's names and values."""
    if content == NULL:
        return {}
    _held = <object>content   # as in set_in_edition
    if PyTuple_CheckExact_(content):
        items = iter(<tuple>content)
        return dict(zip(items, items))
    return dict(<dict>content)


cdef object from_dict(dict names):
    """What an edition of these names and values holds."""
    if len(names) > MOST:
        return names
    return tuple([each for name, value in names.items() for each in (interned(name), value)])


class EditionDict(MutableMapping):
    """The ``__dict__`` of a store under the `context` key: reads and changes what the current context has."""

    __slots__ = ("_store",)

    def __init__(self, store):
        self._store = store

    def _names(self):
        return names_here(<local>self._store)

    def __getitem__(self, name):
        return self._names()[name]

    def __setitem__(self, name, value):
        publish(self._store, from_dict({**self._names(), plain_name(name): value}))

    def __delitem__(self, name):
        names = self._names()
        del names[name]
        publish(self._store, from_dict(names))

    def __iter__(self):
        return iter(self._names())

    def __len__(self):
        return len(self._names())

    def copy(self):
        return self._names()

    def __repr__(self):
        return repr(self._names())
