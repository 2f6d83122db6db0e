# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""What stores keep, and for which units, as seen from any unit: for :mod:`xctx.debug`.

Under the lock nothing is allocated: if memory ran out the lock would stay held, and a collection may run any code, which
may remove what is being read.
"""
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from xctx._runtime.runtime cimport connect, xctx_fork_count, xctx_next_serial
from xctx._runtime.python cimport (FREE_THREADED, PyThreadState, xctx_is_dying, xctx_iterate_context, xctx_lock, xctx_mutex,
                                   xctx_thread_in_context, xctx_tstate, xctx_unlock)
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
from gc import get_objects
from threading import enumerate as enumerate_threads


connect()

cdef xctx_mutex *lock = stores_lock()


def live_bindings():
    """How many bindings of xlocals are alive in this process, of all units.

    Once all blocks are left, only snapshots keep bindings alive, so without them it is 0. Takes as long as a garbage collection.
    """
    cdef int count = 0
    for each in get_objects():
        if type(each) is Binding and (<Binding>each).owner is not None:   # placeholders have no owner
            count += 1
    return count


def all_bindings():
    """The same bindings: a list of pairs (xlocal, names)."""
    cdef list found = []
    for each in get_objects():
        if type(each) is Binding and (<Binding>each).owner is not None:
            found.append(((<Binding>each).owner, (<Binding>each).names))
    return found


cdef object living(PyObject *store):
    """A reference to the store, or None if it is dying. With the lock held."""
    if FREE_THREADED:
        return (<local>store).self_ref()
    return None if xctx_is_dying(store) else <object>store


cdef bint is_alive(Unit unit) noexcept:
    return not unit.ended and unit.forks == xctx_fork_count()


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
    cdef object context
    for each in get_objects():
        if isinstance(each, Block):
            made = (<Block>each).made
            context = (<Block>each).undo
        elif isinstance(each, BoundEntry) and (<BoundEntry>each).context is not None:
            made = (<BoundEntry>each).made
            context = (<BoundEntry>each).context
        else:
            continue
        if made is not None and made.owner is store and name in made.names and not is_exited(made):
            return (f" here: a block that is open {where(context, made.unit)} binds it, "
                    "and nothing carried that here (see xctx.carry, xctx.concurrent)")
    return None


cdef str where(object context, Unit unit):
    """Says in which thread a context is current now, if it is, and which unit made a binding, if the thread does not tell."""
    cdef unsigned long ident = xctx_thread_in_context(<PyObject*>context)
    cdef str told = "in another context"
    if ident:
        told = f"in the thread {thread_name(ident)!r}"
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
