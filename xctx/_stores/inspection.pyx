# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""What stores keep, and for which units, as seen from any unit: for :mod:`xctx.debug`.

Under the lock nothing is allocated: if memory ran out the lock would stay held, and a collection may run any code, which
may remove what is being read.
"""
from cpython.object cimport PyObject, PyTypeObject
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from xctx._runtime.runtime cimport connect, xctx_fork_count, xctx_next_serial
from xctx._runtime.python cimport (FREE_THREADED, PyMem_RawFree, PyMem_RawRealloc, PyThreadState, Py_XDECREF_, Py_XINCREF_,
                                   xctx_is_dying, xctx_iterate_context, xctx_load_int, xctx_lock, xctx_mutex,
                                   xctx_thread_in_context, xctx_tstate, xctx_unlock, xctx_visit_objects)
from xctx._core cimport Key, Unit
from xctx._stores.bindings cimport Binding, is_exited, look_up, merge
from xctx._stores.blocks cimport BoundEntry
from xctx._stores.chains cimport each_chain
from xctx._stores.seen cimport binding_here, visible_here
from xctx._stores.context_values cimport ContextValues, as_new_dict
from xctx._stores.local cimport SHARED_BY_THREADS, living_of_work, local, names_here
from xctx._stores.names cimport interned
from xctx._stores.statements cimport Block
from xctx._stores.unit_table cimport UnitTable
from xctx._stores.unseen cimport IN_BLOCKS, NEVER_BOUND, WAS_BOUND, Past, is_made, past_of, reason_of, why_chain_hides
from xctx._stores.values cimport MOST, UnitValues, stores_lock, values_of
from xctx._stores.works cimport is_work
from xctx._stores.xlocal cimport xlocal
from xctx._stores.works import work
from xctx import _core
from xctx._runtime.interpreter import of_interpreter
from gc import get_objects
from threading import enumerate as enumerate_threads


connect()

cdef xctx_mutex *lock = stores_lock()


# --- objects of other threads ----------------------------------------------------------------------------------------

cdef extern from "Python.h":
    PyTypeObject *type_of "Py_TYPE"(PyObject *) nogil


cdef struct Pair:
    PyObject *first    # owned
    PyObject *second   # owned, or NULL


ctypedef bint (*Chooser)(PyObject *o, Pair *of_it) noexcept nogil


cdef struct Search:
    Chooser choose     # borrows two fields of an object that is wanted, of whatever type; False for any other
    Pair *found
    size_t count, room
    bint counts_only, no_memory


cdef int look_at(PyObject *o, void *arg) noexcept nogil:
    cdef Search *search = <Search*>arg
    cdef Pair of_it
    cdef Pair *grown
    if not search.choose(o, &of_it):
        return 1
    if not search.counts_only:
        if search.count == search.room:
            grown = <Pair*>PyMem_RawRealloc(search.found, (2 * search.room + 64) * sizeof(Pair))
            if grown == NULL:
                search.no_memory = True
                return 0
            search.found = grown
            search.room = 2 * search.room + 64
        Py_XINCREF_(of_it.first)
        Py_XINCREF_(of_it.second)
        search.found[search.count] = of_it
    search.count += 1
    return 1


cdef list pairs_of(Chooser choose):
    """Two fields of each object that is chosen. They are read, and held, while nothing else of the interpreter runs: another
    thread may be about to let go of them."""
    cdef Search search
    cdef list pairs = []
    cdef size_t i
    memset(&search, 0, sizeof(search))
    search.choose = choose
    try:
        xctx_visit_objects(look_at, &search)
        if search.no_memory:
            raise MemoryError()
        for i in range(search.count):
            pairs.append((<object>search.found[i].first,
                          None if search.found[i].second == NULL else <object>search.found[i].second))
    finally:
        # Last, because it may be the last reference to some of them, and so run any code.
        for i in range(0 if search.found == NULL else search.count):
            Py_XDECREF_(search.found[i].first)
            Py_XDECREF_(search.found[i].second)
        PyMem_RawFree(search.found)
    return pairs


cdef PyTypeObject *BINDING = <PyTypeObject*>Binding
cdef PyTypeObject *BLOCK = <PyTypeObject*>Block
cdef PyTypeObject *BOUND_ENTRY = <PyTypeObject*>BoundEntry
cdef PyObject *NONE = <PyObject*>None

cdef extern from *:
    """
    #define XCTX_FIELD(kind, o, field) ((PyObject *)((struct kind *)(o))->field)
    #define XCTX_OWNER_OF(o) XCTX_FIELD(__pyx_obj_4xctx_7_stores_8bindings_Binding, o, owner)
    #define XCTX_NAMES_OF(o) XCTX_FIELD(__pyx_obj_4xctx_7_stores_8bindings_Binding, o, names)
    #define XCTX_MADE_OF_BLOCK(o) XCTX_FIELD(__pyx_obj_4xctx_7_stores_10statements_Block, o, made)
    #define XCTX_UNDO_OF_BLOCK(o) XCTX_FIELD(__pyx_obj_4xctx_7_stores_10statements_Block, o, undo)
    #define XCTX_MADE_OF_ENTRY(o) XCTX_FIELD(__pyx_obj_4xctx_7_stores_6blocks_BoundEntry, o, made)
    #define XCTX_CONTEXT_OF_ENTRY(o) XCTX_FIELD(__pyx_obj_4xctx_7_stores_6blocks_BoundEntry, o, context)
    """
    PyObject *owner_of "XCTX_OWNER_OF"(PyObject *) nogil
    PyObject *bound_names_of "XCTX_NAMES_OF"(PyObject *) nogil
    PyObject *made_of_block "XCTX_MADE_OF_BLOCK"(PyObject *) nogil
    PyObject *undo_of_block "XCTX_UNDO_OF_BLOCK"(PyObject *) nogil
    PyObject *made_of_entry "XCTX_MADE_OF_ENTRY"(PyObject *) nogil
    PyObject *context_of_entry "XCTX_CONTEXT_OF_ENTRY"(PyObject *) nogil


cdef bint is_binding(PyObject *o, Pair *of_it) noexcept nogil:
    if type_of(o) != BINDING or owner_of(o) == NONE:   # placeholders have no owner
        return False
    of_it.first = owner_of(o)
    of_it.second = bound_names_of(o)
    return True


cdef bint is_block(PyObject *o, Pair *of_it) noexcept nogil:
    if type_of(o) == BLOCK:
        of_it.first = made_of_block(o)
        of_it.second = undo_of_block(o)
    elif type_of(o) == BOUND_ENTRY and context_of_entry(o) != NONE:
        of_it.first = made_of_entry(o)
        of_it.second = context_of_entry(o)
    else:
        return False
    return of_it.first != NONE


def live_bindings():
    """How many bindings of xlocals are alive in this process, of all units.

    Once all blocks are left, only snapshots keep bindings alive, so without them it is 0. Takes as long as a garbage collection.
    """
    cdef Search search
    memset(&search, 0, sizeof(search))
    search.choose = is_binding
    search.counts_only = True
    xctx_visit_objects(look_at, &search)
    return search.count


def all_bindings():
    """The same bindings: a list of pairs (xlocal, names)."""
    return pairs_of(is_binding)


cdef object living(PyObject *store):
    """A reference to the store, or None if it is dying. With the lock held."""
    if FREE_THREADED:
        return (<local>store).self_ref()
    return None if xctx_is_dying(store) else <object>store


cdef bint is_alive(Unit unit) noexcept:
    return not xctx_load_int(<int*>&unit.ended) and unit.forks == xctx_fork_count()


cdef dict kept(local store, Unit unit):
    """A new dict of what the store keeps for the unit, or None if it keeps nothing."""
    cdef list found = [None] * (2 * MOST)   # before the locks: see above
    cdef object whole = None
    cdef UnitValues *values
    cdef int i, count = 0
    xctx_lock(lock)
    values = values_of(&store.kept, unit) if is_alive(unit) else NULL
    if values != NULL:
        xctx_lock(&unit.table_lock)
        xctx_lock(&values.lock)
        if values.dict != NULL:
            whole = <object>values.dict
        count = values.count
        for i in range(count):
            found[2 * i] = <object>values.items[i].name
            found[2 * i + 1] = <object>values.items[i].value
        xctx_unlock(&values.lock)
        xctx_unlock(&unit.table_lock)
    xctx_unlock(lock)
    if values == NULL:
        return None
    if whole is not None:
        return as_new_dict(<PyObject*>whole)
    return {found[2 * i]: found[2 * i + 1] for i in range(count)}


def stores_of(Unit unit not None):
    """What each living store keeps for the unit: a list of pairs (store, new dict of names and values)."""
    cdef UnitTable *table
    cdef uint32_t i, size = 0
    cdef list stores
    while True:
        stores = [None] * size
        xctx_lock(lock)
        table = <UnitTable*>unit.table if is_alive(unit) else NULL
        if table == NULL or table.mask < size:
            if table != NULL:
                for i in range(table.mask + 1):
                    if table.entries[i].values != NULL:
                        stores[i] = living((<UnitValues*>table.entries[i].values).of_store.store)
            xctx_unlock(lock)
            break
        size = table.mask + 1
        xctx_unlock(lock)
    pairs = []
    for store in stores:
        held = None if store is None else kept(<local>store, unit)
        if held is not None:
            pairs.append((store, held))
    return pairs


def made_by_now():
    """A number. Each store that lives now has a smaller one, and each that is made later a greater one."""
    return xctx_next_serial()


cdef tuple OUTLIVE_WORK = (_core.process, _core.thread, _core.greenlet)


def kept_here(uint64_t before):
    """What is kept here by locals whose values do not end with the unit of work.

    Locals of a class with an ``__init__`` are left out: what they keep may be what the class gives to each unit.

    Args:
        before: a number from `made_by_now`: locals that were made later are left out.

    Returns:
        A list of pairs (place, set of names). The place is the local, or the context variable in which it keeps them;
        `store_of` gives the local.
    """
    cdef Unit unit
    cdef Key key
    cdef PyThreadState *tstate = xctx_tstate()
    found = []
    units = []
    for key in OUTLIVE_WORK:
        unit = key.find(False)
        if unit is not None and unit not in units:   # without a greenlet, two keys find the thread's
            units.append(unit)
            for store, names in stores_of(unit):
                if not (<local>store).initialises and (<local>store).kept.serial < before:
                    found.append((store, set(names)))
    if tstate.context != NULL:
        for var in list(xctx_iterate_context(tstate.context)):
            values = var.get(None)
            if isinstance(values, ContextValues) and (<ContextValues>values).content != NULL:
                found.append((var, set(as_new_dict((<ContextValues>values).content))))
    return found


def store_of(place, uint64_t before):
    """The local that `kept_here` means by a place. None if it has died, was made later, or has a class with an ``__init__``."""
    if isinstance(place, local):
        return place
    for each in get_objects():
        if (isinstance(each, local) and (<local>each).var is place and not (<local>each).initialises
                and (<local>each).kept.serial < before):
            return each
    return None


def kept_by_parent(Unit unit not None):
    """In a forked child: what locals kept for a unit of work of the parent's, a list of pairs (local, dict)."""
    cdef UnitValues *values
    cdef object content
    pairs = []
    for each in living_of_work():   # not those in the unit's table: some may have died here
        content = None
        xctx_lock(lock)
        values = values_of(&(<local>each).kept, unit)
        if values != NULL:
            content = <object>values.dict
        xctx_unlock(lock)
        if content is not None:
            pairs.append((each, as_new_dict(<PyObject*>content)))
    return pairs


def explain(xlocal store not None, str name not None):
    """Says in a sentence why an xlocal shows a name here, or why it does not.

    It says more than the AttributeError: if nothing here has bound the name, it searches all objects that the garbage
    collector knows for a block that is open somewhere else. That takes as long as a garbage collection.

    Args:
        store: an xlocal.
        name: a name, whether or not it is bound or declared.

    Returns:
        The sentence, which is for people to read.
    """
    cdef Binding top = binding_here(store, xctx_tstate())
    cdef str reason
    cdef Past past
    name = interned(name)
    if top is not None and look_up(top, <PyObject*>name) != NULL:
        return f"{name!r} is bound here"
    reason = why_chain_hides(store, name, -1)
    if reason is None:
        reason = open_elsewhere(store, name)
    if reason is None and is_made(store, name):
        reason = IN_BLOCKS
    elif reason is None:
        past = past_of(store, name)
        if past == WAS_BOUND:
            reason = " here: the blocks that bound it were left"
        else:
            reason = reason_of(past) if past == NEVER_BOUND else " here: no block that is open binds it"
    if hasattr(type(store), name):
        reason = " here, so the class says what it is" + reason[len(" here"):]
    return f"{name!r} is not bound{reason}"


cdef str open_elsewhere(xlocal store, str name):
    """The end of a sentence about an open block that binds the name, in any context; None if there is none."""
    cdef Binding made
    for made, context in pairs_of(is_block):
        if made.owner is store and name in made.names and not is_exited(made):
            return (f" here: a block that is open {where(context, made.unit)} binds it, "
                    "and nothing carried that here (see xctx.carry, xctx.concurrent)")
    return None


cdef str where(object context, Unit unit):
    """Says in which thread a context is current now, if it is, and which unit made a binding, if the thread does not tell."""
    cdef unsigned long ident = xctx_thread_in_context(<PyObject*>context)
    cdef str told = "in another context"
    if ident:
        told = f"in the thread {thread_name(ident)!r}{of_interpreter()}"
    return told if unit is None or unit.kind in ("process", "thread") else f"{told}, for {unit!r},"


cdef object thread_name(unsigned long ident):
    """The name of a thread that threading knows, or else its ident."""
    for thread in enumerate_threads():
        if thread.ident == ident:
            return thread.name
    return ident


def names_of(local store not None):
    """A new dict of what the store keeps for the unit that runs here. Unlike ``__dict__``, it leaves that as it is."""
    return names_here(store)


def all_here():
    """A new dict of all names that are bound here in xlocals, and kept for this unit of work in locals.

    If several stores have a name, locals come before xlocals, and among several locals or xlocals the first found counts.
    """
    cdef dict names = {}
    cdef PyThreadState *tstate = xctx_tstate()
    unit = work.current()
    if unit is not None:
        for _store, kept_names in stores_of(unit):
            names = {**kept_names, **names}
    if tstate.context != NULL:
        each_chain(tstate, add_visible, <void*>names)
    return names


cdef int add_visible(Binding top, void *arg) except -1:
    cdef dict names = <dict>arg
    top = visible_here(top, xctx_tstate())
    if top is not None and not is_work(top):
        for name, value in merge(top).items():
            names.setdefault(name, value)
    return 0


def units_of(local store not None):
    """The units for which the store keeps anything: a list of pairs (unit, new dict of names and values)."""
    cdef UnitValues *values
    cdef Py_ssize_t count, size = 0
    cdef list units
    while store.storage != SHARED_BY_THREADS or store.key.func is None:
        units = [None] * size
        count = 0
        xctx_lock(lock)
        values = store.kept.first if store.kept.forks == xctx_fork_count() else NULL
        while values != NULL:
            if count < size:
                units[count] = <Unit>values.unit
            count += 1
            values = values.next
        xctx_unlock(lock)
        if count <= size:
            break
        size = count
    else:
        # Such a unit may be dying at this moment, together with its key, and no reference may be taken to it then.
        units = store.key.units_of_values()
    pairs = []
    for unit in units:
        held = None if unit is None else kept(store, <Unit>unit)
        if held is not None:
            pairs.append((unit, held))
    return pairs
