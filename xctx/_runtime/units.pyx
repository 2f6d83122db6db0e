# cython: language_level=3, freethreading_compatible=True, binding=False
# cython: embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Units: the records of processes, threads, greenlets, tasks, contexts and units of work, and the registry of them.

A unit is a weak reference to the object that it stands for, its *thing*. The reference's callback ends the unit, so only the
program keeps a thing alive, and the thing's address may be used again at once: an ended unit has left the registry by then,
and no later thing can be mistaken for the earlier one.

The registry is a hash table of all living units by the address of the thing. It owns them. The garbage collector reaches
nothing from a unit: stores own what they keep for the unit (see ``_stores``), and the unit only has pointers to it.

``_core.pyx`` knows which kinds of units there are, and how the unit that runs here is found.
"""
cimport cython
from cpython.object cimport Py_EQ, Py_NE, PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport intptr_t, uint64_t, uintptr_t
from libc.string cimport memset

from xctx._runtime.python cimport (FREE_THREADED, PyMem_RawCalloc, PyMem_RawFree, TypeObject, xctx_forbid_instances,
                                   xctx_load_count, xctx_load_int, xctx_load_ptr, xctx_lock, xctx_mutex, xctx_store_count,
                                   xctx_store_int, xctx_tstate, xctx_unlock)
from xctx._runtime.runtime cimport (XCTX_FORK_UNITS, connect, xctx_at_fork, xctx_cache_empty, xctx_fork_count,
                                    xctx_found_drop, xctx_here, xctx_now)
from xctx._runtime.interpreter import of_interpreter

connect()

# Process: which interpreter the units of this copy are of, as the end of their repr.
cdef str OF_INTERPRETER = of_interpreter()


# --- units -----------------------------------------------------------------------------------------------------------

@cython.final
cdef class Unit(ReferenceType):
    """The record of one execution unit: a process, thread, greenlet, task, context or unit of work.

    A unit is a weak reference: calling it gives the object it stands for, or None. Units compare by identity, and are hashable.
    They are made by keys (:meth:`Key.current`), never by hand.

    Thread-safety: all methods may be called from any thread.
    Lifetime: a unit ends when what it stands for ends; the object may be kept longer and then says ``alive == False``.
    """

    def __init__(self, *args, **kwargs):
        refuse(NULL, None, None)

    @property
    def alive(self):
        """Whether what this unit stands for still runs, in this process."""
        return not xctx_load_int(<int*>&self.ended) and self.forks == xctx_fork_count()

    @property
    def kind(self):
        """'process', 'thread', 'greenlet', 'task', 'work' or 'context'; or 'value' if a callable's key made the unit."""
        return self.unit_kind.name.decode()

    def __call__(self):
        """The object that this unit stands for: a greenlet, a task, a context or a key's value. None for other kinds of units,
        and once the object is dead."""
        # Not a Referent or UnitOfWork: a caller that held one would keep the unit from ending.
        cdef object thing = ReferenceType.__call__(self)
        return None if self.unit_kind.index == WORK or isinstance(thing, Referent) else thing

    def __richcmp__(self, other, int op):
        # By identity, where a plain weak reference compares what it refers to.
        if op == Py_EQ:
            return self is other
        if op == Py_NE:
            return self is not other
        return NotImplemented

    def __hash__(self):
        return <Py_hash_t>(<uintptr_t><void*>self >> 4)

    def __repr__(self):
        return f"<xctx unit: {self.kind} {<uintptr_t>self.address:#x}{OF_INTERPRETER}{'' if self.alive else ', ended'}>"

    def __reduce_ex__(self, protocol):
        raise TypeError("cannot pickle 'Unit' object: a unit has no meaning in another process")

    def __dealloc__(self):
        # A unit that ended has released its table. Only units of a callable's key come here without having ended, if the
        # garbage collector frees them together with the key.
        if self.table != NULL and self.forks == xctx_fork_count():
            release_table(self)


@cython.final
cdef class Referent:
    """What a unit refers to in place of a thing that cannot have weak references: a thread, a process, a callable's value.

    Lifetime: held until the unit is to end, by the dict of the thread state or by the key of a callable; that of a process
    is held for ever.
    """


cdef object refuse(PyTypeObject *_type, object _args, object _kwargs):
    raise TypeError("units are made by keys: call xctx.keys.greenlet.current() or the like")


# Replaces `Unit.__new__`, which this module does not call: a unit that a program made would have no kind.
(<TypeObject*><PyObject*>Unit).tp_new = refuse
xctx_forbid_instances(<PyTypeObject*>Referent)


cdef Unit new_unit(object thing, void *address, const UnitKind *kind, object callback):
    """A unit that is not registered."""
    cdef Unit unit = Unit.__new__(Unit, thing, callback)
    unit.unit_kind = kind
    unit.address = address
    unit.forks = xctx_fork_count()
    unit.tsid = xctx_tstate().id
    return unit


cdef Referent new_referent(void *address, const UnitKind *kind):
    """A Referent with its unit, which ends when the Referent dies. The address is the Referent's own if none is given."""
    cdef Referent referent = Referent.__new__(Referent)
    referent.unit = new_unit(referent, address if address != NULL else <void*>referent, kind, on_death)
    return referent


cdef Unit unit_of(object thing, const UnitKind *kind, bint create):
    """The unit of a thing that can be referred to weakly and is known by its address: a greenlet, task, context or UnitOfWork.

    The registry holds the unit, so the weak reference outlives the thing, and its callback runs.
    """
    cdef Unit unit = registered_unit(<void*>thing, kind)
    cdef Unit mine
    if unit is None and create:
        mine = new_unit(thing, <void*>thing, kind, on_death)
        # Making it may have run the garbage collector, and so any code, which may have made the unit first.
        unit = registered_unit(<void*>thing, kind)
        if unit is not None:
            return unit
        register(mine)
        unit = mine
        if kind.watch != NULL:
            try:
                kind.watch(thing)
            except Exception:
                pass   # the weak reference still ends the unit, only later
        if xctx_load_count(&unit_count) > xctx_load_count(&sweep_at):
            sweep()
    return unit


# --- how a unit ends ---------------------------------------------------------------------------------------------------

cdef table_release release_table = NULL   # process


cdef void set_table_release(table_release release) noexcept:
    global release_table
    release_table = release


def on_death(Unit unit not None):
    """The callback of a unit's weak reference."""
    end_unit(unit)


cdef void end_unit(Unit unit) noexcept:
    """Ends a unit, to which the caller holds a reference throughout. Runs finalisers, hence any Python code."""
    cdef bint registered
    cdef int _round
    if unit.forks != xctx_fork_count():
        return   # a parent's
    xctx_lock(&registry_lock)
    registered = not unit.ended and unregister(unit)
    if unit.ended:
        xctx_unlock(&registry_lock)
        return
    xctx_store_int(<int*>&unit.ended, True)
    xctx_unlock(&registry_lock)
    # The finalisers of a thread's values run in that thread. Until they have ended this is still the thread's unit, in which
    # they may store values again, so the table is emptied several times. If finalisers store again each time, what they
    # stored last is left, as pthreads does with the destructors of thread-specific data.
    for _round in range(8):
        if xctx_load_ptr(&unit.table) == NULL or release_table == NULL:
            break
        release_table(unit)
    xctx_store_int(<int*>&unit.over, True)
    if unit.unit_kind.cached:
        forget_found(unit)
    elif release_table != NULL and (FREE_THREADED or unit.table != NULL):
        # Another thread may have stored something before it could see that the unit is over. Without the GIL only a lock that
        # both take tells which came first.
        release_table(unit)
    if registered:
        Py_DECREF(unit)


cdef void forget_found(Unit unit) noexcept:
    """Empties what this thread remembers of the units that run here: one of them may have ended."""
    cdef xctx_now *now = xctx_here()
    if now.thread == <PyObject*>unit:
        now.thread = NULL
    xctx_found_drop(now)
    xctx_cache_empty()   # the entry of an xlocal borrows the unit itself


# --- the registry ------------------------------------------------------------------------------------------------------

# All of these are of the process.
cdef xctx_mutex registry_lock       # innermost. Guards what follows, and of every unit `next_in_bucket` and `ended`
cdef PyObject **buckets = NULL      # each bucket is a chain of units by `next_in_bucket`, and owns them
cdef size_t bucket_mask = 0
cdef intptr_t unit_count = 0        # written under the lock, and read anywhere

# Atomic: any value would do.
cdef intptr_t SWEEPING = <intptr_t>(<size_t>-1 >> 1)
cdef intptr_t SWEEP_AT_LEAST = 64
cdef intptr_t sweep_at = SWEEP_AT_LEAST   # the number of units at which the finished ones are next looked for

memset(&registry_lock, 0, sizeof(registry_lock))


cdef void forked() noexcept nogil:
    # In the child. The parent's units are left alone, not ended, because only the parent may finalise what they hold. The
    # lock is reset, because another thread may have held it.
    global buckets, bucket_mask, unit_count
    buckets = NULL
    bucket_mask = 0
    unit_count = 0
    memset(&registry_lock, 0, sizeof(registry_lock))


xctx_at_fork(XCTX_FORK_UNITS, NULL, NULL, forked)


cdef inline size_t bucket_of(void *address) noexcept nogil:
    # The lowest bits of an address are 0, and its middle ones differ little: spread them.
    return ((<size_t>address >> 4) * <size_t>0x9E3779B97F4A7C15 >> 20) & bucket_mask


cdef Unit registered_unit(void *address, const UnitKind *kind):
    """The living unit of the thing at that address, or None."""
    # The registry holds a unit as long as the unit is in it, which it is, under the lock, until `unit` holds it too.
    cdef PyObject *p
    cdef Unit unit = None
    xctx_lock(&registry_lock)
    if buckets != NULL:
        p = buckets[bucket_of(address)]
        while p != NULL:
            if (<Unit>p).address == address and (<Unit>p).unit_kind == kind:
                unit = <Unit>p
                break
            p = (<Unit>p).next_in_bucket
    xctx_unlock(&registry_lock)
    return unit


cdef void register(Unit unit) except *:
    """Puts a unit into the registry, which owns it from then on."""
    cdef size_t at
    cdef bint done = False
    xctx_lock(&registry_lock)
    if buckets != NULL and <size_t>unit_count <= bucket_mask or grow_registry():
        at = bucket_of(unit.address)
        unit.next_in_bucket = buckets[at]
        buckets[at] = <PyObject*>unit
        Py_INCREF(unit)   # the registry's
        xctx_store_count(&unit_count, unit_count + 1)
        done = True
    xctx_unlock(&registry_lock)
    if not done:
        raise MemoryError()


cdef bint unregister(Unit unit) noexcept:
    """Takes a unit out, with the lock held. True if it was there: then the registry's reference is the caller's."""
    cdef PyObject **at
    cdef intptr_t next_at
    if buckets == NULL:
        return False
    at = &buckets[bucket_of(unit.address)]
    while at[0] != NULL:
        if at[0] == <PyObject*>unit:
            at[0] = unit.next_in_bucket
            unit.next_in_bucket = NULL
            xctx_store_count(&unit_count, unit_count - 1)
            next_at = xctx_load_count(&sweep_at)
            if SWEEPING > next_at > SWEEP_AT_LEAST and next_at > 4 * unit_count:
                xctx_store_count(&sweep_at, max(SWEEP_AT_LEAST, 2 * unit_count))   # many units have ended: look earlier again
            return True
        at = &(<Unit>at[0]).next_in_bucket
    return False


cdef bint grow_registry() noexcept nogil:
    """Doubles the number of buckets, with the lock held. False if there is no memory."""
    global buckets, bucket_mask
    cdef size_t size = (bucket_mask + 1) * 2 if buckets != NULL else 64
    cdef size_t old_size = bucket_mask + 1 if buckets != NULL else 0
    cdef PyObject **old = buckets
    cdef PyObject **new = <PyObject**>PyMem_RawCalloc(size, sizeof(PyObject*))
    cdef PyObject *p
    cdef PyObject *following
    cdef size_t i, at
    if new == NULL:
        return False
    buckets = new
    bucket_mask = size - 1
    for i in range(old_size):
        p = old[i]
        while p != NULL:
            following = (<Unit>p).next_in_bucket
            at = bucket_of((<Unit>p).address)
            (<Unit>p).next_in_bucket = new[at]
            new[at] = p
            p = following
    PyMem_RawFree(old)
    return True


cdef list living_units():
    """All registered units, in no order."""
    cdef list units = []
    cdef PyObject *p
    cdef size_t i
    cdef Py_ssize_t size
    cdef bint some
    # The list is made long enough beforehand: under the lock nothing may be allocated that the collector tracks, because
    # collecting runs any code.
    while True:
        units = [None] * (xctx_load_count(&unit_count) + 16)
        size = 0
        xctx_lock(&registry_lock)
        if unit_count <= len(units) and buckets != NULL:
            for i in range(bucket_mask + 1):
                p = buckets[i]
                while p != NULL:
                    units[size] = <Unit>p
                    size += 1
                    p = (<Unit>p).next_in_bucket
            xctx_unlock(&registry_lock)
            return units[:size]
        some = buckets != NULL
        xctx_unlock(&registry_lock)
        if not some:
            return []


cdef void sweep() noexcept:
    """Ends the units of this thread whose things have finished, but cannot call back when they do."""
    # A plain greenlet calls nothing when it has finished, and what its unit holds may be what refers to it. Looking through
    # all units each time their number has doubled costs a constant for each.
    cdef Unit unit
    cdef uint64_t tsid = xctx_tstate().id
    xctx_store_count(&sweep_at, SWEEPING)   # not again from within
    try:
        for unit in living_units():
            # Not units of another thread: there a greenlet may still run its last lines, and use its unit.
            if unit.unit_kind.has_finished != NULL and unit.tsid == tsid and unit.unit_kind.has_finished(unit()):
                end_unit(unit)
    except Exception:
        pass
    xctx_store_count(&sweep_at, max(SWEEP_AT_LEAST, 2 * xctx_load_count(&unit_count)))
