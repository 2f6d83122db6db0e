# Part of _stores/local.pyx: what one store keeps for one unit, and where the two find it.

# --- holdings and shelves ----------------------------------------------------------------------------------------------

cdef struct Item:
    PyObject *name     # owned; interned, hence told apart by address
    PyObject *value    # owned

cdef enum:
    INSIDE = 2   # items that a holding has room for within itself
    MOST = 12    # with more names than this it turns to a dict

cdef enum How:       # a store keeps things
    OWN        # a holding for each unit, touched by that unit alone
    SHARED     # the same, with a dict, where several threads are one unit
    EDITIONS   # in a context variable

cdef struct Holding:
    Holding *prev      # in the store's list: guarded by the lock
    Holding *next
    PyObject *store    # borrowed: a store that dies takes its holdings away first. Never changes
    PyObject *unit     # borrowed: likewise. Never changes
    PyObject *dict     # owned; NULL until there is need of one, then it alone counts
    uint16_t count
    uint16_t room
    xctx_mutex lock    # held to change what follows and the three above, for those who look from outside
    Item *items
    Item inside[INSIDE]

cdef struct Place:
    uint64_t serial    # of the store; 0 where free, GONE where it was taken away
    Holding *holding

cdef struct Shelf:
    uint32_t mask
    uint32_t used      # places not free
    Place places[1]

cdef uint64_t GONE = <uint64_t>-1
cdef xctx_mutex lock   # guards lists of holdings and editions, and the making and growing of shelves. Innermost


cdef inline uint32_t home_of(uint64_t serial, Shelf *shelf) noexcept nogil:
    # Serials come in runs, which side by side would make one run for all that shares its end to walk along.
    return <uint32_t>(serial * <uint64_t>0x9E3779B97F4A7C15 >> 32) & shelf.mask


cdef Place *place_of(Shelf *shelf, uint64_t serial) noexcept:
    """Where the store's holding stands, or NULL."""
    cdef uint32_t at, _step
    if shelf == NULL:
        return NULL
    at = home_of(serial, shelf)
    for _step in range(shelf.mask + 1):
        if shelf.places[at].serial == serial:
            return &shelf.places[at]
        if shelf.places[at].serial == 0:
            return NULL
        at = (at + 1) & shelf.mask
    return NULL


cdef void put_up(Shelf *shelf, uint64_t serial, Holding *holding) noexcept:
    cdef uint32_t at = home_of(serial, shelf)
    while shelf.places[at].serial != 0:
        at = (at + 1) & shelf.mask
    shelf.places[at].holding = holding
    shelf.places[at].serial = serial
    shelf.used += 1


cdef Shelf *roomy(Shelf *shelf) noexcept:
    """A shelf with room for one more, in place of `shelf`, or NULL where there is no memory. With the lock held."""
    cdef uint32_t size = 1
    cdef uint32_t live = 0
    cdef uint32_t i
    cdef Shelf *new
    if shelf != NULL:
        if shelf.used <= shelf.mask and (shelf.mask < 8 or shelf.used < (shelf.mask + 1) // 4 * 3):
            return shelf
        for i in range(shelf.mask + 1):
            live += shelf.places[i].serial != GONE
        size = shelf.mask + 1
        if live > size // 2:   # else the room is taken by what was taken away
            size *= 2
    new = <Shelf*>PyMem_RawCalloc(1, sizeof(Shelf) + (size - 1) * sizeof(Place))
    if new == NULL:
        return NULL
    new.mask = size - 1
    if shelf != NULL:
        for i in range(shelf.mask + 1):
            if shelf.places[i].serial != GONE and shelf.places[i].serial != 0:
                put_up(new, shelf.places[i].serial, shelf.places[i].holding)
        PyMem_RawFree(shelf)
    return new


cdef Holding *new_holding(local store, Unit unit, PyObject *content) except NULL:
    # `content`, a dict, is for a unit that threads share: one of them may have come first, then theirs is the holding.
    cdef Holding *made = <Holding*>PyMem_RawCalloc(1, sizeof(Holding))
    cdef Holding *theirs = NULL
    cdef Shelf *shelf
    cdef Place *place = NULL
    if made == NULL:
        raise MemoryError()
    made.store = <PyObject*>store
    made.unit = <PyObject*>unit
    made.room = INSIDE
    made.items = made.inside
    xctx_lock(&lock)
    if store.generation != fork_generation():
        # In a forked child: the parent's values are not ours to release.
        store.generation = fork_generation()
        store.holdings = NULL
    if content != NULL:
        place = place_of(<Shelf*>unit.shelf, store.serial)
        if place != NULL:
            theirs = place.holding
    shelf = roomy(<Shelf*>unit.shelf) if place == NULL else NULL
    if shelf != NULL:
        unit.shelf = shelf
        put_up(shelf, store.serial, made)
        made.next = store.holdings
        if made.next != NULL:
            made.next.prev = made
        store.holdings = made
        Py_XINCREF_(content)
        made.dict = content
    xctx_unlock(&lock)
    if shelf == NULL:
        PyMem_RawFree(made)
        if place == NULL:
            raise MemoryError()
        return theirs
    return made


cdef void unlist(Holding *holding) noexcept:
    """Takes it out of its store's list. With the lock held."""
    if holding.prev != NULL:
        holding.prev.next = holding.next
    else:
        (<local>holding.store).holdings = holding.next
    if holding.next != NULL:
        holding.next.prev = holding.prev


cdef void take_down(Holding *holding) noexcept:
    """Takes it off its unit's shelf. With the lock held."""
    cdef Place *place = place_of(<Shelf*>(<Unit>holding.unit).shelf, (<local>holding.store).serial)
    if place != NULL:
        place.serial = GONE
        place.holding = NULL


cdef void let_go(Holding *holding) noexcept:
    """Releases a chain of holdings that neither store nor unit knows any more. Runs finalisers, hence any Python code."""
    cdef Holding *following
    cdef int i
    while holding != NULL:
        following = holding.next
        Py_XDECREF_(holding.dict)
        for i in range(holding.count):
            Py_DECREF_(holding.items[i].value)
            Py_DECREF_(holding.items[i].name)
        if holding.items != holding.inside:
            PyMem_RawFree(holding.items)
        PyMem_RawFree(holding)
        holding = following


cdef void release_shelf(Unit unit) noexcept:
    # The unit has ended. What finalisers put up meanwhile stands on a new shelf.
    cdef Shelf *shelf
    cdef Holding *chain = NULL
    cdef Holding *holding
    cdef uint32_t i
    xctx_lock(&lock)
    shelf = <Shelf*>unit.shelf
    unit.shelf = NULL
    if shelf != NULL:
        for i in range(shelf.mask + 1):
            holding = shelf.places[i].holding
            if holding != NULL:
                unlist(holding)
                holding.next = chain
                chain = holding
    xctx_unlock(&lock)
    slots_empty()   # a thread that ends is still itself while its values are finalised
    PyMem_RawFree(shelf)
    let_go(chain)


cdef Holding *forsake(local store) noexcept:
    """Takes all holdings of a store away, and gives them as a chain to let go."""
    cdef Holding *chain
    cdef Holding *holding
    xctx_lock(&lock)
    chain = store.holdings
    store.holdings = NULL
    if store.generation != fork_generation():
        chain = NULL   # a parent's
    holding = chain
    while holding != NULL:
        take_down(holding)
        holding = holding.next
    xctx_unlock(&lock)
    slot_drop(slot_of(store.serial), store.serial)
    return chain


# --- names and values within a holding ---------------------------------------------------------------------------------

cdef int index_of(Holding *holding, PyObject *name) except -2:
    """Where the name, a plain str, stands among the items, or -1."""
    cdef int i
    for i in range(holding.count):
        if holding.items[i].name == name:
            return i
    if not is_interned(name):
        for i in range(holding.count):
            if PyObject_RichCompareBool(<object>holding.items[i].name, <object>name, 2):
                return i
    return -1


cdef PyObject *read(Holding *holding, PyObject *name) except? NULL:
    """A new reference to the value, or NULL with no exception."""
    cdef PyObject *found = NULL
    cdef int i
    for i in range(holding.count):
        if holding.items[i].name == name:
            found = holding.items[i].value
            Py_INCREF_(found)
            return found
    if holding.dict != NULL:
        dict_get(holding.dict, name, &found)
    elif not is_interned(name):
        i = index_of(holding, name)
        if i >= 0:
            found = holding.items[i].value
            Py_INCREF_(found)
    return found


cdef int write(Holding *holding, object name, object value) except -1:
    cdef PyObject *old
    cdef Item *items
    cdef Item *outgrown = NULL
    cdef int i
    for i in range(holding.count):
        if holding.items[i].name == <PyObject*>name:
            Py_INCREF_(<PyObject*>value)   # the item's
            xctx_lock(&holding.lock)
            old = holding.items[i].value
            holding.items[i].value = <PyObject*>value
            xctx_unlock(&holding.lock)
            Py_DECREF_(old)   # last of all: this may run any code
            return 0
    if not is_interned(<PyObject*>name):
        return write(holding, interned(name), value)
    if holding.count == MOST:
        as_dict(holding)
    if holding.dict != NULL:
        (<dict>holding.dict)[name] = value
        return 0
    if holding.count == holding.room:
        items = <Item*>PyMem_RawMalloc(2 * holding.room * sizeof(Item))
        if items == NULL:
            raise MemoryError()
        for i in range(holding.count):
            items[i] = holding.items[i]
        xctx_lock(&holding.lock)
        if holding.items != holding.inside:
            outgrown = holding.items
        holding.items = items
        holding.room *= 2
        xctx_unlock(&holding.lock)
        PyMem_RawFree(outgrown)
    Py_INCREF_(<PyObject*>name)   # both the item's
    Py_INCREF_(<PyObject*>value)
    xctx_lock(&holding.lock)
    holding.items[holding.count].name = <PyObject*>name
    holding.items[holding.count].value = <PyObject*>value
    holding.count += 1
    xctx_unlock(&holding.lock)
    return 0


cdef bint erase(Holding *holding, object name) except -1:
    """Whether the name was there to be deleted."""
    cdef Item gone
    cdef int i
    if holding.dict != NULL:
        if name not in <dict>holding.dict:
            return False
        del (<dict>holding.dict)[name]
        return True
    i = index_of(holding, <PyObject*>name)
    if i < 0:
        return False
    xctx_lock(&holding.lock)
    gone = holding.items[i]
    holding.count -= 1
    for i in range(i, holding.count):
        holding.items[i] = holding.items[i + 1]
    xctx_unlock(&holding.lock)
    Py_DECREF_(gone.name)
    Py_DECREF_(gone.value)   # last of all: this may run any code
    return True


cdef dict contents(Holding *holding):
    """A new dict of the names and values."""
    cdef dict names = {}
    cdef int i
    if holding.dict != NULL:
        return dict(<dict>holding.dict)
    for i in range(holding.count):
        names[<object>holding.items[i].name] = <object>holding.items[i].value
    return names


cdef object as_dict(Holding *holding):
    """The dict that stands for the names and values from now on."""
    cdef dict names
    cdef int i, count
    if holding.dict == NULL:
        names = contents(holding)
        if holding.dict != NULL:
            return <object>holding.dict   # making a dict runs the garbage collector, hence any code: it came first
        Py_INCREF(names)   # the holding's
        xctx_lock(&holding.lock)
        holding.dict = <PyObject*>names
        count = holding.count
        holding.count = 0
        xctx_unlock(&holding.lock)
        for i in range(count):   # the dict holds them all: nothing dies here
            Py_DECREF_(holding.items[i].name)
            Py_DECREF_(holding.items[i].value)
        if holding.items != holding.inside:
            PyMem_RawFree(holding.items)
            holding.items = holding.inside
            holding.room = INSIDE
    return <object>holding.dict
