# cython: language_level=3, freethreading_compatible=True, binding=True, embedsignature=True, embedsignature.format=python
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""local: mutable attributes, kept apart for each execution unit.

What one store keeps for one unit is a *holding*: a few names and values side by side, or a dict once somebody asked for
``__dict__`` or there are many. A store has its holdings in a list, and a unit has the same holdings in a table (its *shelf*)
by the store's serial number:

    store A ---- holding(A,U) ---- holding(A,V)          The store owns the holdings: the garbage collector sees the
    store B ---- holding(B,U)                            values as the store's, so a value that refers to its own store
                    |                  |                 is collected with it. A unit only finds them. Whoever dies
                 unit U             unit V               first, store or unit, takes its holdings out of the other's
                                                         hands under the lock, and lets go of the values afterwards.

A unit's holdings are touched only by the code that runs in it, so reading takes no lock. Two things reach in from outside:
the death of a store (nobody can be reading through it) and :mod:`xctx.debug`, for whose sake writers lock the holding. The
units that several threads share (a process, a callable's value) hold dicts, which do their own locking.

Under the `context` key there is no unit: a context variable holds an immutable *edition* of the names and values, a new one
at each change, which copied contexts share until they make their own. Editions too are the store's for the collector.
"""
cimport cython
from cpython.object cimport Py_TYPE, PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF
from libc.string cimport memset
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from xctx._core cimport (CONTEXT, PROCESS, VALUE, Key, PyThreadState, Unit, as_key, fork_generation, set_shelf_release,
                         xctx_lock, xctx_mutex, xctx_tstate, xctx_type_put,
                         xctx_unlock)
# Underscored for a cheap start: each interpreter has these at hand, `collections` and `weakref` it would have to load.
from _collections_abc import MutableMapping
from _weakref import ref
from contextvars import ContextVar

from xctx import _core


from xctx._runtime.runtime cimport (connect, xctx_cache_drop as slot_drop, xctx_cache_empty as slots_empty,
                                    xctx_cache_entry as xctx_slot, xctx_cache_entry_of as slot_of,
                                    xctx_cache_hit as slot_hit, xctx_cache_set as slot_set,
                                    xctx_count_contexts as count_contexts, xctx_next_serial, XCTX_FORK_STORES,
                                    xctx_at_fork)

connect()

ctypedef void (*destructor)(PyObject *) noexcept

cdef extern from "xctx/_runtime/compat.h":
    object var_set "xctx_var_set"(object, object)
    int var_reset "xctx_var_reset"(object, object) except -1

cdef extern from "xctx/_stores/getattro.h":
    PyObject *missing "xctx_missing"
    const char *type_name "xctx_type_name"(object)
    object plain_name "xctx_plain_name"(object)
    int install_getattro "xctx_install_getattro"(PyObject *, object, const char *) except -1

cdef extern from *:
    """
    /* As an object to Cython, which takes over the reference. */
    #define XCTX_TAKEN(p) (p)
    #define XCTX_IS_EDITION(o, type) Py_IS_TYPE(o, (PyTypeObject *)(type))
    #define XCTX_INTERNED(name) (PyUnicode_CheckExact(name) && PyUnicode_CHECK_INTERNED(name))
    #define XCTX_RESERVED(name) (PyUnicode_Check(name) && PyUnicode_GET_LENGTH(name) && PyUnicode_READ_CHAR(name, 0) == '_')

    static PyObject *xctx_interned(PyObject *name) {
        name = xctx_plain_name(name);
        if (name != NULL) PyUnicode_InternInPlace(&name);
        return name;
    }

    /* Stores in stores in stores: as deep as it likes, on a stack that is not. What is too deep waits for the rest. */
    static void (*xctx_store_dealloc_at_last)(PyObject *);
    static void xctx_store_dealloc(PyObject *store) {
        PyObject_GC_UnTrack(store);
        Py_TRASHCAN_BEGIN(store, xctx_store_dealloc)
        xctx_store_dealloc_at_last(store);
        Py_TRASHCAN_END
    }

    /* Both give a new reference, or NULL with no exception. */
    #if PY_VERSION_HEX >= 0x030D0000
    #  define xctx_type_lookup _PyType_LookupRef
    #  define xctx_dict_get(dict, key, found) PyDict_GetItemRef(dict, key, found)
    #else
    static inline PyObject *xctx_type_lookup(PyTypeObject *type, PyObject *name) {
        return Py_XNewRef(_PyType_Lookup(type, name));
    }
    static inline int xctx_dict_get(PyObject *dict, PyObject *key, PyObject **found) {
        *found = Py_XNewRef(PyDict_GetItemWithError(dict, key));
        return *found ? 1 : PyErr_Occurred() ? -1 : 0;
    }
    #endif

    #ifdef Py_GIL_DISABLED
    #  define XCTX_NO_GIL 1
    #else
    #  define XCTX_NO_GIL 0
    #endif
    """
    object taken "XCTX_TAKEN"(PyObject *)
    bint is_edition "XCTX_IS_EDITION"(PyObject *, PyObject *)
    bint NO_GIL "XCTX_NO_GIL"
    bint is_interned "XCTX_INTERNED"(PyObject *)
    bint is_reserved "XCTX_RESERVED"(PyObject *)
    object interned "xctx_interned"(object)
    destructor store_dealloc "xctx_store_dealloc"
    destructor store_dealloc_at_last "xctx_store_dealloc_at_last"
    PyObject *type_lookup "xctx_type_lookup"(PyTypeObject *, PyObject *)
    int dict_get "xctx_dict_get"(PyObject *, PyObject *, PyObject **) except -1

cdef extern from "Python.h":
    ctypedef int (*visitproc)(PyObject *, void *) noexcept
    ctypedef int (*traverseproc)(PyObject *, visitproc, void *) noexcept
    ctypedef int (*inquiry)(PyObject *) noexcept
    ctypedef object (*descrgetfunc)(object, object, object)
    ctypedef int (*descrsetfunc)(object, object, PyObject *) except -1
    ctypedef int (*initproc)(object, object, object) except -1
    ctypedef struct TypeObject "PyTypeObject":
        traverseproc tp_traverse
        inquiry tp_clear
        destructor tp_dealloc
        descrgetfunc tp_descr_get
        descrsetfunc tp_descr_set
        initproc tp_init
    initproc object_init "PyBaseObject_Type.tp_init"
    PyObject *PyErr_Format(object, const char *, ...) except NULL
    Py_ssize_t Py_REFCNT(PyObject *)
    int PyContextVar_Get(object, PyObject *, PyObject **) except -1
    int get_variable "PyContextVar_Get"(PyObject *, PyObject *, PyObject **) except -1
    PyObject *PyTuple_New_ "PyTuple_New"(Py_ssize_t) except NULL
    PyObject *PyTuple_GET_ITEM_ "PyTuple_GET_ITEM"(PyObject *, Py_ssize_t)
    void PyTuple_SET_ITEM_ "PyTuple_SET_ITEM"(PyObject *, Py_ssize_t, PyObject *)
    Py_ssize_t PyTuple_GET_SIZE_ "PyTuple_GET_SIZE"(PyObject *)
    bint PyTuple_CheckExact_ "PyTuple_CheckExact"(PyObject *)
    int PyObject_RichCompareBool(object, object, int) except -1
    void *PyMem_RawMalloc(size_t) nogil
    void *PyMem_RawCalloc(size_t, size_t) nogil
    void PyMem_RawFree(void *) nogil
    void Py_XINCREF_ "Py_XINCREF"(PyObject *)
    void Py_INCREF_ "Py_INCREF"(PyObject *)
    void Py_DECREF_ "Py_DECREF"(PyObject *)
    void Py_XDECREF_ "Py_XDECREF"(PyObject *)


include "holdings.pxi"
include "editions.pxi"


# --- local -----------------------------------------------------------------------------------------------------------

cdef class local:
    """Attributes of one execution unit: each has its own, and they end with it. What a unit is, `key` says.

    In place of ``threading.local`` (key ``thread``, or the default), ``gevent.local.local`` (the default), a fork-safe local
    (any but ``context``), and werkzeug's ``Local`` (key ``context``). As with those, a subclass's ``__init__`` is called again,
    with the arguments of the constructor, in each unit that touches the object; its ``__slots__`` are shared by all units.

    Args:
        key: one of :mod:`xctx.keys`, or a callable that returns a hashable. Default: the class's key, which is
            :data:`xctx.keys.greenlet` unless ``class L(xctx.local, key=...)`` says otherwise. Where a subclass has an
            ``__init__``, all arguments are its own.

    Raises:
        TypeError: arguments are given and there is no ``__init__`` to take them, or `key` is no key.

    Thread-safety: all operations, from any thread. Under the ``process`` key and those of callables, several threads may share
        one unit's attributes, each operation on which is atomic.
    Lifetime: a unit's values are released when it ends, all when the store dies. In a forked child every unit starts empty,
        except under the ``context`` key. Without the GIL, a store that several threads use ten thousand times lives from then on
        as long as a function or module does there: on 3.13t for ever.
    """
    # None of these changes after __cinit__, but `args` and `kwargs` for the garbage collector.
    cdef uint64_t serial
    cdef Key key
    cdef object var          # the context variable, under the `context` key
    cdef bint initialises    # there is an __init__ to call in each unit
    cdef How how
    cdef object args
    cdef object kwargs
    cdef object self_ref     # where there is no GIL: how xctx.debug gets hold of a store that may be dying
    cdef object __weakref__
    # Guarded by the lock.
    cdef uint32_t generation     # of forks; the holdings of another one are a parent's
    cdef Holding *holdings
    cdef PyObject *editions

    def __cinit__(self, *args, **kwargs):
        key = None
        self.initialises = (<TypeObject*>Py_TYPE(self)).tp_init != object_init
        if not self.initialises:
            key = kwargs.pop("key", None)
            if args or kwargs:
                raise TypeError(f"{type(self).__name__}() takes no arguments but `key`: there is no __init__ for "
                                f"{args + tuple(kwargs) !r}")
        self.key = as_key(type(self).__xctx_key__ if key is None else key)
        if self.key.rung == CONTEXT:
            self.how = EDITIONS
            self.var = ContextVar("xctx.local")
        elif self.key.rung == PROCESS or self.key.rung == VALUE:
            self.how = SHARED
        self.serial = xctx_next_serial()
        self.generation = fork_generation()
        if NO_GIL:
            self.self_ref = ref(self)
        if self.initialises:
            self.args = args
            self.kwargs = kwargs
            # The constructor calls __init__ for the unit that it runs in.
            if self.how == EDITIONS:
                publish(self, ())
            else:
                new_holding_here(self, self.key.find(True))

    def __getattribute__(self, name):
        cdef PyObject *found
        cdef descrgetfunc get = NULL
        attribute = None
        if Py_TYPE(self) != <PyTypeObject*>local or is_reserved(<PyObject*>name):
            if is_reserved(<PyObject*>name) and name == "__dict__":
                return dict_here(self)
            found = type_lookup(Py_TYPE(self), <PyObject*>name)
            if found != NULL:
                attribute = taken(found)   # held, whatever the class does meanwhile
                get = (<TypeObject*>Py_TYPE(attribute)).tp_descr_get
                if get != NULL and (<TypeObject*>Py_TYPE(attribute)).tp_descr_set != NULL:
                    return get(attribute, self, type(self))
            found = value_here(self, <PyObject*>name)
            if found == NULL and attribute is not None:
                return attribute if get == NULL else get(attribute, self, type(self))
        else:
            found = value_here(self, <PyObject*>name)
        return <object>missing if found == NULL else taken(found)

    def __setattr__(self, name, value):
        if set_by_class(self, name, <PyObject*>value):
            return
        if self.how == OWN:
            write(holding_here(self, True), name, value)
        elif self.how == SHARED:
            shared_here(self, True)[plain_name(name)] = value
        else:
            set_in_edition(self, name, value)

    def __delattr__(self, name):
        cdef Holding *holding
        cdef bint found = False
        if set_by_class(self, name, NULL):
            return
        name = plain_name(name)
        if self.how == EDITIONS:
            names = names_here(self)
            found = name in names
            if found:
                del names[name]
                publish(self, from_dict(names))
        elif self.how == SHARED:
            names = shared_here(self, False)
            found = names is not None and names.pop(name, <object>missing) is not <object>missing
        else:
            holding = holding_here(self, False)
            found = holding != NULL and erase(holding, name)
        if not found:
            PyErr_Format(AttributeError, "'%.200s' object has no attribute '%S'", type_name(self), <PyObject*>name)

    @property
    def __dict__(self):
        """The current unit's names and values. Changing it changes them."""
        return dict_here(self)

    def __dir__(self):
        return sorted({*type.__dir__(type(self)), *dir(type(self)), *names_here(self)})

    def __copy__(self):
        # As in gevent: another store, in which the current unit has the same values.
        if self.initialises:
            other = type(self)(*self.args, **self.kwargs)
        else:
            other = type(self)(key=self.key)
        other.__dict__.update(names_here(self))
        return other

    def __reduce_ex__(self, protocol):
        raise TypeError(f"cannot pickle {type(self).__name__!r} object: its values belong to the unit that runs here")

    def __release_local__(self):
        """Deletes the current unit's attributes: what werkzeug's ``release_local`` calls."""
        if self.how == EDITIONS:
            publish(self, ())
        else:
            names = dict_here(self)
            names.clear()

    def __call__(self, name, *, unbound_message=None):
        """A :class:`LocalProxy` of the attribute of that name, as werkzeug's Local gives it."""
        return make_proxy(self, name, unbound_message=unbound_message)

    def __iter__(self):
        """Pairs of name and value, as werkzeug's Local gives them."""
        return iter(list(names_here(self).items()))


install_getattro(<PyObject*>local, object(), b"'%.200s' object has no attribute '%S'")

cdef object make_proxy = None


def set_proxy_maker(maker):
    """Says what a store gives when it is called: told by the room of proxies, which stands above this one."""
    global make_proxy
    make_proxy = maker


cdef Key default_key = _core.greenlet


def init_subclass(cls, key=None, **kwargs):
    """Takes the key of a class."""
    super(local, cls).__init_subclass__(**kwargs)
    if key is not None:
        cls.__xctx_key__ = as_key(key)


xctx_type_put(<PyObject*>local, "__init_subclass__", classmethod(init_subclass))
xctx_type_put(<PyObject*>local, "__xctx_key__", default_key)
xctx_type_put(<PyObject*>local, "__xctx_store__", True)   # a proxy looks names up in it, though it can be called


cdef inline bint set_by_class(local self, object name, PyObject *value) except -1:
    """Whether the class says how the name is set: by a property, a slot or the like. Deletes where `value` is NULL."""
    if Py_TYPE(self) == <PyTypeObject*>local and not is_reserved(<PyObject*>name):
        return False
    return set_by_descriptor(self, name, value)


cdef bint set_by_descriptor(local self, object name, PyObject *value) except -1:
    cdef PyObject *found
    cdef descrsetfunc put
    if is_reserved(<PyObject*>name) and name == "__dict__":
        raise AttributeError(f"{type(self).__name__!r} object attribute '__dict__' is read-only")
    found = type_lookup(Py_TYPE(self), <PyObject*>name)
    if found == NULL:
        return False
    attribute = taken(found)
    put = (<TypeObject*>Py_TYPE(attribute)).tp_descr_set
    if put == NULL:
        return False
    put(attribute, self, value)
    return True


cdef int initialise(local store) except -1:
    return (<TypeObject*>Py_TYPE(store)).tp_init(store, store.args, store.kwargs)


cdef Holding *new_holding_here(local store, Unit unit) except NULL:
    """A holding for a unit that has none."""
    if store.how == SHARED:
        names = {}
        return new_holding(store, unit, <PyObject*>names)
    return new_holding(store, unit, NULL)


cdef Holding *find_holding(local store, bint create) except? NULL:
    """What the store keeps for the current unit, found the long way; NULL where that is nothing, unless `create`."""
    cdef PyThreadState *tstate = xctx_tstate()
    cdef Unit unit = store.key.find(create or store.initialises)
    cdef Holding *holding = NULL
    cdef Place *place
    if unit is not None:
        place = place_of(<Shelf*>unit.shelf, store.serial)
        if place != NULL:
            holding = place.holding
        elif create or store.initialises:
            holding = new_holding(store, unit, NULL)
            if store.initialises:
                initialise_for(store, unit)
                # That ran any code: the unit may have been left behind in the parent of a fork, or have ended. Then anew.
                place = place_of(<Shelf*>unit.shelf, store.serial)
                if unit.generation != fork_generation() or place == NULL or place.holding != holding:
                    return find_holding(store, create)
    # Borrowed: the unit keeps it until it ends, which it does not while it runs.
    slot_set(slot_of(store.serial), store.serial, tstate, <void*>holding)
    return holding


cdef int initialise_for(local store, Unit unit) except -1:
    try:
        initialise(store)
    except BaseException:
        # Nothing of it is kept, and the next touch begins anew.
        abandon(store, unit)
        raise
    return 0


cdef int abandon(local store, Unit unit) except -1:
    cdef Holding *holding = NULL
    cdef Place *place
    if unit.generation != fork_generation():
        return 0   # a parent's
    xctx_lock(&lock)
    place = place_of(<Shelf*>unit.shelf, store.serial)
    if place != NULL:
        holding = place.holding
        unlist(holding)
        take_down(holding)
        holding.next = NULL
    xctx_unlock(&lock)
    slot_drop(slot_of(store.serial), store.serial)
    let_go(holding)
    return 0


cdef inline Holding *holding_here(local store, bint create) except? NULL:
    """What the store keeps for the current unit, of those that threads do not share."""
    cdef PyThreadState *tstate = xctx_tstate()
    cdef xctx_slot *slot = slot_of(store.serial)
    if slot_hit(slot, store.serial, tstate, <PyObject*>store) and (slot.what != NULL or not create):
        return <Holding*>slot.what
    return find_holding(store, create)


cdef dict dict_of(local store, Unit unit):
    """What the store keeps for a unit that threads share, or None. Held by the caller: another thread may end the unit."""
    cdef Place *place
    cdef dict names = None
    xctx_lock(&lock)
    place = place_of(<Shelf*>unit.shelf, store.serial)
    if place != NULL:
        names = <dict>place.holding.dict
    xctx_unlock(&lock)
    return names


cdef dict shared_here(local store, bint create):
    """The same for the current unit; None where that is nothing, unless `create`."""
    # The key is asked once: a callable may give another value the next time.
    cdef Unit unit = store.key.find(create or store.initialises)
    cdef dict names = None
    cdef dict mine
    if unit is not None:
        names = dict_of(store, unit)
        if names is None and (create or store.initialises):
            mine = {}
            new_holding(store, unit, <PyObject*>mine)
            names = dict_of(store, unit)
            if names is None:
                names = mine   # the unit has been ended by another thread
            if names is mine and store.initialises:
                initialise_for(store, unit)
    return names


cdef PyObject *content_here(local store) except? NULL:
    """The content of the current edition; borrowed from it, and it from the context."""
    cdef PyThreadState *tstate = xctx_tstate()
    cdef xctx_slot *slot = slot_of(store.serial)
    cdef Edition found
    cdef PyObject *value = NULL
    # At the end of a thread its context is taken down with no change of version, and finalisers may make another.
    if slot_hit(slot, store.serial, tstate, <PyObject*>store) and slot.context == tstate.context:
        # The variable is asked each time: there is code that copies whole contexts by setting each.
        get_variable(<PyObject*>store.var, NULL, &value)
        if value != NULL and is_edition(value, <PyObject*>Edition):
            Py_DECREF_(value)   # the call's reference; the context has its own
            return (<Edition>value).content
        Py_XDECREF_(value)
    found = edition_here(store)
    return NULL if found is None else found.content


cdef PyObject *value_here(local store, PyObject *name) except? NULL:
    """A new reference to the current unit's value of the name, or NULL with no exception."""
    cdef Holding *holding
    cdef PyObject *found = NULL
    if store.how == OWN:
        holding = holding_here(store, False)
        return NULL if holding == NULL else read(holding, name)
    if store.how == EDITIONS:
        return in_edition(content_here(store), name)
    names = shared_here(store, False)
    if names is not None:
        dict_get(<PyObject*>names, name, &found)
    return found


cdef dict names_here(local store):
    """A new dict of the current unit's names and values."""
    cdef Holding *holding
    if store.how == EDITIONS:
        return content_dict(content_here(store))
    if store.how == SHARED:
        return dict(shared_here(store, False) or ())
    holding = holding_here(store, False)
    return {} if holding == NULL else contents(holding)


cdef object dict_here(local store):
    if store.how == EDITIONS:
        return EditionDict(store)
    if store.how == SHARED:
        return shared_here(store, True)
    return as_dict(holding_here(store, True))


# --- what the collector is told, and how a store dies ------------------------------------------------------------------

cdef traverseproc cython_traverse = (<TypeObject*><PyObject*>local).tp_traverse
cdef inquiry cython_clear = (<TypeObject*><PyObject*>local).tp_clear
cdef destructor cython_dealloc = (<TypeObject*><PyObject*>local).tp_dealloc


cdef int store_traverse(PyObject *store, visitproc visit, void *arg) noexcept:
    # No count may be changed here. The lock is not taken: the collector runs between lines of this room, not within.
    cdef int result = cython_traverse(store, visit, arg)
    cdef Holding *holding = NULL
    cdef PyObject *edition = (<local>store).editions
    cdef int i
    if (<local>store).generation == fork_generation():
        holding = (<local>store).holdings
    while holding != NULL and not result:
        if holding.dict != NULL:
            result = visit(holding.dict, arg)
        for i in range(holding.count):
            if not result:
                result = visit(holding.items[i].value, arg)
        holding = holding.next
    while edition != NULL and not result:
        if (<Edition>edition).content != NULL:
            result = visit((<Edition>edition).content, arg)
        edition = (<Edition>edition).next
    return result


cdef int store_clear(PyObject *store) noexcept:
    # `key` and `var` stay: they lead nowhere, and the store may yet be used by what is cleared with it.
    cdef Holding *chain = forsake(<local>store)
    cdef PyObject **editions = forsake_editions(<local>store)
    (<local>store).args = None
    (<local>store).kwargs = None
    let_go(chain)
    empty_editions(editions)
    return 0


cdef void dealloc_store(PyObject *store) noexcept:
    # First out of everybody's reach, with no Python code run; the values are released when the store is gone, so that no
    # finaliser can meet it half dead.
    cdef Holding *chain = forsake(<local>store)
    cdef PyObject **editions = forsake_editions(<local>store)
    cython_dealloc(store)
    let_go(chain)
    empty_editions(editions)


(<TypeObject*><PyObject*>local).tp_traverse = store_traverse
(<TypeObject*><PyObject*>local).tp_clear = store_clear
store_dealloc_at_last = dealloc_store
(<TypeObject*><PyObject*>local).tp_dealloc = store_dealloc

set_shelf_release(release_shelf)


# --- fork ------------------------------------------------------------------------------------------------------------

cdef void forked() noexcept nogil:
    # In the child, with no other thread; another one may have held the lock.
    memset(&lock, 0, sizeof(lock))


forked()
xctx_at_fork(XCTX_FORK_STORES, NULL, NULL, forked)


# --- for those who look from outside -----------------------------------------------------------------------------------

cdef object living(PyObject *store):
    """The store, held, unless it is dying. With the lock held."""
    if NO_GIL:
        return (<local>store).self_ref()
    return <object>store if Py_REFCNT(store) > 0 else None


cdef bint is_alive(Unit unit) noexcept:
    return not unit.ended and unit.generation == fork_generation()


# In each of these, nothing is allocated for the collector under the lock: collecting may run any code, which may take away what
# is being looked at.

cdef dict kept(local store, Unit unit):
    """A new dict of what the store keeps for the unit, or None."""
    cdef dict names = {}
    cdef dict whole = None
    cdef Place *place
    cdef int i
    xctx_lock(&lock)
    place = place_of(<Shelf*>unit.shelf, store.serial) if is_alive(unit) else NULL
    if place != NULL:
        xctx_lock(&place.holding.lock)
        if place.holding.dict != NULL:
            whole = <dict>place.holding.dict
        for i in range(place.holding.count):
            names[<object>place.holding.items[i].name] = <object>place.holding.items[i].value
        xctx_unlock(&place.holding.lock)
    xctx_unlock(&lock)
    return None if place == NULL else names if whole is None else whole.copy()


def stores_of(Unit unit not None):
    """What each living store keeps for the unit: a list of pairs (store, dict)."""
    cdef Shelf *shelf
    cdef uint32_t i, size = 0
    cdef list stores
    while True:
        stores = [None] * size
        xctx_lock(&lock)
        shelf = <Shelf*>unit.shelf if is_alive(unit) else NULL
        if shelf == NULL or shelf.mask < size:
            if shelf != NULL:
                for i in range(shelf.mask + 1):
                    if shelf.places[i].holding != NULL:
                        stores[i] = living(shelf.places[i].holding.store)
            xctx_unlock(&lock)
            break
        size = shelf.mask + 1
        xctx_unlock(&lock)
    pairs = [(store, kept(<local>store, unit)) for store in stores if store is not None]
    return [pair for pair in pairs if pair[1] is not None]


def units_of(local store not None):
    """The units for which the store keeps anything: a list of pairs (unit, dict)."""
    cdef Holding *holding
    cdef Py_ssize_t count, size = 0
    cdef list units
    while store.how != SHARED or store.key.rung != VALUE:
        units = [None] * size
        count = 0
        xctx_lock(&lock)
        holding = store.holdings if store.generation == fork_generation() else NULL
        while holding != NULL:
            if count < size:
                units[count] = <Unit>holding.unit
            count += 1
            holding = holding.next
        xctx_unlock(&lock)
        if count <= size:
            break
        size = count
    else:
        # Such a unit may be dying at this moment, with its key's values, and then not be held any more.
        units = store.key.units_of_values()
    pairs = [(unit, kept(store, <Unit>unit)) for unit in units if unit is not None]
    return [pair for pair in pairs if pair[1] is not None]
