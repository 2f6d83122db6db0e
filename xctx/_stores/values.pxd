"""Unit values: the names and values that one store keeps for one unit."""
from cpython.object cimport PyObject
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from xctx._runtime.python cimport Py_DECREF_, Py_INCREF_, visitproc, xctx_dict_get, xctx_lock, xctx_mutex, xctx_unlock
from xctx._core cimport Unit
from xctx._stores.names cimport is_interned
from xctx._stores.unit_table cimport TableEntry, UnitTable, entry_of


cdef enum:
    INSIDE = 2   # how many names and values have room within the struct
    MOST = 12    # with more names than this they become a dict


cdef struct NamedValue:
    PyObject *name     # owned; interned, so that it can be compared by address
    PyObject *value    # owned


cdef struct UnitValues:
    # These two never change. Both are borrowed: a store or unit that dies detaches its unit values first.
    StoreValues *of_store
    PyObject *unit
    # The store's list: guarded by the lock of values.pyx.
    UnitValues *prev
    UnitValues *next
    # For a unit that threads share this is never NULL, is guarded by the lock of values.pyx, and is a tuple or a dict, as in
    # context_values.pxd; then the fields that follow are not used.
    PyObject *dict     # owned; NULL until it is needed, and from then on it has all names and values
    # Only the unit changes the fields from here on. It holds `lock` when it does, because xctx.debug reads them.
    uint16_t count
    uint16_t room
    xctx_mutex lock
    NamedValue *items
    NamedValue inside[INSIDE]


cdef struct StoreValues:   # what one store keeps for all units: a part of the store object
    uint64_t serial        # these two never change; `store` is borrowed, because it contains this
    PyObject *store
    # Guarded by the lock of values.pyx.
    uint32_t forks         # the count of forks when the list was made: if it differs, the list is a parent's
    UnitValues *first


cdef xctx_mutex *stores_lock() noexcept
cdef UnitValues *new_values(StoreValues *of_store, Unit unit) except NULL
cdef bint share_values(StoreValues *of_store, Unit unit) except -1
cdef int discard_values(StoreValues *of_store, Unit unit) except -1
cdef object shared_content(StoreValues *of_store, Unit unit)
cdef bint read_shared(StoreValues *of_store, Unit unit, PyObject *name, PyObject **found) noexcept
cdef bint replace_shared(StoreValues *of_store, Unit unit, object content, object changed) noexcept
cdef UnitValues *detach_all(StoreValues *of_store) noexcept
cdef void release_unit(Unit unit) noexcept
cdef void release_chain(UnitValues *values) noexcept
cdef int traverse(StoreValues *of_store, visitproc visit, void *arg) noexcept
cdef PyObject *read_slowly(UnitValues *values, PyObject *name) except? NULL
cdef int write_slowly(UnitValues *values, object name, object value) except -1
cdef bint erase(UnitValues *values, object name) except -1
cdef dict contents(UnitValues *values)
cdef object as_dict(UnitValues *values)


cdef inline UnitValues *values_of(StoreValues *of_store, Unit unit) noexcept:
    """What the store keeps for a unit that this thread is running in; or NULL. For a shared unit, with the lock held."""
    cdef TableEntry *entry = entry_of(<UnitTable*>unit.table, of_store.serial)
    return NULL if entry == NULL else <UnitValues*>entry.values


cdef inline PyObject *read(UnitValues *values, PyObject *name) except? NULL:
    """A new reference to the value of a name, a plain str; or NULL with no exception."""
    cdef PyObject *found
    cdef int i
    for i in range(values.count):
        if values.items[i].name == name:
            found = values.items[i].value
            Py_INCREF_(found)
            return found
    if values.dict == NULL and is_interned(name):
        return NULL
    return read_slowly(values, name)


cdef inline int write(UnitValues *values, object name, object value) except -1:
    cdef PyObject *old
    cdef int i
    for i in range(values.count):
        if values.items[i].name == <PyObject*>name:
            Py_INCREF_(<PyObject*>value)   # the item's
            xctx_lock(&values.lock)
            old = values.items[i].value
            values.items[i].value = <PyObject*>value
            xctx_unlock(&values.lock)
            Py_DECREF_(old)   # last, because it may run any code
            return 0
    return write_slowly(values, name, value)
