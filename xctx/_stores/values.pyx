# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Unit values: the names and values that one store keeps for one unit.

They are a small array of names and values, or a dict once there are many or the program has asked for ``__dict__``. A store
has all its unit values in a list; a unit has those of all stores in a table, by the store's serial number (unit_table.pxd):

    store A ---- values(A,U) ---- values(A,V)            The store owns them: the garbage collector sees the values as
    store B ---- values(B,U)                             the store's, so a value that refers to its own store is
                     |                 |                 collected with it. A unit only finds them. The store or the unit,
                  unit U            unit V               whichever dies first, detaches its unit values from the other
                                                         under the lock, and releases the values afterwards.

Unit values are used only by the code that runs in their unit, so reading takes no lock. There are two exceptions: the death of
a store, when no code can be reading through the store any more, and :mod:`xctx.debug`, for which writers hold the lock of the
unit values. Where several threads may be one unit (a process, a unit of work, a callable's value), what is kept is an immutable
tuple of names and values, which is replaced as a whole; or a dict, once it is large or the program has asked for ``__dict__``,
and dicts do their own locking. Reading and replacing it takes the lock of the unit's table, for which only threads of the same
unit compete.
"""
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.string cimport memset

from xctx._runtime.python cimport (PyMem_RawCalloc, PyMem_RawFree, PyMem_RawMalloc, PyObject_RichCompareBool,
                                   PyTuple_CheckExact_, PyTuple_GET_ITEM_, PyTuple_GET_SIZE_, Py_XDECREF_, Py_XINCREF_,
                                   xctx_store_ptr)
from xctx._runtime.runtime cimport (XCTX_FORK_STORES, connect, xctx_at_fork, xctx_cache_drop, xctx_cache_empty,
                                    xctx_cache_entry_of, xctx_fork_count)
from xctx._runtime.units cimport set_table_release
from xctx._core cimport Unit
from xctx._stores.names cimport interned
from xctx._stores.unit_table cimport add_to_table, grow_table, remove_from_table


connect()

cdef tuple NOTHING = ()


# Guards the lists of all stores and the changes of all tables. Each unit has a lock of its own besides, taken after this one:
# changing its table takes both; reading and replacing what is kept for a unit that threads share takes only the unit's. While
# either is held, no other lock is taken except that of unit values, and no object is allocated that the collector tracks.
cdef xctx_mutex lock


cdef xctx_mutex *stores_lock() noexcept:
    return &lock


# It is held across a fork, so a child finds the tables whole: snapshots look there for what belonged to the parent's unit of
# work.
cdef void before_fork() noexcept nogil:
    xctx_lock(&lock)


cdef void after_fork() noexcept nogil:
    xctx_unlock(&lock)


cdef void make_lock_anew() noexcept nogil:
    memset(&lock, 0, sizeof(lock))


make_lock_anew()
xctx_at_fork(XCTX_FORK_STORES, before_fork, after_fork, make_lock_anew)


# --- unit values, stores and units -----------------------------------------------------------------------------------

cdef UnitValues *new_values(StoreValues *of_store, Unit unit) except NULL:
    """Makes unit values for a unit that has none yet, and that one thread uses at a time."""
    cdef bint _mine
    return add_values(of_store, unit, NULL, &_mine)


cdef bint share_values(StoreValues *of_store, Unit unit) except -1:
    """Makes unit values for a unit that threads share. False if another thread has made them first."""
    cdef bint mine
    add_values(of_store, unit, <PyObject*>NOTHING, &mine)
    return mine


cdef UnitValues *add_values(StoreValues *of_store, Unit unit, PyObject *content, bint *mine) except NULL:
    """Makes unit values, or finds those that another thread has made for a unit that threads share.

    Args:
        content: what a unit that threads share begins with; NULL for any other unit.
        mine: set to whether this call has made them.
    """
    cdef UnitValues *made = <UnitValues*>PyMem_RawCalloc(1, sizeof(UnitValues))
    cdef UnitValues *theirs = NULL
    cdef UnitTable *table = NULL
    cdef TableEntry *entry
    if made == NULL:
        raise MemoryError()
    made.of_store = of_store
    made.unit = <PyObject*>unit
    made.room = INSIDE
    made.items = made.inside
    xctx_lock(&lock)
    if of_store.forks != xctx_fork_count():
        # In a forked child. Only the parent may release its values.
        of_store.forks = xctx_fork_count()
        of_store.first = NULL
    if content != NULL:
        entry = entry_of(<UnitTable*>unit.table, of_store.serial)
        if entry != NULL:
            theirs = <UnitValues*>entry.values
    if theirs == NULL:
        xctx_lock(&unit.table_lock)
        table = grow_table(<UnitTable*>unit.table)
        if table != NULL:
            xctx_store_ptr(&unit.table, table)   # end_unit looks whether there is one
            Py_XINCREF_(content)
            made.dict = content
            add_to_table(table, of_store.serial, made)
        xctx_unlock(&unit.table_lock)
    if table != NULL:
        made.next = of_store.first
        if made.next != NULL:
            made.next.prev = made
        of_store.first = made
    xctx_unlock(&lock)
    mine[0] = table != NULL
    if table == NULL:
        PyMem_RawFree(made)
        if theirs == NULL:
            raise MemoryError()
        return theirs
    return made


cdef void remove_from_list(UnitValues *values) noexcept:
    """Removes them from their store's list. With the lock held."""
    if values.prev != NULL:
        values.prev.next = values.next
    else:
        values.of_store.first = values.next
    if values.next != NULL:
        values.next.prev = values.prev


cdef void remove_from_unit(UnitValues *values) noexcept:
    """Removes them from their unit's table. With the lock held."""
    xctx_lock(&(<Unit>values.unit).table_lock)
    remove_from_table(<UnitTable*>(<Unit>values.unit).table, values.of_store.serial)
    xctx_unlock(&(<Unit>values.unit).table_lock)


cdef int discard_values(StoreValues *of_store, Unit unit) except -1:
    """Removes and releases what the store keeps for the current unit."""
    cdef UnitValues *values
    if unit.forks != xctx_fork_count():
        return 0   # a parent's
    xctx_lock(&lock)
    values = values_of(of_store, unit)
    if values != NULL:
        remove_from_list(values)
        remove_from_unit(values)
        unit.table_version = 0   # other threads of this unit may know them
        values.next = NULL
    xctx_unlock(&lock)
    xctx_cache_drop(xctx_cache_entry_of(of_store.serial), of_store.serial)
    release_chain(values)
    return 0


cdef object shared_content(StoreValues *of_store, Unit unit):
    """What the store keeps for a unit that threads share, or None. A new reference, because another thread may replace it."""
    cdef UnitValues *values
    cdef object content = None
    xctx_lock(&unit.table_lock)
    values = values_of(of_store, unit)
    if values != NULL:
        content = <object>values.dict
    xctx_unlock(&unit.table_lock)
    return content


cdef bint read_shared(StoreValues *of_store, Unit unit, PyObject *name, PyObject **found) noexcept:
    """Whether the store keeps a tuple for a unit that threads share; if so, a new reference to the value of an interned name.

    It is `shared_content` and a search in one, which leaves the tuple's reference count alone.
    """
    cdef UnitValues *values
    cdef PyObject *content = NULL
    cdef Py_ssize_t i
    xctx_lock(&unit.table_lock)
    values = values_of(of_store, unit)
    if values != NULL and PyTuple_CheckExact_(values.dict):
        content = values.dict
        for i in range(0, PyTuple_GET_SIZE_(content), 2):
            if PyTuple_GET_ITEM_(content, i) == name:
                found[0] = PyTuple_GET_ITEM_(content, i + 1)
                Py_INCREF_(found[0])
                break
    xctx_unlock(&unit.table_lock)
    return content != NULL


cdef bint replace_shared(StoreValues *of_store, Unit unit, object content, object changed) noexcept:
    """Replaces what the store keeps for a unit that threads share. False if another thread has replaced it first.

    Args:
        content: what there was, held by the caller.
        changed: what takes its place.
    """
    cdef UnitValues *values
    cdef bint done
    xctx_lock(&unit.table_lock)
    values = values_of(of_store, unit)
    done = values != NULL and values.dict == <PyObject*>content
    if done:
        Py_INCREF(changed)   # the unit values'
        values.dict = <PyObject*>changed
    xctx_unlock(&unit.table_lock)
    if done:
        Py_DECREF_(<PyObject*>content)   # the unit values'. The caller still holds it, so nothing dies here
    return done


cdef UnitValues *detach_all(StoreValues *of_store) noexcept:
    """Removes all that a store keeps, as a chain that the caller releases."""
    cdef UnitValues *chain
    cdef UnitValues *values
    xctx_lock(&lock)
    chain = of_store.first
    of_store.first = NULL
    if of_store.forks != xctx_fork_count():
        chain = NULL   # a parent's
    values = chain
    while values != NULL:
        remove_from_unit(values)
        values = values.next
    xctx_unlock(&lock)
    xctx_cache_drop(xctx_cache_entry_of(of_store.serial), of_store.serial)
    return chain


cdef void release_unit(Unit unit) noexcept:
    # The unit has ended. What finalisers store for it from now on goes into a new table.
    cdef UnitTable *table
    cdef UnitValues *chain = NULL
    cdef UnitValues *values
    cdef uint32_t i
    xctx_lock(&lock)
    xctx_lock(&unit.table_lock)
    table = <UnitTable*>unit.table
    xctx_store_ptr(&unit.table, NULL)
    unit.table_version = 0
    xctx_unlock(&unit.table_lock)
    if table != NULL:
        for i in range(table.mask + 1):
            values = <UnitValues*>table.entries[i].values
            if values != NULL:
                remove_from_list(values)
                values.next = chain
                chain = values
    xctx_unlock(&lock)
    if unit.unit_kind.cached:
        xctx_cache_empty()   # a thread that ends is still the same unit while its values are finalised
    PyMem_RawFree(table)
    release_chain(chain)


set_table_release(release_unit)


cdef void release_chain(UnitValues *values) noexcept:
    """Releases a chain of unit values that neither a store nor a unit has any more. Runs finalisers, hence any Python code."""
    cdef UnitValues *following
    cdef int i
    while values != NULL:
        following = values.next
        Py_XDECREF_(values.dict)
        for i in range(values.count):
            Py_DECREF_(values.items[i].value)
            Py_DECREF_(values.items[i].name)
        if values.items != values.inside:
            PyMem_RawFree(values.items)
        PyMem_RawFree(values)
        values = following


cdef int traverse(StoreValues *of_store, visitproc visit, void *arg) noexcept:
    """Shows the collector what a store keeps."""
    # No reference count may change. The lock is not taken, because no collection can begin while it is held.
    cdef UnitValues *values = of_store.first if of_store.forks == xctx_fork_count() else NULL
    cdef int i, result = 0
    while values != NULL and not result:
        if values.dict != NULL:
            result = visit(values.dict, arg)
        for i in range(values.count):
            if not result:
                result = visit(values.items[i].value, arg)
        values = values.next
    return result


# --- names and values ------------------------------------------------------------------------------------------------

cdef int index_of(UnitValues *values, PyObject *name) except -2:
    """Which item has the name, a plain str; or -1."""
    cdef int i
    for i in range(values.count):
        if values.items[i].name == name:
            return i
    if not is_interned(name):
        for i in range(values.count):
            if PyObject_RichCompareBool(<object>values.items[i].name, <object>name, 2):
                return i
    return -1


cdef PyObject *read_slowly(UnitValues *values, PyObject *name) except? NULL:
    # The rest of `read`: the names are in a dict, or the name is not interned.
    cdef PyObject *found = NULL
    cdef int i
    if values.dict != NULL:
        xctx_dict_get(values.dict, name, &found)
    else:
        i = index_of(values, name)
        if i >= 0:
            found = values.items[i].value
            Py_INCREF_(found)
    return found


cdef int write_slowly(UnitValues *values, object name, object value) except -1:
    # The rest of `write`: the names are in a dict, or the name is new or not interned.
    cdef NamedValue *items
    cdef NamedValue *outgrown = NULL
    cdef int i
    if not is_interned(<PyObject*>name):
        return write(values, interned(name), value)
    if values.count == MOST:
        as_dict(values)
    if values.dict != NULL:
        (<dict>values.dict)[name] = value
        return 0
    if values.count == values.room:
        items = <NamedValue*>PyMem_RawMalloc(2 * values.room * sizeof(NamedValue))
        if items == NULL:
            raise MemoryError()
        for i in range(values.count):
            items[i] = values.items[i]
        xctx_lock(&values.lock)
        if values.items != values.inside:
            outgrown = values.items
        values.items = items
        values.room *= 2
        xctx_unlock(&values.lock)
        PyMem_RawFree(outgrown)
    Py_INCREF_(<PyObject*>name)   # this reference and the next are the item's
    Py_INCREF_(<PyObject*>value)
    xctx_lock(&values.lock)
    values.items[values.count].name = <PyObject*>name
    values.items[values.count].value = <PyObject*>value
    values.count += 1
    xctx_unlock(&values.lock)
    return 0


cdef bint erase(UnitValues *values, object name) except -1:
    """Deletes a name, a plain str. Returns whether it was there."""
    cdef NamedValue gone
    cdef int i
    if values.dict != NULL:
        if name not in <dict>values.dict:
            return False
        del (<dict>values.dict)[name]
        return True
    i = index_of(values, <PyObject*>name)
    if i < 0:
        return False
    xctx_lock(&values.lock)
    gone = values.items[i]
    values.count -= 1
    for i in range(i, values.count):
        values.items[i] = values.items[i + 1]
    xctx_unlock(&values.lock)
    Py_DECREF_(gone.name)
    Py_DECREF_(gone.value)   # last, because it may run any code
    return True


cdef dict contents(UnitValues *values):
    """A new dict of the names and values."""
    cdef dict names = {}
    cdef int i
    if values.dict != NULL:
        return dict(<dict>values.dict)
    for i in range(values.count):
        names[<object>values.items[i].name] = <object>values.items[i].value
    return names


cdef object as_dict(UnitValues *values):
    """The dict that holds the names and values from now on."""
    cdef dict names
    cdef int i, count
    if values.dict == NULL:
        names = contents(values)
        if values.dict != NULL:
            return <object>values.dict   # making a dict may collect garbage, and a finaliser may have called this first
        Py_INCREF(names)   # the unit values'
        xctx_lock(&values.lock)
        values.dict = <PyObject*>names
        count = values.count
        values.count = 0
        xctx_unlock(&values.lock)
        for i in range(count):   # the dict holds all of them, so nothing dies here
            Py_DECREF_(values.items[i].name)
            Py_DECREF_(values.items[i].value)
        if values.items != values.inside:
            PyMem_RawFree(values.items)
            values.items = values.inside
            values.room = INSIDE
    return <object>values.dict
