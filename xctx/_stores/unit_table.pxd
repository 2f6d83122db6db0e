"""The unit table: a hash table from a store's serial number to what that store keeps for the unit.

The unit has a pointer to it, `Unit.table`, and does not use it itself. Open addressing with linear probing; an entry that
was removed is marked REMOVED, so that entries behind it are still found.

Nothing here takes a lock or runs other code. The callers of `grow_table`, `add_to_table` and `remove_from_table`, which
change a table, hold the lock of values.pyx.
"""
from libc.stdint cimport uint32_t, uint64_t

from xctx._runtime.python cimport PyMem_RawCalloc, PyMem_RawFree, xctx_load_u64, xctx_store_u64


cdef extern from *:
    """
    #define XCTX_REMOVED UINT64_MAX
    """
    uint64_t REMOVED "XCTX_REMOVED"


cdef struct TableEntry:
    uint64_t serial    # of the store; 0 where the entry is free, or REMOVED
    void *values       # what the store keeps for the unit; NULL where nothing is

cdef struct UnitTable:
    uint32_t mask      # the number of entries, a power of 2, less one
    uint32_t used      # how many entries are not free, those REMOVED included
    TableEntry entries[1]


cdef inline uint32_t first_index(uint64_t serial, UnitTable *table) noexcept nogil:
    # Hash the serial: consecutive serials would cluster and lengthen linear probing.
    return <uint32_t>(serial * <uint64_t>0x9E3779B97F4A7C15 >> 32) & table.mask


cdef inline TableEntry *entry_of(UnitTable *table, uint64_t serial) noexcept nogil:
    """The entry of the store with that serial number, or NULL."""
    cdef uint32_t at, _step
    cdef uint64_t found
    if table == NULL:
        return NULL
    at = first_index(serial, table)
    for _step in range(table.mask + 1):
        found = xctx_load_u64(&table.entries[at].serial)   # another thread may be removing another store
        if found == serial:
            return &table.entries[at]
        if found == 0:
            return NULL
        at = (at + 1) & table.mask
    return NULL


cdef inline void add_to_table(UnitTable *table, uint64_t serial, void *values) noexcept nogil:
    """Adds a store that is not there. The table has room for it."""
    cdef uint32_t at = first_index(serial, table)
    while table.entries[at].serial != 0:
        at = (at + 1) & table.mask
    table.entries[at].values = values
    table.entries[at].serial = serial
    table.used += 1


cdef inline void remove_from_table(UnitTable *table, uint64_t serial) noexcept nogil:
    cdef TableEntry *entry = entry_of(table, serial)
    if entry != NULL:
        xctx_store_u64(&entry.serial, REMOVED)
        entry.values = NULL


cdef inline UnitTable *grow_table(UnitTable *table) noexcept nogil:
    """A table with room for one more: `table`, or a copy for which `table` is freed. NULL if there is no memory."""
    cdef uint32_t size = 1
    cdef uint32_t live = 0
    cdef uint32_t i
    cdef UnitTable *new
    if table != NULL:
        if table.used <= table.mask and (table.mask < 8 or table.used < (table.mask + 1) // 4 * 3):
            return table
        for i in range(table.mask + 1):
            live += table.entries[i].serial != REMOVED
        size = table.mask + 1
        if live > size // 2:   # otherwise most entries are REMOVED, and the copy has none of these
            size *= 2
    new = <UnitTable*>PyMem_RawCalloc(1, sizeof(UnitTable) + (size - 1) * sizeof(TableEntry))
    if new == NULL:
        return NULL
    new.mask = size - 1
    if table != NULL:
        for i in range(table.mask + 1):
            if table.entries[i].serial != REMOVED and table.entries[i].serial != 0:
                add_to_table(new, table.entries[i].serial, table.entries[i].values)
        PyMem_RawFree(table)
    return new
