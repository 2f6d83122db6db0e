# cython: language_level=3, freethreading_compatible=True, binding=True
# cython: embedsignature=True, embedsignature.format=python
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Units and keys: who is running.

A *unit* is the record of one process, thread, greenlet, task or context. It is a weak reference to what it stands for;
the reference's callback ends it. What it stands for may be kept alive by nothing but its own program, and its address may
be used again at once: an ended unit has left the registry by then, so no later one can be taken for it.

The registry is a hash table of all living units by the address of what they stand for. It owns them. Nothing that a unit
holds is reachable from it for the garbage collector: stores own what they keep (see ``_local``), units only find it.

A *key* finds the unit that is current. The thread state counts context changes and greenlet switches (``context_ver``), so
while that count stands still the unit is the same, and nobody is asked.
"""
from cpython.object cimport Py_EQ, Py_NE, Py_TYPE, PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint64_t, uintptr_t
from libc.string cimport memset

from xctx._runtime.runtime cimport NEVER, XCTX_FORK_UNITS, connect, xctx_at_fork, xctx_cache_empty, xctx_here, xctx_now
from xctx._runtime.scheduling cimport greenlet_is_dead, running_greenlet, running_task
from _weakref import ref   # not weakref, which the interpreter would have to load


cdef extern from *:
    """
    #define XCTX_IDENTITY_HASH(o) (Py_TYPE(o)->tp_hash == PyBaseObject_Type.tp_hash)
    #define XCTX_WEAKREFS(o) (Py_TYPE(o)->tp_weaklistoffset != 0)
    """
    bint has_identity_hash "XCTX_IDENTITY_HASH"(object)
    bint has_weak_references "XCTX_WEAKREFS"(object)

cdef extern from "Python.h":
    PyObject *PyThreadState_GetDict()
    PyObject *PyDict_GetItemWithError(PyObject *, PyObject *) except? NULL
    PyObject *_PyType_Lookup(PyTypeObject *, PyObject *)
    unsigned long PyThread_get_thread_ident() nogil
    object PyContext_CopyCurrent()
    void *PyMem_RawCalloc(size_t, size_t) nogil
    void PyMem_RawFree(void *) nogil

connect()

cdef str RUNG_NAMES = "process thread greenlet task context value"


# --- fork ------------------------------------------------------------------------------------------------------------

cdef void forked() noexcept nogil:
    # In the child. The parent's units are left alone, not ended: what they hold is the parent's to finalise. Another
    # thread may have held the lock.
    global buckets, bucket_mask, unit_count, process_unit
    buckets = NULL
    bucket_mask = 0
    unit_count = 0
    process_unit = NULL
    memset(&registry_lock, 0, sizeof(registry_lock))


# --- units -----------------------------------------------------------------------------------------------------------

cdef class Unit(ReferenceType):
    """The record of one execution unit: a process, thread, greenlet, task or context, alive once.

    A unit is a weak reference: calling it gives the object it stands for, or None. Units compare by identity, and are hashable.
    They are made by keys (:meth:`Key.current`), never by hand.

    Thread-safety: all methods may be called from any thread.
    Lifetime: a unit ends when what it stands for ends; the object may be kept longer and then says ``alive == False``.
    """

    def __dealloc__(self):
        # Only the units of a callable's key that the garbage collector took whole get here with anything left.
        if self.shelf != NULL and self.generation == xctx_fork_count():
            release_shelf(self)

    def __init__(self, *args, **kwargs):
        raise TypeError("units are made by keys: call xctx.keys.greenlet.current() or the like")

    @property
    def alive(self):
        """Whether what this unit stands for still runs, in this process."""
        return not self.ended and self.generation == xctx_fork_count()

    @property
    def kind(self):
        """What kind of unit it is, 'process', 'thread', 'greenlet', 'task', 'context', or 'value' for a callable's."""
        return RUNG_NAMES.split()[<int>self.rung]

    def __call__(self):
        """What this unit stands for, where that is an object: a greenlet, a task, a context or a key's value; or None."""
        # Not a lease: holding one would keep the unit alive.
        cdef object thing = ReferenceType.__call__(self)
        return None if isinstance(thing, Lease) else thing

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
        return f"<xctx unit: {self.kind} {<uintptr_t>self.anchor:#x}{'' if self.alive else ', ended'}>"

    def __reduce_ex__(self, protocol):
        raise TypeError("cannot pickle 'Unit' object: a unit has no meaning in another process")


cdef class Lease:
    """What a unit stands for where nothing else can be referred to weakly: a thread, a process, a callable's value."""
    cdef Unit unit
    cdef object __weakref__


cdef shelf_release release_shelf = NULL


cdef void set_shelf_release(shelf_release release) noexcept:
    global release_shelf
    release_shelf = release


def on_death(Unit unit not None):
    """The callback of every unit's weak reference."""
    end_unit(unit)


cdef void end_unit(Unit unit) noexcept:
    # `unit` is held by the caller throughout. Runs finalisers, hence any Python code.
    cdef bint registered
    cdef int _turn
    if unit.generation != xctx_fork_count():
        return
    xctx_lock(&registry_lock)
    registered = not unit.ended and unregister(unit)
    if unit.ended:
        xctx_unlock(&registry_lock)
        return
    unit.ended = True
    xctx_unlock(&registry_lock)
    # A thread's finalisers run in that very thread and may fill the shelf again; it is the thread's unit until they are
    # through. Each turn empties it; one that refills it for ever (as with pthread destructors) is left after a few.
    for _turn in range(8):
        if unit.shelf == NULL or release_shelf == NULL:
            break
        release_shelf(unit)
    forget_found(unit)
    if registered:
        Py_DECREF(unit)


cdef void forget_found(Unit unit) noexcept:
    """Sees to it that this thread asks anew who runs: the answer may have been the unit, which has ended."""
    cdef xctx_now *now = xctx_here()
    if now.thread == <PyObject*>unit:
        now.thread = NULL
    now.found[<int>GREENLET].ver = now.found[<int>TASK].ver = NEVER
    xctx_cache_empty()   # xlocals have the unit itself in the cache


# --- the registry ----------------------------------------------------------------------------------------------------

cdef xctx_mutex registry_lock       # guards what follows, and every unit's next_in_bucket and ended; innermost
cdef PyObject **buckets = NULL      # each entry owns its unit
cdef size_t bucket_mask = 0
cdef size_t unit_count = 0
cdef size_t SWEEPING = <size_t>-1
cdef size_t sweep_at = 64

memset(&registry_lock, 0, sizeof(registry_lock))


cdef inline size_t bucket_of(void *anchor) noexcept nogil:
    return ((<size_t>anchor >> 4) * <size_t>0x9E3779B97F4A7C15 >> 20) & bucket_mask


cdef Unit registered_unit(void *anchor, Rung rung):
    # The living unit of the thing at that address, or None. The lock keeps it in the registry until it is held.
    cdef PyObject *p
    cdef Unit unit = None
    xctx_lock(&registry_lock)
    if buckets != NULL:
        p = buckets[bucket_of(anchor)]
        while p != NULL:
            if (<Unit>p).anchor == anchor and (<Unit>p).rung == rung:
                unit = <Unit>p
                break
            p = (<Unit>p).next_in_bucket
    xctx_unlock(&registry_lock)
    return unit


cdef bint grow_registry() noexcept nogil:
    # With the lock held.
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
            at = bucket_of((<Unit>p).anchor)
            (<Unit>p).next_in_bucket = new[at]
            new[at] = p
            p = following
    PyMem_RawFree(old)
    return True


cdef void enlist(Unit unit) except *:
    global unit_count
    cdef size_t at
    cdef bint done = False
    xctx_lock(&registry_lock)
    if buckets != NULL and unit_count <= bucket_mask or grow_registry():
        at = bucket_of(unit.anchor)
        unit.next_in_bucket = buckets[at]
        buckets[at] = <PyObject*>unit
        Py_INCREF(unit)   # the registry's
        unit_count += 1
        done = True
    xctx_unlock(&registry_lock)
    if not done:
        raise MemoryError()


cdef bint unregister(Unit unit) noexcept:
    # With the lock held. True where the registry held it: its reference is now the caller's.
    global sweep_at, unit_count
    cdef PyObject **at
    if buckets == NULL:
        return False
    at = &buckets[bucket_of(unit.anchor)]
    while at[0] != NULL:
        if at[0] == <PyObject*>unit:
            at[0] = unit.next_in_bucket
            unit.next_in_bucket = NULL
            unit_count -= 1
            if SWEEPING > sweep_at > 64 and sweep_at > 4 * unit_count:
                sweep_at = max(<size_t>64, 2 * unit_count)   # after a crowd, a few are worth a look again
            return True
        at = &(<Unit>at[0]).next_in_bucket
    return False


cdef list living_units():
    """All living units, in no order."""
    cdef list units = []
    cdef PyObject *p
    cdef size_t i
    cdef Py_ssize_t size
    # The list is made long enough first: nothing may be allocated for the collector under the lock.
    while True:
        units = [None] * (<Py_ssize_t>unit_count + 16)
        size = 0
        xctx_lock(&registry_lock)
        if unit_count <= <size_t>len(units) and buckets != NULL:
            for i in range(bucket_mask + 1):
                p = buckets[i]
                while p != NULL:
                    units[size] = <Unit>p
                    size += 1
                    p = (<Unit>p).next_in_bucket
            xctx_unlock(&registry_lock)
            return units[:size]
        xctx_unlock(&registry_lock)
        if buckets == NULL:
            return []


cdef Unit new_unit(object thing, void *anchor, Rung rung, object callback):
    cdef Unit unit = Unit.__new__(Unit, thing, callback)
    unit.anchor = anchor
    unit.rung = rung
    unit.generation = xctx_fork_count()
    unit.tsid = xctx_tstate().id
    return unit


cdef Unit unit_of(object thing, Rung rung, bint create):
    # The unit of a greenlet, task or context: a thing that can be referred to weakly and that is known by its address.
    cdef Unit unit = registered_unit(<void*>thing, rung)
    cdef Unit mine
    if unit is None and create:
        mine = new_unit(thing, <void*>thing, rung, on_death)
        # Making it may have run code (the garbage collector does) that came first.
        unit = registered_unit(<void*>thing, rung)
        if unit is not None:
            return unit
        enlist(mine)
        unit = mine
        try:
            watch(thing, rung)
        except Exception:
            pass   # the weak reference ends the unit all the same, if later
        if unit_count > sweep_at:
            sweep()
    return unit


cdef void watch(object thing, Rung rung) except *:
    """Asks for the news of the end of a thing that may be referred to long after."""
    if rung == GREENLET:
        # gevent's Greenlet; a plain one has no such method and is swept.
        if _PyType_Lookup(Py_TYPE(thing), <PyObject*>RAWLINK) != NULL:
            thing.rawlink(greenlet_finished)
    elif rung == TASK:
        if _PyType_Lookup(Py_TYPE(thing), <PyObject*>ADD_DONE_CALLBACK) != NULL:
            # In a context of its own: a copy of the current one would keep everything bound here alive.
            thing.add_done_callback(task_done, context=empty_context())


cdef str RAWLINK = "rawlink"
cdef str ADD_DONE_CALLBACK = "add_done_callback"


cdef object empty_context():
    from contextvars import Context
    return Context()


def greenlet_finished(finished):
    """Called by gevent's loop, in the hub, when a Greenlet has finished."""
    cdef Unit unit = registered_unit(<void*>finished, GREENLET)
    if unit is not None:
        end_unit(unit)


def task_done(done):
    """Called by the event loop when a task is done."""
    cdef Unit unit = registered_unit(<void*>done, TASK)
    if unit is not None:
        end_unit(unit)


cdef void sweep() noexcept:
    # A plain greenlet tells nobody that it has finished, and what its unit holds may be what keeps it referred to. Looking
    # through them all each time their number has doubled costs a constant for each.
    global sweep_at
    cdef Unit unit
    cdef list units
    cdef uint64_t tsid = xctx_tstate().id
    sweep_at = SWEEPING   # not again from within
    try:
        units = living_units()
        for unit in units:
            # One of another thread may be on its last lines there.
            if unit.rung == GREENLET and unit.tsid == tsid and greenlet_is_dead(unit()):
                end_unit(unit)
    except Exception:
        pass
    sweep_at = 2 * unit_count if unit_count > 32 else 64


# --- the current unit, rung by rung ------------------------------------------------------------------------------------

cdef PyObject *process_unit = NULL   # owns it; set once in each process


cdef Unit current_process(bint create):
    global process_unit
    cdef Lease lease
    cdef Unit unit
    if process_unit == NULL and create:
        lease = Lease()
        unit = new_unit(lease, NULL, PROCESS, on_death)
        lease.unit = unit
        xctx_lock(&registry_lock)
        if process_unit == NULL:
            Py_INCREF(lease)   # for as long as the process lives
            Py_INCREF(unit)
            process_unit = <PyObject*>unit
        xctx_unlock(&registry_lock)
    return None if process_unit == NULL else <Unit>process_unit


cdef Unit current_thread(bint create):
    cdef uint64_t tsid = xctx_tstate().id
    cdef xctx_now *now = xctx_here()
    cdef PyObject *slots
    cdef PyObject *found
    cdef Lease lease
    cdef Unit unit
    if now.tsid == tsid and now.thread != NULL:
        return <Unit>now.thread
    slots = PyThreadState_GetDict()   # borrowed from the thread state, which drops it when the thread exits
    if slots == NULL:
        if not create:
            return None
        raise MemoryError()
    found = PyDict_GetItemWithError(slots, <PyObject*>Lease)
    unit = None if found == NULL else (<Lease>found).unit
    if unit is None or unit.generation != xctx_fork_count() or unit.ended:
        if not create:
            return None
        lease = Lease()
        unit = new_unit(lease, <void*><uintptr_t>PyThread_get_thread_ident(), THREAD, on_death)
        lease.unit = unit
        # Making these may have run code (the garbage collector does) that came first.
        if now.tsid == tsid and now.thread != NULL:
            return <Unit>now.thread
        # One with this ident was made by a finaliser at the very end of an earlier thread, past the death of its dict.
        late = registered_unit(unit.anchor, THREAD)
        if late is not None:
            end_unit(late)
        enlist(unit)   # to be listed, and to be found by the thread's ident
        (<dict><object>slots)[Lease] = lease
    now.tsid = tsid
    now.thread = <PyObject*>unit
    now.found[<int>GREENLET].ver = now.found[<int>TASK].ver = NEVER
    return unit


cdef Unit current_greenlet(bint create):
    cdef PyThreadState *tstate = xctx_tstate()
    cdef uint64_t ver = tstate.context_ver
    cdef xctx_now *now = xctx_here()
    cdef Unit unit
    if now.found[<int>GREENLET].ver == ver and now.tsid == tstate.id:
        return <Unit>now.found[<int>GREENLET].unit
    running = running_greenlet(False)
    if running is None:
        unit = current_thread(create)
    else:
        unit = unit_of(running, GREENLET, create)
    if unit is not None and settle(tstate, ver):
        now.found[<int>GREENLET].unit = <PyObject*>unit
        now.found[<int>GREENLET].ver = ver
    return unit


cdef Unit current_task(bint create):
    cdef PyThreadState *tstate = xctx_tstate()
    cdef uint64_t ver = tstate.context_ver
    cdef xctx_now *now = xctx_here()
    cdef Unit unit
    if now.found[<int>TASK].ver == ver and now.tsid == tstate.id:
        return <Unit>now.found[<int>TASK].unit
    running = running_task()
    if running is None:
        unit = current_greenlet(create)
    else:
        unit = unit_of(running, TASK, create)
    if unit is not None and settle(tstate, ver):
        now.found[<int>TASK].unit = <PyObject*>unit
        now.found[<int>TASK].ver = ver
    return unit


cdef bint settle(PyThreadState *tstate, uint64_t ver) noexcept:
    # Makes this thread's record speak of this thread state. False where the search itself let something else run: then
    # what was found is right for the caller, but says nothing of the count.
    cdef xctx_now *now = xctx_here()
    if now.tsid != tstate.id:
        now.tsid = tstate.id
        now.thread = NULL
        now.found[<int>GREENLET].ver = now.found[<int>TASK].ver = NEVER
    return tstate.context_ver == ver


cdef Unit current_context(bint create):
    cdef PyThreadState *tstate = xctx_tstate()
    if tstate.context == NULL:
        if not create:
            return None
        PyContext_CopyCurrent()   # gives the thread a context where it had none
    return unit_of(<object>tstate.context, CONTEXT, create)


# --- keys ------------------------------------------------------------------------------------------------------------

cdef class Key:
    """Which notion of "unit" a store goes by.

    ``Key(func, name=None)`` makes a key from any callable that takes nothing and returns a hashable: each value is a unit.
    Where a value compares by identity and can be referred to weakly, its unit ends with it; otherwise it lives until
    :meth:`forget` is called, or the key dies. The keys of the ladder are made already: see :mod:`xctx.keys`.

    Thread-safety: all methods may be called from any thread. The callable is called at each use of a store, in the unit
    that uses it.

    Raises:
        TypeError: `func` is not callable.
    """

    def __init__(self, func, name=None):
        if self.name is not None:
            raise TypeError(f"{self!r} is made already: a key never changes")
        if not callable(func):
            raise TypeError(f"a key is made from a callable that returns a hashable, not {func!r}")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"a key's name is a str, not {name!r}")
        self.func = func
        self.name = name if name is not None else getattr(func, "__name__", type(func).__name__)
        self.rung = VALUE
        self.leases = {}
        self.units = {}
        self.generation = xctx_fork_count()

    cdef Unit find(self, bint create):
        """The current unit; where nothing has been kept for it yet, None unless `create`."""
        if self.rung == GREENLET:
            return current_greenlet(create)
        if self.rung == THREAD:
            return current_thread(create)
        if self.rung == TASK:
            return current_task(create)
        if self.rung == PROCESS:
            return current_process(create)
        if self.rung == CONTEXT:
            return current_context(create)
        return self.unit_of_value(self.func(), create)

    cdef Unit unit_of_value(self, object value, bint create):
        cdef Lease lease
        cdef Unit unit
        cdef object address
        if self.generation != xctx_fork_count():
            # In a forked child. The old leases may die: a parent's units are not ended here.
            self.leases = {}
            self.units = {}
            self.generation = xctx_fork_count()
        # Where equality is identity the unit ends with the value; otherwise an equal one may come at any time.
        if value_is_its_identity(value):
            address = <uintptr_t><void*>value
            unit = shared_get(self.units, address)
            if unit is None and create:
                if self.on_value_death is None:
                    self.on_value_death = value_death(ref(self))
                unit = new_unit(value, <void*>value, VALUE, self.on_value_death)
                unit = shared_setdefault(self.units, address, unit)
            return unit
        try:
            lease = shared_get(self.leases, value)
        except TypeError:
            raise TypeError(f"the key {self.name!r} gave {value!r}: a key's callable returns a hashable") from None
        if lease is None and create:
            lease = Lease()
            lease.unit = new_unit(lease, <void*>lease, VALUE, on_death)
            lease = shared_setdefault(self.leases, value, lease)
        return None if lease is None else lease.unit

    cdef list units_of_values(self):
        """Those that a callable's key has now."""
        cdef Lease lease
        if self.generation != xctx_fork_count():
            return []
        return [*list(self.units.values()), *[lease.unit for lease in list(self.leases.values())]]

    cpdef object current(self):
        """The unit that is current under this key.

        Returns:
            The :class:`Unit`; made now where this is the first use of it.
        """
        return self.find(True)

    def of(self, thing):
        """The unit of something else than what runs now, if anything has been kept for it.

        Args:
            thing: a greenlet, an asyncio or trio task, a :class:`contextvars.Context`, a :class:`threading.Thread` or its
                ident, or (for a callable's key) a value, as this key goes by.

        Returns:
            The living :class:`Unit`, or None.
        """
        if self.rung == THREAD:
            ident = getattr(thing, "ident", thing)
            if ident is None:   # a thread that has not been started
                return None
            if ident is not thing and not thing.is_alive():   # its ident may be another's by now
                return None
            if not isinstance(ident, int):
                raise TypeError(f"a thread or its ident was wanted, not {thing!r}")
            return registered_unit(<void*><uintptr_t>ident, THREAD)
        if self.rung == PROCESS:
            return current_process(False)
        if self.rung == VALUE:
            return self.unit_of_value(thing, False)
        if self.rung == GREENLET or self.rung == TASK:
            if thing is not None and thing is running_greenlet(True):
                return current_greenlet(False)
        return registered_unit(<void*>thing, self.rung)

    def forget(self, value):
        """Ends the unit of a value of a callable's key; what stores keep for it is released. Unknown values are ignored.

        Raises:
            TypeError: this is a key of the ladder, whose units end by themselves.
        """
        if self.rung != VALUE:
            raise TypeError(f"only values of a callable's key can be forgotten; {self!r} is none")
        cdef Unit unit = self.unit_of_value(value, False)
        if unit is not None:
            self.units.pop(<uintptr_t>unit.anchor, None)
            if not value_is_its_identity(value):
                self.leases.pop(value, None)
            end_unit(unit)

    def __call__(self):
        """The same as :meth:`current`, so that a key can be given where a scope function is wanted."""
        return self.find(True)

    def __repr__(self):
        return f"<xctx.keys.Key {self.name!r}>" if self.rung == VALUE else f"xctx.keys.{self.name}"

    def __reduce__(self):
        if self.rung == VALUE:
            raise TypeError(f"cannot pickle {self!r}: only the keys of the ladder can be found again elsewhere")
        return ladder_key, (self.name,)


def value_death(key_ref):
    """The callback of the weak references to a key's values. It does not hold the key, which holds the units that hold it."""

    def value_died(Unit unit):
        cdef Key key = key_ref()
        if unit.generation == xctx_fork_count():
            if key is not None:
                key.units.pop(<uintptr_t>unit.anchor, None)
            end_unit(unit)

    return value_died


cdef bint value_is_its_identity(object value) noexcept:
    return has_identity_hash(value) and has_weak_references(value)


cdef Key rung_key(str name, Rung rung):
    cdef Key key = Key.__new__(Key)
    key.name = name
    key.rung = rung
    return key


process = rung_key("process", PROCESS)
thread = rung_key("thread", THREAD)
greenlet = rung_key("greenlet", GREENLET)
task = rung_key("task", TASK)
context = rung_key("context", CONTEXT)


def ladder_key(name):
    """The key of the ladder with that name: how a key is unpickled."""
    for key in (process, thread, greenlet, task, context):
        if key.name == name:
            return key
    raise ValueError(f"no key {name!r}: the ladder is process, thread, greenlet, task, context")


cdef Key as_key(object key):
    """`key` itself, or a key made of it where it is a callable."""
    if isinstance(key, Key):
        return <Key>key
    if callable(key):
        return Key(key)
    raise TypeError(f"a key is one of xctx.keys or a callable that returns a hashable, not {key!r}")


xctx_at_fork(XCTX_FORK_UNITS, NULL, NULL, forked)
