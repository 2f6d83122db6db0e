# cython: language_level=3, freethreading_compatible=True, binding=False
# cython: embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Keys, and the kinds of units: which unit is running.

A *unit* is the record of one process, thread, greenlet, task, unit of work or context (see ``_runtime/units.pyx``). A *key*
says which kind of unit a store keeps apart, and finds the unit that runs here. The thread state counts context changes and
greenlet switches, so as long as that count stays the same, so does the unit, and no library is asked (see
``_runtime/state.h``).

A kind of unit is one ``UnitKind``: what it can do, and how the current unit is found. The ladder, from coarse to fine:

    process > thread > greenlet > task          the unit of that kind; if there is none, that of the next coarser kind
    flow                                        all code that was given this PEP 567 context on purpose, in this process
    work                                        the innermost open unit of work that this flow is in, or the greenlet
    context                                     the PEP 567 context: no unit of its own is needed to keep things in it
    value                                       what a callable returns
"""
cimport cython
from cpython.object cimport Py_TYPE, PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint64_t, uintptr_t

from xctx._runtime.python cimport (PyDict_GetItemWithError_, PyThread_get_thread_ident, PyThreadState, PyThreadState_GetDict,
                                   xctx_cas_ptr, xctx_copy_context, xctx_load_int, xctx_load_ptr, xctx_shared_get,
                                   xctx_shared_setdefault, xctx_tstate, xctx_type_has)
from xctx._runtime.runtime cimport (connect, xctx_fork_count, xctx_found_begin, xctx_found_drop, xctx_found_hit,
                                    xctx_found_set, xctx_here, xctx_now)
from xctx._runtime.scheduling cimport greenlet_is_dead, running_greenlet, running_task
from xctx._runtime.units cimport (CONTEXT, FLOW, GREENLET, PROCESS, TASK, THREAD, VALUE, WORK, Referent, end_unit,
                                  new_referent, new_unit, register, registered_unit, unit_of)
from _functools import partial   # from the C modules: the interpreter would have to load the others
from _weakref import ref


cdef extern from *:
    """
    #define XCTX_IDENTITY_HASH(o) (Py_TYPE(o)->tp_hash == PyBaseObject_Type.tp_hash)
    #define XCTX_WEAKREFS(o) (Py_TYPE(o)->tp_weaklistoffset != 0)
    """
    bint has_identity_hash "XCTX_IDENTITY_HASH"(object)
    bint has_weak_references "XCTX_WEAKREFS"(object)

connect()
globals()["Unit"] = Unit   # for Python code; an import of the name would hide the type from Cython


# --- the unit that runs here -------------------------------------------------------------------------------------------

cdef inline Unit current_unit(int index, const UnitKind *kind, object key, bint create):
    cdef xctx_now *now = xctx_here()
    if xctx_found_hit(now, index, xctx_tstate()):
        return <Unit>now.found[index].unit
    return find_unit(kind, key, create)


cdef Unit find_unit(const UnitKind *kind, object key, bint create):
    """The same, found the long way, and remembered."""
    cdef PyThreadState *tstate = xctx_tstate()
    cdef uint64_t ver = tstate.context_ver
    cdef Unit unit = kind.current(key, create)
    # If the search itself let other code run, what was found is right for the caller, but may be wrong for this count.
    if unit is not None and kind.cached and tstate.context_ver == ver:
        xctx_found_set(xctx_here(), kind.index, tstate, <PyObject*>unit)
    return unit


# --- processes ---------------------------------------------------------------------------------------------------------

cdef void *process_unit = NULL   # process: owned, with its Referent, and never released


cdef Unit current_process(object key, bint create):
    cdef void *known = xctx_load_ptr(&process_unit)
    cdef Referent referent
    if known != NULL and (<Unit>known).forks == xctx_fork_count():
        return <Unit>known
    if not create:
        return None
    referent = new_referent(NULL, &process_kind)
    Py_INCREF(referent)
    Py_INCREF(referent.unit)
    if not xctx_cas_ptr(&process_unit, known, <void*>referent.unit):
        # Another thread has made it meanwhile.
        Py_DECREF(referent.unit)
        Py_DECREF(referent)
    return <Unit>xctx_load_ptr(&process_unit)


cdef Unit process_of(object key, object thing):
    return current_process(key, False)


cdef UnitKind process_kind
process_kind.name = b"process"
process_kind.index = PROCESS
process_kind.cached = True
process_kind.shared_by_threads = True
process_kind.current = current_process
process_kind.of = process_of


# --- threads -----------------------------------------------------------------------------------------------------------

cdef Unit current_thread(object key, bint create):
    cdef PyThreadState *tstate = xctx_tstate()
    cdef xctx_now *now = xctx_here()
    cdef PyObject *kept
    cdef PyObject *found
    cdef Referent referent
    cdef Unit unit
    xctx_found_begin(now, tstate)
    if now.thread != NULL:
        return <Unit>now.thread
    kept = PyThreadState_GetDict()   # borrowed from the thread state, which drops it when the thread exits
    if kept == NULL:
        if not create:
            return None
        raise MemoryError()
    found = PyDict_GetItemWithError_(kept, <PyObject*>Referent)
    unit = None if found == NULL else (<Referent>found).unit
    if unit is None or unit.forks != xctx_fork_count() or unit.ended:
        if not create:
            return None
        referent = new_referent(<void*><uintptr_t>PyThread_get_thread_ident(), &thread_kind)
        # Making these may have run the garbage collector, and so any code, which may have come first.
        if now.thread != NULL:
            return <Unit>now.thread
        # A finaliser at the very end of an earlier thread, past the death of its dict, may have made a unit. The system has
        # given the ident of that thread to this one.
        unit = registered_unit(referent.unit.address, &thread_kind)
        if unit is not None:
            end_unit(unit)
        unit = referent.unit
        register(unit)   # to be found by the thread's ident
        (<dict><object>kept)[Referent] = referent
    now.thread = <PyObject*>unit
    xctx_found_drop(now)
    return unit


cdef Unit thread_of(object key, object thing):
    ident = getattr(thing, "ident", thing)
    if ident is None:   # a thread that has not been started
        return None
    if ident is not thing and not thing.is_alive():   # its ident may be another's by now
        return None
    if not isinstance(ident, int):
        raise TypeError(f"a thread or its ident was wanted, not {thing!r}")
    return registered_unit(<void*><uintptr_t>ident, &thread_kind)


cdef UnitKind thread_kind
thread_kind.name = b"thread"
thread_kind.index = THREAD
thread_kind.cached = True
thread_kind.current = current_thread
thread_kind.of = thread_of


# --- greenlets ---------------------------------------------------------------------------------------------------------

cdef Unit current_greenlet(object key, bint create):
    running = running_greenlet(False)
    if running is None:
        return current_thread(key, create)
    return unit_of(running, &greenlet_kind, create)


cdef Unit greenlet_of(object key, object thing):
    if thing is not None and thing is running_greenlet(True):   # perhaps a main greenlet, whose unit is the thread's
        return current_unit(GREENLET, &greenlet_kind, key, False)
    return registered_unit(<void*>thing, &greenlet_kind)


cdef int watch_greenlet(object thing) except -1:
    # gevent's Greenlet has this method. A plain greenlet does not; `sweep` ends its unit.
    if xctx_type_has(Py_TYPE(thing), <PyObject*>RAWLINK):
        thing.rawlink(greenlet_finished)
    return 0


def greenlet_finished(finished):
    """Called by gevent's loop, in the hub, when a Greenlet has finished."""
    cdef Unit unit = registered_unit(<void*>finished, &greenlet_kind)
    if unit is not None:
        end_unit(unit)


cdef str RAWLINK = "rawlink"

cdef UnitKind greenlet_kind
greenlet_kind.name = b"greenlet"
greenlet_kind.index = GREENLET
greenlet_kind.cached = True
greenlet_kind.current = current_greenlet
greenlet_kind.of = greenlet_of
greenlet_kind.watch = watch_greenlet
greenlet_kind.has_finished = greenlet_is_dead


# --- tasks -------------------------------------------------------------------------------------------------------------

cdef Unit current_task(object key, bint create):
    running = running_task()
    if running is None:
        return current_unit(GREENLET, &greenlet_kind, key, create)
    return unit_of(running, &task_kind, create)


cdef Unit task_of(object key, object thing):
    if thing is not None and thing is running_greenlet(True):
        return current_unit(GREENLET, &greenlet_kind, key, False)
    return registered_unit(<void*>thing, &task_kind)


cdef int watch_task(object thing) except -1:
    if xctx_type_has(Py_TYPE(thing), <PyObject*>ADD_DONE_CALLBACK):
        # In a context of its own: a copy of the current one would keep everything that is bound here alive.
        thing.add_done_callback(task_done, context=empty_context())
    return 0


def task_done(done):
    """Called by the event loop when a task is done."""
    cdef Unit unit = registered_unit(<void*>done, &task_kind)
    if unit is not None:
        end_unit(unit)


cdef object empty_context():
    from contextvars import Context
    return Context()


cdef str ADD_DONE_CALLBACK = "add_done_callback"

cdef UnitKind task_kind
task_kind.name = b"task"
task_kind.index = TASK
task_kind.cached = True
task_kind.current = current_task
task_kind.of = task_of
task_kind.watch = watch_task


# --- flows of control --------------------------------------------------------------------------------------------------

# Bindings lie in the PEP 567 context, which goes where the program carries it. They belong to the process, so a forked
# child sees none of them, and the read path compares one unit as it does under any other key.
cdef UnitKind flow_kind
flow_kind.name = b"flow"
flow_kind.index = FLOW
flow_kind.cached = True
flow_kind.shared_by_threads = True
flow_kind.in_context = True
flow_kind.current = current_process
flow_kind.of = context_of


# --- units of work -----------------------------------------------------------------------------------------------------

# Which unit of work this flow is in is bound in the context, as everything under the key `flow` is: see
# _stores/works.pyx, which sets here how it is found. It is looked for each time, because opening one changes no count.
cdef Unit work_of(object key, object thing):
    if isinstance(thing, Unit) and (<Unit>thing).unit_kind == &work_kind:
        return None if xctx_load_int(<int*>&(<Unit>thing).ended) or (<Unit>thing).forks != xctx_fork_count() else <Unit>thing
    return greenlet_of(key, thing)


cdef const UnitKind *found_by(Unit (*current)(object key, bint create)) noexcept:
    work_kind.current = current
    return &work_kind


cdef UnitKind work_kind
work_kind.name = b"work"
work_kind.index = WORK
work_kind.shared_by_threads = True
work_kind.current = current_greenlet
work_kind.of = work_of


# --- contexts ----------------------------------------------------------------------------------------------------------

cdef Unit current_context(object key, bint create):
    cdef PyThreadState *tstate = xctx_tstate()
    if tstate.context == NULL:
        if not create:
            return None
        xctx_copy_context()   # gives the thread a context where it had none
    return unit_of(<object>tstate.context, &context_kind, create)


cdef Unit context_of(object key, object thing):
    return registered_unit(<void*>thing, &context_kind)


cdef UnitKind context_kind
context_kind.name = b"context"
context_kind.index = CONTEXT
context_kind.cached = True
context_kind.shared_by_threads = True
context_kind.in_context = True
context_kind.inherits = True
context_kind.current = current_context
context_kind.of = context_of


# --- values of callables -----------------------------------------------------------------------------------------------

cdef Unit current_value(object key, bint create):
    return (<Key>key).unit_of_value((<Key>key).func(), create)


cdef Unit value_of(object key, object thing):
    return (<Key>key).unit_of_value(thing, False)


cdef UnitKind value_kind
value_kind.name = b"value"
value_kind.index = VALUE
value_kind.shared_by_threads = True
value_kind.current = current_value
value_kind.of = value_of


# --- no kind at all ----------------------------------------------------------------------------------------------------

cdef Unit current_unmade(object key, bint create):
    raise RuntimeError("this key was not initialised: a subclass calls super().__init__()")


cdef Unit unmade_of(object key, object thing):
    return current_unmade(key, False)


# What a key has before __init__.
cdef UnitKind unmade_kind
unmade_kind.name = b"unmade"
unmade_kind.index = VALUE
unmade_kind.shared_by_threads = True
unmade_kind.current = current_unmade
unmade_kind.of = unmade_of


# --- keys --------------------------------------------------------------------------------------------------------------

@cython.no_gc_clear
cdef class Key:
    """Key(func, name=None)\n--\n\nSays which kind of unit a store keeps apart, and finds the unit of that kind that is current.

    :mod:`xctx.keys` has the keys for threads, greenlets and the like. ``Key(func, name=None)`` makes one from a callable:
    each value that it returns is a unit. If a value compares by identity and can be referred to weakly, its unit ends when
    the value dies; otherwise the unit lives until :meth:`forget` is called, or the key dies.

    Args:
        func: a callable without arguments that returns a hashable. It is called at each use of a store, in the unit that
            uses the store, and must not use a store with this key.
        name: for people to read. Default: that of `func`.

    Raises:
        TypeError: `func` is not callable, or `name` is not a str.

    Thread-safety: all methods may be called from any thread, and so `func` is called in any thread.
    """

    def __cinit__(self):
        set_kind(self, &unmade_kind)

    def __init__(self, func, name=None):
        if self.name is not None:
            raise TypeError(f"{self!r} is made already: a key never changes")
        if not callable(func):
            raise TypeError(f"a key is made from a callable that returns a hashable, not {func!r}")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"a key's name is a str, not {name!r}")
        self.func = func
        set_kind(self, &value_kind)
        self.referents = {}
        self.units = {}
        self.forks = xctx_fork_count()
        self.name = name if name is not None else getattr(func, "__name__", type(func).__name__)

    cdef Unit find(self, bint create):
        """The current unit; where nothing has been kept for it yet, None unless `create`."""
        return current_unit(self.index, self.kind, self, create)

    cdef Unit unit_of_value(self, object value, bint create):
        cdef Referent referent
        cdef Unit unit
        cdef object address
        if self.forks != xctx_fork_count():
            self.begin_anew()
        # Where equality is identity the unit ends with the value; otherwise an equal one may come at any time.
        if value_is_its_identity(value):
            address = <uintptr_t><void*>value
            unit = xctx_shared_get(self.units, address)
            if unit is None and create:
                with cython.critical_section(self):
                    if self.on_value_death is None:
                        self.on_value_death = partial(value_died, ref(self))
                unit = new_unit(value, <void*>value, &value_kind, self.on_value_death)
                unit = xctx_shared_setdefault(self.units, address, unit)
            return unit
        try:
            referent = xctx_shared_get(self.referents, value)
        except TypeError:
            raise TypeError(f"the key {self.name!r} gave {value!r}: a key's callable returns a hashable") from None
        if referent is None and create:
            referent = new_referent(NULL, &value_kind)
            referent = xctx_shared_setdefault(self.referents, value, referent)
        return None if referent is None else referent.unit

    cdef int begin_anew(self) except -1:
        """In a forked child. The old referents may die, because a parent's units are not ended here."""
        cdef object referents, units   # dropped at the end, when all is done  # no-cython-lint
        with cython.critical_section(self):
            if self.forks != xctx_fork_count():   # otherwise another thread was faster
                referents, units = self.referents, self.units  # no-cython-lint
                self.referents = {}
                self.units = {}
                self.forks = xctx_fork_count()
        return 0

    cdef list units_of_values(self):
        """Those that a callable's key has now."""
        cdef Referent referent
        if self.forks != xctx_fork_count():
            return []
        return [*list(self.units.values()), *[referent.unit for referent in list(self.referents.values())]]

    cpdef object current(self):
        """The unit that is current under this key; for ``flow``, that of the current context.

        Returns:
            The :class:`Unit`; made now where this is the first use of it.
        """
        # What tells one flow from another is its context. The process's unit, which owns its bindings, says nothing.
        return current_unit(CONTEXT, &context_kind, self, True) if self.index == FLOW else self.find(True)

    def of(self, thing):
        """The unit of something that need not be running, if anything has been kept for it.

        Args:
            thing: a greenlet, an asyncio or trio task, a :class:`contextvars.Context`, a :class:`threading.Thread` or its
                ident, a unit of work's :class:`Unit`, or (for a callable's key) a value, according to the key.

        Returns:
            The :class:`Unit`, which is alive; or None.

        Raises:
            TypeError: under ``thread``, `thing` is neither a thread nor an ident; under a callable's key, it is not hashable.
        """
        return self.kind.of(self, thing)

    def forget(self, value):
        """Ends the unit of a value of a callable's key, so what stores keep for it is released.

        Args:
            value: a value that the callable has returned. Others are ignored.

        Raises:
            TypeError: this is one of the keys in :mod:`xctx.keys`, whose units end by themselves.
        """
        if self.func is None:
            raise TypeError(f"only values of a callable's key can be forgotten, and {self!r} has a unit of another kind")
        cdef Unit unit = self.unit_of_value(value, False)
        if unit is not None:
            self.units.pop(<uintptr_t>unit.address, None)
            if not value_is_its_identity(value):
                self.referents.pop(value, None)
            end_unit(unit)

    def __call__(self):
        """The same as :meth:`current`, so that a key can be passed as a scope function."""
        return self.current()

    def __repr__(self):
        return f"xctx.keys.{self.name}" if self.func is None else f"<xctx.keys.Key {self.name!r}>"

    def __reduce__(self):
        if self.func is not None:
            raise TypeError(f"cannot pickle {self!r}: only the keys of the ladder can be found again elsewhere")
        return ladder_key, (self.name,)


cdef void set_kind(Key key, const UnitKind *kind) noexcept:
    key.kind = kind
    key.index = kind.index
    key.cached = kind.cached
    key.shared_by_threads = kind.shared_by_threads
    key.in_context = kind.in_context
    key.inherits = kind.inherits


def value_died(key_ref, Unit unit not None):
    """The callback of the weak references to a key's values. It does not hold the key, which holds the units that hold it."""
    cdef Key key = key_ref()
    if unit.forks == xctx_fork_count():
        if key is not None:
            key.units.pop(<uintptr_t>unit.address, None)
        end_unit(unit)


cdef bint value_is_its_identity(object value) noexcept:
    return has_identity_hash(value) and has_weak_references(value)


cdef Key as_key(object key):
    """`key` itself, or a key made of it where it is a callable."""
    if isinstance(key, Key):
        return <Key>key
    if callable(key):
        return Key(key)
    raise TypeError(f"a key is one of xctx.keys or a callable that returns a hashable, not {key!r}")


# --- the ladder --------------------------------------------------------------------------------------------------------

cdef Key key_of_kind(const UnitKind *kind):
    cdef Key key = Key.__new__(Key)
    key.name = kind.name.decode()
    set_kind(key, kind)
    return key


process = key_of_kind(&process_kind)
thread = key_of_kind(&thread_kind)
greenlet = key_of_kind(&greenlet_kind)
task = key_of_kind(&task_kind)
flow = key_of_kind(&flow_kind)
work = key_of_kind(&work_kind)
context = key_of_kind(&context_kind)


def ladder_key(name):
    """The key of the ladder with that name: how a key is unpickled."""
    for key in (process, thread, greenlet, task, flow, work, context):
        if key.name == name:
            return key
    raise ValueError(f"no key {name!r}: the ladder is process, thread, greenlet, task, flow, work, context")
