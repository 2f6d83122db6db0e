# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""local: mutable attributes, kept apart for each execution unit.

What a store keeps for a unit are its unit values (values.pyx). Under the keys `flow` and `context` it keeps context values
(context_values.pyx) instead, in the PEP 567 context.
"""
from cpython.object cimport Py_TYPE, PyObject, PyTypeObject

from xctx._runtime.python cimport (FREE_THREADED, PyContextVar_Get_, PyErr_Format, PyMem_RawCalloc, PyThreadState,
                                   PyTuple_CheckExact_, PyTuple_GET_ITEM_, PyTuple_GET_SIZE_, Py_DECREF_, Py_IS_TYPE_,
                                   Py_XDECREF_, TypeObject, descrgetfunc, descrsetfunc, destructor, inquiry, object_init,
                                   traverseproc, visitproc, xctx_find_in_type, xctx_is_mutable_type, xctx_load_int,
                                   xctx_publish, xctx_store_int, xctx_taken, xctx_tstate, xctx_type_put,
                                   xctx_type_version, xctx_var_reset)
from xctx._runtime.runtime cimport (connect, xctx_cache_entry, xctx_cache_entry_of, xctx_cache_hit, xctx_cache_knows,
                                    xctx_cache_note, xctx_cache_set, xctx_count_contexts, xctx_fork_count, xctx_next_serial)
from xctx._runtime.units cimport WORK, is_over
from xctx._core cimport Key, Unit, as_key
from xctx._stores.bindings cimport Binding
from xctx._stores.seen cimport binding_here
from xctx._stores.context_values cimport (ContextValues, as_content, as_new_dict, context_values, current_values,
                                          detach_list, publish, read_content, release_list, traverse_list, with_name)
from xctx._stores.names cimport is_interned, is_reserved, plain_name
from xctx._stores.values cimport (UnitValues, as_dict, contents, detach_all, discard_values, erase, new_values, read,
                                  read_shared, release_chain, release_unit, replace_shared, share_values, shared_content,
                                  traverse, values_of, write)
from xctx._stores.works cimport UnitOfWork
from xctx._stores.xlocal cimport xlocal
from xctx._stores.context_dict import ContextDict
from xctx._stores.fields import Field
# Underscored for a cheap start: each interpreter has these loaded, but not `functools` and `weakref`.
from _functools import partial
from _weakref import ref
from contextvars import ContextVar

from xctx import _core
from xctx._stores import works


cdef extern from "xctx/_stores/getattro.h":
    PyObject *missing "xctx_missing"
    const char *type_name "xctx_type_name"(object)
    int install_getattro "xctx_install_getattro"(PyObject *, object, const char *, object (*why)(object, object)) except -1

cdef extern from *:
    """
    /* Stores may be nested to any depth, but the stack is limited. The trashcan keeps those that are too deep until the
     * others are freed. */
    static void (*xctx_dealloc_shallow_store)(PyObject *);   /* of the process, like the type; set once */
    static void xctx_dealloc_store(PyObject *store) {
        PyObject_GC_UnTrack(store);
        XCTX_TRASHCAN_BEGIN(store, xctx_dealloc_store)
        xctx_dealloc_shallow_store(store);
        XCTX_TRASHCAN_END
    }
    """
    destructor dealloc_store "xctx_dealloc_store"
    destructor dealloc_shallow_store "xctx_dealloc_shallow_store"


connect()

cdef xlocal HERE = works.here   # of units of work
cdef Key default_key = _core.greenlet


cdef class local:
    """local(*args, key=None, **kwargs)\n--\n\nAttributes of execution units: each unit has its own, and they end with it.

    `key` says what a unit is.

    It replaces ``threading.local`` (key ``thread``, or the default), ``gevent.local.local`` (the default), a fork-safe local
    (any key but ``context``), and werkzeug's ``Local`` (keys ``flow`` and ``context``). A subclass's ``__init__`` is called in
    each unit that uses the object, with the arguments of the constructor; all units share the attributes in its ``__slots__``.

    Args:
        key: one of :mod:`xctx.keys`, or a callable that returns a hashable. Default: the class's key, which is
            :data:`xctx.keys.greenlet` unless ``class L(xctx.local, key=...)`` says otherwise. Where a subclass has an
            ``__init__``, all arguments are its own.

    Raises:
        TypeError: arguments are given and there is no ``__init__`` to take them, or `key` is no key.

    Thread-safety: all operations may be called in any thread. Under the keys ``process`` and ``work`` and those of callables,
        several threads may share one unit's attributes; then each operation is atomic.
    Lifetime: a unit's values are released when the unit ends, all values when the store dies. In a forked child every unit
        starts empty, except under the key ``context``. Without the GIL, 3.13 never frees a store that several threads have
        used ten thousand times; from 3.14 on the garbage collector frees it.
    """
    def __cinit__(self, *args, **kwargs):
        key = None
        self.initialises = (<TypeObject*>Py_TYPE(self)).tp_init != object_init
        if not self.initialises:
            key = kwargs.pop("key", None)
            if len(args) == 1 and isinstance(args[0], ContextVar) and as_key(type(self).__xctx_key__).in_context:
                args = ()   # werkzeug's Local may be given the variable in which to keep values
            if args or kwargs:
                raise TypeError(f"Initialization arguments are not supported: {type(self).__name__}() takes none but `key`, "
                                f"because there is no __init__ for {args + tuple(kwargs) !r}")
        made_key = as_key(type(self).__xctx_key__ if key is None else key)
        xctx_publish(at_key(self), <PyObject*>made_key)   # another thread may find the store when it is half made
        if self.key.in_context:
            self.ends_at_fork = not self.key.inherits
            self.storage = IN_CONTEXT
            self.var = ContextVar("xctx.local")
            self.context_values = <PyObject**>PyMem_RawCalloc(1, sizeof(PyObject*))
            if self.context_values == NULL:
                raise MemoryError()
        elif self.key.shared_by_threads:
            self.storage = SHARED_BY_THREADS
            if self.key.index == WORK:
                self.of_work = PLAIN if type(self) is local else DERIVED
        self.kept.serial = xctx_next_serial()
        if self.key.index == WORK:
            stores_of_work[self.kept.serial] = ref(self, partial(stores_of_work.pop, self.kept.serial))
        self.kept.store = <PyObject*>self
        self.kept.forks = xctx_fork_count()
        if FREE_THREADED:
            self.self_ref = ref(self)
        if self.initialises:
            self.args = args
            self.kwargs = kwargs
            # The constructor calls __init__ for the unit that it runs in.
            if self.storage == IN_CONTEXT:
                publish(self.context_values, self.var, (), self.ends_at_fork)
            else:
                new_values_for(self, self.key.find(True))

    def __getattribute__(self, name):
        cdef PyObject *found
        cdef descrgetfunc get = NULL
        cdef bint in_class = False
        if ((self.of_work == PLAIN or self.of_work == DERIVED and values_come_first(self, <PyObject*>name))
                and read_of_work(self, <PyObject*>name, &found)):
            if found != NULL:
                return xctx_taken(found)
            if self.of_work == PLAIN:
                return <object>missing
        attribute = None
        if Py_TYPE(self) != <PyTypeObject*>local or is_reserved(<PyObject*>name):
            if is_reserved(<PyObject*>name) and name == "__dict__":
                return dict_here(self)
            if values_come_first(self, <PyObject*>name):
                found = value_here(self, <PyObject*>name)
                if found != NULL:
                    return xctx_taken(found)
                found = xctx_find_in_type(Py_TYPE(self), <PyObject*>name)
                if found == NULL:
                    return <object>missing
                attribute = xctx_taken(found)
                get = (<TypeObject*>Py_TYPE(attribute)).tp_descr_get
                return attribute if get == NULL else get(attribute, self, type(self))
            found = xctx_find_in_type(Py_TYPE(self), <PyObject*>name)
            if found != NULL:
                in_class = True
                attribute = xctx_taken(found)   # held, whatever the class does meanwhile
                get = (<TypeObject*>Py_TYPE(attribute)).tp_descr_get
                if get != NULL and (<TypeObject*>Py_TYPE(attribute)).tp_descr_set != NULL:
                    return get(attribute, self, type(self))
            found = value_here(self, <PyObject*>name)
            if found == NULL and in_class:
                return attribute if get == NULL else get(attribute, self, type(self))
        else:
            found = value_here(self, <PyObject*>name)
        return <object>missing if found == NULL else xctx_taken(found)

    def __setattr__(self, name, value):
        if set_by_class(self, name, <PyObject*>value):
            return
        if self.storage == PER_UNIT:
            write(values_here(self, True), name, value)
        elif self.storage == SHARED_BY_THREADS:
            set_shared(self, plain_name(name), value)
        else:
            set_in_context(self, name, value)

    def __delattr__(self, name):
        cdef UnitValues *values
        cdef bint found = False
        if set_by_class(self, name, NULL):
            return
        name = plain_name(name)
        if self.storage == IN_CONTEXT:
            names = names_here(self)
            found = name in names
            if found:
                del names[name]
                publish(self.context_values, self.var, as_content(names), self.ends_at_fork)
        elif self.storage == SHARED_BY_THREADS:
            found = delete_shared(self, name)
        else:
            values = values_here(self, False)
            found = values != NULL and erase(values, name)
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
        cls = type(self)
        # A class may say how its objects are pickled, as one of threading.local may.
        if cls.__reduce__ is not object.__reduce__ or cls.__getstate__ is not object.__getstate__:
            return object.__reduce_ex__(self, protocol)
        raise TypeError(f"cannot pickle {type(self).__name__!r} object: its values belong to the unit that runs here")

    def __release_local__(self):
        """Deletes the current unit's attributes: what werkzeug's ``release_local`` calls."""
        if self.storage == IN_CONTEXT:
            publish(self.context_values, self.var, (), self.ends_at_fork)
        else:
            names = dict_here(self)
            names.clear()

    def __call__(self, name, *, unbound_message=None):
        """A :class:`LocalProxy` of the attribute of that name, as werkzeug's Local gives it."""
        return make_proxy(self, name, unbound_message=unbound_message)


install_getattro(<PyObject*>local, object(), b"has no attribute", NULL)

cdef object make_proxy = None


def set_proxy_maker(maker):
    """Sets what calling a store makes. The room of proxies, which is above this one, calls this when it is imported."""
    global make_proxy
    make_proxy = maker


def init_subclass(cls, key=None, **kwargs):
    """Takes the key of a class."""
    super(local, cls).__init_subclass__(**kwargs)
    if key is not None:
        cls.__xctx_key__ = as_key(key)


xctx_type_put(<PyObject*>local, "__init_subclass__", classmethod(init_subclass))
xctx_type_put(<PyObject*>local, "__xctx_key__", default_key)
xctx_type_put(<PyObject*>local, "__xctx_store__", True)   # a proxy looks names up in it, although it can be called


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
    found = xctx_find_in_type(Py_TYPE(self), <PyObject*>name)
    if found == NULL:
        return False
    attribute = xctx_taken(found)
    put = (<TypeObject*>Py_TYPE(attribute)).tp_descr_set
    if put == NULL:
        return False
    put(attribute, self, value)
    return True


# --- what is kept for the current unit -------------------------------------------------------------------------------

cdef int new_values_for(local store, Unit unit) except -1:
    """Makes unit values for a unit that has none."""
    if store.storage == SHARED_BY_THREADS:
        share_values(&store.kept, unit)
    else:
        new_values(&store.kept, unit)
    return 0


cdef inline UnitValues *values_here(local store, bint create) except? NULL:
    """The unit values of a store PER_UNIT for the current unit; NULL where there are none, unless `create`."""
    cdef PyThreadState *tstate = xctx_tstate()
    cdef xctx_cache_entry *entry = xctx_cache_entry_of(store.kept.serial)
    if xctx_cache_hit(entry, store.kept.serial, tstate, <PyObject*>store) and (entry.what != NULL or not create):
        return <UnitValues*>entry.what
    return find_values(store, create)


cdef UnitValues *find_values(local store, bint create) except? NULL:
    # `values_here` without the cache.
    cdef PyThreadState *tstate = xctx_tstate()
    cdef Unit unit = store.key.find(create or store.initialises)
    cdef UnitValues *values = NULL
    if unit is not None:
        values = values_of(&store.kept, unit)
        if values == NULL and (create or store.initialises):
            values = new_values(&store.kept, unit)
            if store.initialises:
                initialise_for(store, unit)
                # That may have run any code: if this is the child of a fork by now, or the unit has ended, start over.
                if unit.forks != xctx_fork_count() or values_of(&store.kept, unit) != values:
                    return find_values(store, create)
    # Borrowed: the unit keeps them until it ends, and it does not end while it runs.
    xctx_cache_set(xctx_cache_entry_of(store.kept.serial), store.kept.serial, tstate, <void*>values)
    return values


cdef Unit shared_unit(local store, bint create):
    """The current unit of a store SHARED_BY_THREADS; None where nothing is kept for it, unless `create`.

    The key is asked once in each operation: a callable may give another value the next time.
    """
    cdef Unit unit = store.key.find(create or store.initialises)
    if unit is not None and shared_content(&store.kept, unit) is None:
        if not create and not store.initialises:
            return None
        if share_values(&store.kept, unit) and store.initialises:
            initialise_for(store, unit)
        if is_over(unit):   # another thread has ended it meanwhile
            release_unit(unit)
    return unit


cdef int set_shared(local store, object name, object value) except -1:
    cdef Unit unit = shared_unit(store, True)
    while True:
        content = shared_content(&store.kept, unit)
        if isinstance(content, dict):
            (<dict>content)[name] = value
            return 0
        if content is None:
            if is_over(unit):
                return 0   # it has ended while this was done: the value goes with it
            unit = shared_unit(store, True)
        elif replace_shared(&store.kept, unit, content, with_name(<PyObject*>content, name, value)):
            return 0


cdef bint delete_shared(local store, object name) except -1:
    """Deletes a name, a plain str. Returns whether it was there."""
    cdef Unit unit = shared_unit(store, False)
    cdef dict names
    while unit is not None:
        content = shared_content(&store.kept, unit)
        if isinstance(content, dict):
            return (<dict>content).pop(name, <object>missing) is not <object>missing
        names = {} if content is None else as_new_dict(<PyObject*>content)
        if name not in names:
            break
        del names[name]
        if replace_shared(&store.kept, unit, content, as_content(names)):
            return True
    return False


cdef dict shared_dict(local store):
    """The dict that holds what a store SHARED_BY_THREADS keeps for the current unit, from now on."""
    cdef Unit unit = shared_unit(store, True)
    cdef dict names
    while True:
        content = shared_content(&store.kept, unit)
        if isinstance(content, dict):
            return <dict>content
        names = {} if content is None else as_new_dict(<PyObject*>content)
        if content is None or replace_shared(&store.kept, unit, content, names):
            return names


# Weak references to the stores with the key `work`, by their serial numbers.
cdef dict stores_of_work = {}


cdef list living_of_work():
    """The stores with the key `work`."""
    stores = []
    for each in list(stores_of_work.values()):
        store = each()
        if store is not None:
            stores.append(store)
    return stores


cdef int initialise(local store) except -1:
    return (<TypeObject*>Py_TYPE(store)).tp_init(store, store.args, store.kwargs)


cdef int initialise_for(local store, Unit unit) except -1:
    try:
        initialise(store)
    except BaseException:
        # Keep nothing, so that the next access starts over.
        discard_values(&store.kept, unit)
        raise
    return 0


cdef inline bint are_of_here(local store, ContextValues values) noexcept:
    """Whether the store sees these values of the current context: a forked child has its parent's contexts."""
    return not store.ends_at_fork or values.forks == xctx_fork_count()


cdef PyObject *content_here(local store) except? NULL:
    """What a store IN_CONTEXT keeps in the current context. Borrowed from the context values, and these from the context."""
    cdef PyThreadState *tstate = xctx_tstate()
    cdef xctx_cache_entry *entry = xctx_cache_entry_of(store.kept.serial)
    cdef ContextValues found
    cdef PyObject *value = NULL
    if xctx_cache_hit(entry, store.kept.serial, tstate, <PyObject*>store):
        # The variable is asked each time: code that copies whole contexts sets it too.
        PyContextVar_Get_(<PyObject*>store.var, NULL, &value)
        if (value != NULL and Py_IS_TYPE_(value, <PyTypeObject*>ContextValues)
                and are_of_here(store, <ContextValues>value)):
            Py_DECREF_(value)   # the call's reference; the context has its own
            return (<ContextValues>value).content
        Py_XDECREF_(value)
    found = current_values(store.var)
    if found is not None and are_of_here(store, found):
        xctx_cache_set(entry, store.kept.serial, tstate, NULL)   # notes that contexts were counted
        return found.content
    if not store.initialises:
        return NULL
    token = publish(store.context_values, store.var, (), store.ends_at_fork)
    try:
        initialise(store)
    except BaseException:
        xctx_var_reset(store.var, token)
        raise
    return content_here(store)


cdef int set_in_context(local store, object name, object value) except -1:
    # Making the new content may run the garbage collector, and a finaliser may replace the content meanwhile. So the content
    # is held, and what the finaliser set stays.
    cdef PyObject *content
    while True:
        content = content_here(store)
        _held = None if content == NULL else <object>content
        changed = with_name(content, name, value)
        if content == content_here(store):
            publish(store.context_values, store.var, changed, store.ends_at_fork)
            return 0


cdef PyObject *value_here(local store, PyObject *name) except? NULL:
    """A new reference to the current unit's value of the name, or NULL with no exception."""
    cdef UnitValues *values
    if store.storage == PER_UNIT:
        values = values_here(store, False)
        return NULL if values == NULL else read(values, name)
    if store.storage == IN_CONTEXT:
        return read_content(content_here(store), name)
    unit = shared_unit(store, False)
    if unit is not None:
        content = shared_content(&store.kept, unit)
        if content is not None:
            return read_content(<PyObject*>content, name)
    return NULL


cdef inline bint read_of_work(local store, PyObject *name, PyObject **found) except -1:
    """Whether the store keeps something for the unit of work that is current; if so, the value of a name, as `value_here`.

    False for a name with an underscore that it does not find: that may be the class's.
    """
    cdef PyThreadState *tstate = xctx_tstate()
    cdef PyObject *top = NULL
    cdef PyObject *work
    cdef xctx_cache_entry *entry
    cdef UnitValues *values
    if FREE_THREADED:
        return read_of_shared_work(store, name, found)
    # With the GIL nothing that is found here is held: no other code runs meanwhile, but for the keys of a dict.
    xctx_count_contexts(tstate)
    PyContextVar_Get_(<PyObject*>HERE.var, NULL, &top)
    if top == NULL:
        return False
    Py_DECREF_(top)   # the call's reference; the context has its own
    if (not Py_IS_TYPE_(top, <PyTypeObject*>Binding) or <PyObject*>(<Binding>top).home != <PyObject*>None
            or not PyTuple_GET_SIZE_(<PyObject*>(<Binding>top).values)):
        return False   # in a generator, or of a snapshot that was taken outside of any
    work = PyTuple_GET_ITEM_(<PyObject*>(<Binding>top).values, 0)
    entry = xctx_cache_entry_of(store.kept.serial)
    if xctx_cache_knows(entry, store.kept.serial, (<UnitOfWork>work).unit.table_version):
        values = <UnitValues*>entry.what   # the unit has not ended, and has them still
    else:
        values = find_in_work(store, (<UnitOfWork>work).unit, entry)
        if values == NULL:
            return False
    if PyTuple_CheckExact_(values.dict):
        found[0] = read_content(values.dict, name)
    else:
        found[0] = read_held(values.dict, name)
    return found[0] != NULL or not is_reserved(name)


cdef UnitValues *find_in_work(local store, Unit unit, xctx_cache_entry *entry):
    """What the store keeps for a unit of work, unless that has ended or is of a parent; noted for the next time. Or NULL."""
    cdef UnitValues *values
    if is_over(unit) or unit.forks != xctx_fork_count():
        return NULL
    values = values_of(&store.kept, unit)
    if values != NULL:
        if unit.table_version == 0:
            unit.table_version = xctx_next_serial()
        xctx_cache_note(entry, store.kept.serial, unit.table_version, <void*>values)
    return values


cdef PyObject *read_held(PyObject *content, PyObject *name) except? NULL:
    """The same as read_content, of what another thread may replace."""
    cdef object _held = <object>content
    return read_content(content, name)


cdef bint read_of_shared_work(local store, PyObject *name, PyObject **found) except -1:
    # `read_of_work` without the GIL.
    cdef Binding top = binding_here(HERE, xctx_tstate())   # held: other threads may take it out
    cdef UnitOfWork work
    cdef object content
    if top is None or not PyTuple_GET_SIZE_(<PyObject*>top.values):
        return False
    work = <UnitOfWork>top.values[0]
    if is_over(work.unit):
        return False
    found[0] = NULL
    if not read_shared(&store.kept, work.unit, name, found) or found[0] == NULL and not is_interned(name):
        content = shared_content(&store.kept, work.unit)
        if content is None:
            return False
        found[0] = read_content(<PyObject*>content, name)
    return found[0] != NULL or not is_reserved(name)


cdef inline bint values_come_first(local store, PyObject *name) except -1:
    """Whether a value of that name comes before the class's attribute, which is not and cannot become a data descriptor."""
    cdef unsigned int version = xctx_type_version(Py_TYPE(store))
    cdef unsigned int plain = <unsigned int>xctx_load_int(<int*>&store.plain_class)
    return (version != 0 and version == plain or note_class(store)) and not is_reserved(name)


cdef bint note_class(local store) except -1:
    cdef unsigned int version = xctx_type_version(Py_TYPE(store))
    if version == 0 or version == <unsigned int>xctx_load_int(<int*>&store.other_class):
        return False
    xctx_store_int(<int*>&store.other_class, <int>version)
    for cls in type(store).__mro__:
        if cls is object or cls is local:
            continue
        for name, value in list(type.__dict__["__dict__"].__get__(cls).items()):
            # The type of a value may become a data descriptor if it is a class in Python, because such a class can change.
            if not is_reserved(<PyObject*>name) and type(value) is not Field and may_be_data(<PyObject*>value):
                return False
    xctx_store_int(<int*>&store.plain_class, <int>version)
    return True


cdef bint may_be_data(PyObject *value) noexcept:
    return (<TypeObject*>Py_TYPE(<object>value)).tp_descr_set != NULL or xctx_is_mutable_type(Py_TYPE(<object>value))


cdef dict names_here(local store):
    """A new dict of the current unit's names and values."""
    cdef UnitValues *values
    if store.storage == IN_CONTEXT:
        return as_new_dict(content_here(store))
    if store.storage == SHARED_BY_THREADS:
        unit = shared_unit(store, False)
        content = None if unit is None else shared_content(&store.kept, unit)
        return {} if content is None else as_new_dict(<PyObject*>content)
    values = values_here(store, False)
    return {} if values == NULL else contents(values)


cdef object dict_here(local store):
    if store.storage == IN_CONTEXT:
        return ContextDict(partial(names_in_context, store), partial(put_in_context, store), partial(publish_in_context, store))
    if store.storage == SHARED_BY_THREADS:
        return shared_dict(store)
    return as_dict(values_here(store, True))


def names_in_context(local store not None):
    return names_here(store)


def put_in_context(local store not None, name, value):
    set_in_context(store, plain_name(name), value)


def publish_in_context(local store not None, dict names not None):
    """Makes these the names and values that the store keeps in the current context. The dict becomes the store's."""
    publish(store.context_values, store.var, as_content(names), store.ends_at_fork)


# --- what snapshots take along ---------------------------------------------------------------------------------------

cdef object values_to_carry(local store):
    """What the context variable of a store IN_CONTEXT holds here; empty context values if it holds nothing."""
    cdef PyObject *content = content_here(store)   # calls __init__ if that is due
    cdef ContextValues found = current_values(store.var)
    if content == NULL or found is None:
        return new_content(store, {})
    return found


cdef object new_content(local store, dict names):
    """What the context variable of a store IN_CONTEXT is to hold."""
    return context_values(store.context_values, as_content(names), store.ends_at_fork)


cdef dict carried_names(object values):
    return as_new_dict((<ContextValues?>values).content)


cdef int keep_in_unit(local store, Unit unit, dict names) except -1:
    """Makes a store keep these names for a unit of work that nobody else knows yet."""
    share_values(&store.kept, unit)
    replace_shared(&store.kept, unit, (), as_content(names))
    return 0


# --- the collector, and the death of a store -------------------------------------------------------------------------

cdef traverseproc cython_traverse = (<TypeObject*><PyObject*>local).tp_traverse
cdef inquiry cython_clear = (<TypeObject*><PyObject*>local).tp_clear
cdef destructor cython_dealloc = (<TypeObject*><PyObject*>local).tp_dealloc


cdef int store_traverse(PyObject *store, visitproc visit, void *arg) noexcept:
    # No reference count may change here.
    cdef int result = cython_traverse(store, visit, arg)
    if not result:
        result = traverse(&(<local>store).kept, visit, arg)
    if not result and (<local>store).context_values != NULL:
        result = traverse_list((<local>store).context_values[0], visit, arg)
    return result


cdef int store_clear(PyObject *store) noexcept:
    # The fields stay, since the store may yet be used by what is cleared with it.
    cdef UnitValues *chain = detach_all(&(<local>store).kept)
    cdef PyObject **contexts = detach_list((<local>store).context_values)
    release_chain(chain)
    release_list(contexts)
    return 0


cdef void store_dealloc(PyObject *store) noexcept:
    # Nobody can reach the store any more, and no Python code has run yet. The values are released when the store is gone, so
    # that no finaliser can find it half deallocated.
    cdef UnitValues *chain = detach_all(&(<local>store).kept)
    cdef PyObject **contexts = (<local>store).context_values
    cython_dealloc(store)
    release_chain(chain)
    release_list(contexts)


(<TypeObject*><PyObject*>local).tp_traverse = store_traverse
(<TypeObject*><PyObject*>local).tp_clear = store_clear
dealloc_shallow_store = store_dealloc
(<TypeObject*><PyObject*>local).tp_dealloc = dealloc_store
