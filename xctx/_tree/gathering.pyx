# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""What runs in this process, and what its contexts, units and locks have: found in one look, from any thread.

During the look no other code of the interpreter runs: there is the GIL, or without it the world is stopped. In that time
references are taken and nothing else is done, so no code of the program can run in the middle. The rest is read afterwards,
from objects that never change (bindings, mappings of contexts) or under the locks of the stores, while other threads run on.
"""
from cpython.object cimport PyObject, PyTypeObject
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from xctx._core cimport Unit
from xctx._lock.mappings cimport Row
from xctx._lock.protocol cimport EXCLUSIVE, UPGRADABLE, load32, load64
from xctx._lock.unit_lock cimport UnitLock, xctx_unit_lock
from xctx._runtime.python cimport (FREE_THREADED, PyMem_RawFree, PyMem_RawRealloc, PyThreadState, Py_XDECREF_, Py_XINCREF_,
                                   xctx_context_vars, xctx_first_thread, xctx_lock, xctx_mutex, xctx_next_thread,
                                   xctx_published, xctx_thread_ident, xctx_unlock, xctx_visit_objects, visitproc)
from xctx._runtime.runtime cimport connect, xctx_fork_count
from xctx._runtime.scheduling cimport monotonic
from xctx._runtime.units cimport VALUE
from xctx._stores.bindings cimport Binding, is_stray, left_context, merge
from xctx._stores.chains cimport BindingVariable
from xctx._stores.context_values cimport ContextValues, as_new_dict
from xctx._stores.local cimport at_key, local
from xctx._stores.values cimport stores_lock
from xctx._stores.works cimport UnitOfWork, innermost_open, is_work
from xctx._stores.works cimport outer_of as outer_of_work
from contextvars import Context

connect()

cdef xctx_mutex *lock = stores_lock()
cdef tuple MODES = (None, "shared", "upgradable", "exclusive")


# --- the look --------------------------------------------------------------------------------------------------------

cdef struct Thread:
    unsigned long ident
    uint64_t tsid
    PyObject *context     # owned, or NULL


cdef struct Thing:
    PyObject *thing       # owned
    PyObject *of_it       # owned, or NULL: of a context what it maps, of a greenlet the context that it is suspended in


cdef struct Look:
    PyTypeObject *context
    PyTypeObject *greenlet   # or NULL
    PyObject *wanted         # a tuple of types
    Thread *threads
    size_t thread_count, thread_room
    Thing *things
    size_t thing_count, thing_room
    bint has_threads, no_memory


cdef extern from "Python.h":
    bint PyType_IsSubtype(PyTypeObject *, PyTypeObject *) nogil
    PyTypeObject *type_of "Py_TYPE"(PyObject *) nogil
    PyObject *tuple_item "PyTuple_GET_ITEM"(PyObject *, Py_ssize_t) nogil
    Py_ssize_t tuple_size "PyTuple_GET_SIZE"(PyObject *) nogil

cdef extern from *:
    """
    static int xctx_traverse_as(PyTypeObject *type, PyObject *o, visitproc visit, void *arg) {
        return type->tp_traverse == NULL ? 0 : type->tp_traverse(o, visit, arg);
    }
    """
    int traverse_as "xctx_traverse_as"(PyTypeObject *, PyObject *, visitproc, void *) nogil


cdef int visit_object(PyObject *o, void *arg) noexcept nogil:
    """Notes the object if it is of a type that is wanted. Returns 0 when no more need be visited."""
    cdef Look *look = <Look*>arg
    cdef PyTypeObject *kind = type_of(o)
    cdef PyObject *of_it = NULL
    cdef Py_ssize_t i
    if not look.has_threads:
        look.has_threads = True
        note_threads(look)
    if kind == look.context:
        of_it = xctx_context_vars(o)
    elif look.greenlet != NULL and PyType_IsSubtype(kind, look.greenlet):
        # By the traverse of greenlet's own type: a subclass may refer to contexts other than the greenlet's own.
        traverse_as(look.greenlet, o, find_context, &of_it)
    else:
        for i in range(tuple_size(look.wanted)):
            if PyType_IsSubtype(kind, <PyTypeObject*>tuple_item(look.wanted, i)):
                break
        else:
            return 1
    note_thing(look, o, of_it)
    return not look.no_memory


cdef PyTypeObject *CONTEXT = <PyTypeObject*><PyObject*>Context


cdef int find_context(PyObject *o, void *arg) noexcept nogil:
    if type_of(o) != CONTEXT:
        return 0
    (<PyObject**>arg)[0] = o
    return 1


cdef void note_thing(Look *look, PyObject *o, PyObject *of_it) noexcept nogil:
    cdef Thing *grown
    if look.thing_count == look.thing_room:
        grown = <Thing*>PyMem_RawRealloc(look.things, (2 * look.thing_room + 64) * sizeof(Thing))
        if grown == NULL:
            look.no_memory = True
            return
        look.things = grown
        look.thing_room = 2 * look.thing_room + 64
    Py_XINCREF_(o)
    Py_XINCREF_(of_it)
    look.things[look.thing_count].thing = o
    look.things[look.thing_count].of_it = of_it
    look.thing_count += 1


cdef void note_threads(Look *look) noexcept nogil:
    cdef PyThreadState *each = xctx_first_thread()
    cdef Thread *grown
    while each != NULL:
        if look.thread_count == look.thread_room:
            grown = <Thread*>PyMem_RawRealloc(look.threads, (2 * look.thread_room + 16) * sizeof(Thread))
            if grown == NULL:
                look.no_memory = True
                return
            look.threads = grown
            look.thread_room = 2 * look.thread_room + 16
        look.threads[look.thread_count].ident = xctx_thread_ident(each)
        look.threads[look.thread_count].tsid = each.id
        Py_XINCREF_(each.context)
        look.threads[look.thread_count].context = each.context
        look.thread_count += 1
        each = xctx_next_thread(each)


def look(tuple wanted not None, greenlet=None):
    """The threads, contexts, and objects of some types that there are now. Takes as long as a garbage collection.

    Args:
        wanted: types; objects of their subclasses count.
        greenlet: the type of greenlets, where the program has them.

    Returns:
        A tuple of three lists: threads, from the youngest to the oldest, as (ident, number of the thread state, its current
        context or None); contexts, as (context, what it maps); the other objects, as (object, the context of a suspended
        greenlet or None).
    """
    cdef Look found
    cdef list threads = []
    cdef list contexts = []
    cdef list things = []
    cdef size_t i
    memset(&found, 0, sizeof(found))
    found.context = CONTEXT
    found.wanted = <PyObject*>wanted
    found.greenlet = NULL if greenlet is None else <PyTypeObject*><PyObject*>greenlet
    try:
        xctx_visit_objects(visit_object, &found)
        if found.no_memory:
            raise MemoryError()
        for i in range(found.thread_count):
            threads.append((found.threads[i].ident, found.threads[i].tsid, or_none(found.threads[i].context)))
        for i in range(found.thing_count):
            pair = (<object>found.things[i].thing, or_none(found.things[i].of_it))
            (contexts if type_of(found.things[i].thing) == CONTEXT else things).append(pair)
    finally:
        # Last, because it may be the last reference to some of them, and so run any code.
        for i in range(found.thread_count):
            Py_XDECREF_(found.threads[i].context)
        for i in range(found.thing_count):
            Py_XDECREF_(found.things[i].thing)
            Py_XDECREF_(found.things[i].of_it)
        PyMem_RawFree(found.threads)
        PyMem_RawFree(found.things)
    return threads, contexts, things


cdef object or_none(PyObject *o):
    return None if o == NULL else <object>o


# --- what a context has ----------------------------------------------------------------------------------------------

def entries_of(mapping, context):
    """What xctx has in a context: a list of chains of bindings, and a list of (variable, names) that locals keep there.

    Args:
        mapping: what the context maps.
        context: the context.
    """
    cdef list chains = []
    cdef list kept = []
    cdef Binding top
    for var, value in mapping.items():
        if type(value) is Binding:
            top = without_left(<Binding>value, context)
            if top is not None and (<BindingVariable>top.owner).var is var:
                chains.append(top)
        elif type(value) is ContextValues:
            names = names_of(<ContextValues>value)
            if names is not None:
                kept.append((var, names))
    return chains, kept


cdef Binding without_left(Binding top, object context):
    # Without the GIL, a block that was left in another thread is dropped when the xlocal is next used in its context.
    while top is not None and is_stray(top) and left_context(top) is context:
        top = top.outer
    return top


cdef dict names_of(ContextValues values):
    cdef object content = None
    if values.of_flow and values.forks != xctx_fork_count():
        return None
    xctx_lock(lock)   # the store may die
    if values.content != NULL:
        content = <object>values.content
    xctx_unlock(lock)
    return None if content is None else as_new_dict(<PyObject*>content)


def works_in(chains):
    """The units of work that are open where these chains are bound, from the innermost outwards."""
    cdef Binding top
    cdef UnitOfWork work = None
    cdef list found = []
    for each in chains:
        top = <Binding>each
        if is_work(top) and top.values:
            work = innermost_open(<UnitOfWork>top.values[0])
    while work is not None:
        found.append(work.unit)
        work = innermost_open(outer_of_work(work))
    return found


def bound_in(chains, set units not None):
    """What is bound in these chains for some units: a list of (xlocal, its key's name, names and values).

    What a generator has bound counts, whether or not the generator runs.
    """
    cdef Binding link
    cdef list found = []
    for each in chains:
        link = <Binding>each
        if is_work(link):
            continue
        while link is not None and not is_for(link.unit, units):
            link = link.outer
        if link is not None:
            names = merge(link)
            if names:
                found.append((link.owner, (<BindingVariable>link.owner).key, dict(names)))
    return found


cdef bint is_for(Unit unit, set units) except -1:
    return unit is None or unit in units or unit.unit_kind.index == VALUE and unit.forks == xctx_fork_count()


def outer_of(UnitOfWork work not None):
    """The unit of a unit of work, and that of the one around it or None."""
    cdef UnitOfWork outer = innermost_open(outer_of_work(work))
    return work.unit, None if outer is None else outer.unit


# --- units, stores and locks -----------------------------------------------------------------------------------------

def thread_state_of(Unit unit not None):
    """The number of the thread state in which a unit was made."""
    return unit.tsid


def address_of(Unit unit not None):
    """The address of what the unit stands for; of a thread its ident."""
    return <size_t>unit.address


def variable_of(local store not None):
    """The context variable in which a local under ``flow`` or ``context`` keeps its values; or None."""
    return store.var


def is_row(thing):
    """Whether this is a thread's row in a lock's table, which says nothing of the thread's units."""
    return isinstance(thing, Row)


def lock_of(thing):
    """What a unit has of a lock, or None where `thing` says nothing of the kind.

    Returns:
        (serial number of the lock, path or None, mode in which it is held or None, how often, since how many seconds if known,
        mode that is waited for or None, since how many seconds if known).
    """
    cdef UnitLock unit
    cdef Had had
    cdef double now = monotonic()
    if not isinstance(thing, UnitLock):
        return None
    unit = <UnitLock>thing
    memset(&had, 0, sizeof(had))
    had.unit = &unit.c
    if FREE_THREADED:
        xctx_visit_objects(read_lock, &had)   # the unit's thread writes it without a lock
    else:
        read_lock(NULL, &had)
    held = since(had.held_since, now) if had.mode == EXCLUSIVE or had.mode == UPGRADABLE else None
    waits = since(had.waiting_since, now) if had.want and had.waiters else None
    return (unit.serial, unit.row.mapping.path, MODES[had.mode & 3], had.depth, held, MODES[had.want & 3], waits)


cdef struct Had:
    xctx_unit_lock *unit
    int mode, want
    uint32_t depth, waiters
    uint64_t held_since, waiting_since


cdef int read_lock(PyObject *_first, void *arg) noexcept nogil:
    """What the unit has of the lock, all of the same moment. Visits one object, if any: see xctx_promote of cpython.h."""
    cdef Had *had = <Had*>arg
    had.mode = had.unit.mode
    had.depth = had.unit.depth
    had.want = had.unit.attempt.want if had.unit.busy else 0
    had.held_since = load64(&had.unit.row.held_since)
    had.waiting_since = load64(&had.unit.row.waiting_since)
    had.waiters = load32(&had.unit.row.waiters)
    return 0


cdef object since(uint64_t moment, double now):
    return max(0.0, now - moment * 1e-9) if moment else None


def key_of(local store not None):
    """The key of a local."""
    return <object>xctx_published(at_key(store))   # another thread may be making the store
