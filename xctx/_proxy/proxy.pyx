# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Transparent proxies: LocalWrapper stands for one object, LocalProxy for what its source yields now.

C decides what an operation does, and how it finds and holds the target: see ``_proxy/body.h``, and the table of operations
in ``_proxy/slots.h``. This module decides what needs to be decided only once: the class for a target's type, and the kind of
a source.
"""

cimport cython
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from libc.stdint cimport uint32_t, uint64_t
from _functools import partial   # from the C modules, because functools and weakref would cost at each start
from _weakref import ref
from sys import intern
from types import UnionType

from xctx._runtime.parking cimport (Waiter, waiter_here, wake_all, xctx_queue, xctx_queue_add, xctx_queue_pick,
                                    xctx_queue_remove, xctx_waiter)
from xctx._runtime.python cimport (PyContextVar_CheckExact, xctx_next_u64, xctx_shared_get, xctx_shared_setdefault,
                                   xctx_tstate)
from xctx._runtime.runtime cimport connect, xctx_fork_count, xctx_next_serial
from xctx._runtime.scheduling cimport current_hub, running_greenlet
from xctx._stores.local import set_proxy_maker

cdef extern from "xctx/_proxy/body.h":
    ctypedef enum ProxyKind:
        PROXY_LAZY, PROXY_UNSET, PROXY_CONTEXTVAR, PROXY_CALL, PROXY_STORE, PROXY_STACK, PROXY_CHAINED
    ctypedef struct ProxyObject:
        PyObject *source
        ProxyKind kind
    ctypedef struct LocalProxyObject:
        ProxyObject base
        PyObject *path
        PyObject *message

    ctypedef struct LazyObject:
        ProxyObject base
        PyObject *made

    PyTypeObject *proxy_base_type
    PyTypeObject *proxy_wrapper_type
    PyTypeObject *proxy_local_type

    bint proxy_check(object o)
    object proxy_resolve(object self)
    object (*proxy_make_target)(object self)
    void proxy_publish_target(object self, PyObject *made)

cdef extern from "xctx/_proxy/class.h":
    uint64_t proxy_type_deaths
    object (*proxy_find_class)(PyTypeObject *leaf, PyTypeObject *type)
    int (*proxy_configure)(object self, object args, object kwargs) except -1
    object (*proxy_new_factory)(object factory)

    int proxy_init(object implicit_names, object plain, object union_type) except -1
    uint64_t proxy_mask(PyTypeObject *type)
    object proxy_make_class(PyTypeObject *leaf, PyTypeObject *type, uint64_t mask, const char *name)

cdef extern from "Python.h":
    bint PyType_IsSubtype(PyTypeObject *a, PyTypeObject *b)
    PyTypeObject *Py_TYPE(object o)


# ---- the class of a wrapper ----------------------------------------------------------------------------------------

# Methods that CPython looks up in a class, and that a class sets to None to say that it does not support them.
cdef tuple REFUSABLE = (
    "__call__", "__iter__", "__next__", "__len__", "__getitem__", "__setitem__", "__delitem__", "__contains__",
    "__int__", "__float__", "__index__", "__await__", "__aiter__", "__anext__", "__reversed__", "__complex__",
    "__bytes__", "__round__", "__enter__", "__exit__", "__aenter__", "__aexit__", "__buffer__",
)

# {id of a target type: (weak reference to the type, {mask: class})}, for LocalWrapper. A subclass written in Python keeps
# a table of its own as an attribute, so that its classes can die with it.
# State of the process. Thread-safety: it is used through single dict operations, each of which is atomic. A class stays in
# the inner dict when the target type changes, because other threads may be using it.
cdef dict CLASSES = {}


cdef object _table_of(object leaf):
    if <PyTypeObject *>leaf is proxy_wrapper_type:
        return CLASSES
    own = leaf.__dict__.get("__xctx_classes__")
    if own is None:
        own = {}
        type.__setattr__(leaf, "__xctx_classes__", own)
    return own


cdef object _refused(object kind, object name):
    """Whether ``name = None`` stands in the class or a base."""
    for base in type.__dict__["__mro__"].__get__(kind):
        if name in (<object>(type.__dict__["__dict__"].__get__(base))):
            return type.__dict__["__dict__"].__get__(base)[name] is None
    return False


@cython.final
@cython.no_gc_clear
cdef class _AttributeOfTargets:
    """An attribute that programs look for in the class of a dataclass's object: that of the class of the targets.

    Thread-safety: never changes.
    Lifetime: held by a wrapper's class, which ends with the class of the targets and does not hold it.
    """
    cdef object of      # a weak reference to the class of the targets
    cdef str name

    def __cinit__(self, of, str name not None):
        self.of = ref(of)
        self.name = name

    def __get__(self, instance, owner):
        return getattr(self.of(), self.name)


cdef object _make_class(PyTypeObject *leaf, PyTypeObject *kind, uint64_t mask):
    # Cut at the last dot, because CPython takes what stands before it for the module.
    name = f"{(<object>leaf).__name__}[{type.__dict__['__name__'].__get__(<object>kind)}]".rpartition(".")[2]
    module = (<object>leaf).__module__
    cls = proxy_make_class(leaf, kind, mask, f"{module}.{name}".encode())
    for refusable in REFUSABLE:
        if _refused(<object>kind, refusable) and not hasattr(<object>leaf, refusable):
            setattr(cls, refusable, None)
    if hasattr(<object>kind, "__dataclass_fields__"):
        setattr(cls, "__dataclass_fields__", _AttributeOfTargets(<object>kind, "__dataclass_fields__"))
    return cls


def _forget(dict table, key, dead):
    """The callback of the weak reference `dead`: a target type died. Re-entry: it can run wherever references are dropped."""
    entry = xctx_shared_get(table, key)
    if entry is not None and entry[0] is dead:
        table.pop(key, None)
    xctx_next_u64(&proxy_type_deaths)


cdef object _find_class(PyTypeObject *leaf, PyTypeObject *kind):
    cdef uint64_t mask = proxy_mask(kind)  # first: this gives the type a version, which the cache notes
    cdef dict table = _table_of(<object>leaf)
    key = <size_t>kind
    entry = xctx_shared_get(table, key)
    # A dead reference belongs to a type whose callback has not run yet; `kind` reuses its address.
    if entry is None or entry[0]() is not <object>kind:
        if entry is not None:
            xctx_next_u64(&proxy_type_deaths)
            table.pop(key, None)
        entry = xctx_shared_setdefault(table, key, (ref(<object>kind, partial(_forget, table, key)), {}))
    cls = xctx_shared_get(entry[1], mask)
    if cls is None:
        cls = xctx_shared_setdefault(entry[1], mask, _make_class(leaf, kind, mask))
    return cls


# ---- the source of a LocalProxy ------------------------------------------------------------------------------------

cdef ProxyKind _kind_of(object source, object name) except PROXY_UNSET:
    if proxy_check(source):
        return PROXY_CHAINED
    if PyContextVar_CheckExact(source):
        return PROXY_CONTEXTVAR
    kind = <object>Py_TYPE(source)
    if getattr(kind, "__xctx_store__", False):
        if name is None:
            raise TypeError(f"LocalProxy of a {kind.__name__} needs the name of an attribute")
        return PROXY_STORE
    if hasattr(kind, "__release_local__"):  # werkzeug's LocalStack and Local, which are callable for another purpose
        if hasattr(kind, "top"):
            return PROXY_STACK
        if name is None:
            raise TypeError(f"LocalProxy of a {kind.__name__} needs the name of an attribute")
        return PROXY_STORE
    if callable(source):
        return PROXY_CALL
    if name is None:
        raise TypeError(
            f"{source!r} cannot be the source of a LocalProxy without a name: "
            "wanted a ContextVar, a LocalProxy, a callable, or an object and the name of its attribute"
        )
    return PROXY_STORE


cdef tuple _path_of(object name):
    """The names in a dotted name. A subclass of str is treated as the string that it holds: its methods are not called."""
    if name is None:
        return None
    if not isinstance(name, str):
        raise TypeError(f"{name!r} is not the name of an attribute: wanted a str")
    names = []
    for part in str.split(name, "."):
        names.append(intern(part))
    return tuple(names)


def _arguments(source, name=None, *, unbound_message=None):
    return source, name, unbound_message


cdef int _configure(object self, object args, object kwargs) except -1:
    cdef LocalProxyObject *proxy = <LocalProxyObject *><PyObject *>self
    cdef ProxyKind kind
    source, name, message = _arguments(*args, **({} if kwargs is None else kwargs))
    # A wrapper stands for its object, also as a source; a lazy one is asked like a LocalProxy.
    while proxy_check(source) and PyType_IsSubtype(Py_TYPE(source), proxy_wrapper_type):
        if (<ProxyObject *><PyObject *>source).kind == PROXY_LAZY:
            break
        source = <object>(<ProxyObject *><PyObject *>source).source
    path = _path_of(name)
    kind = _kind_of(source, name)  # may run Python code
    with cython.critical_section(self):
        if proxy.base.kind != PROXY_UNSET:
            raise TypeError("the source of a LocalProxy never changes")
        # Ownership: the proxy takes one reference to each, and drops them when it dies.
        Py_INCREF(source)
        proxy.base.source = <PyObject *>source
        if path is not None:
            Py_INCREF(path)
            proxy.path = <PyObject *>path
        if message is not None:
            Py_INCREF(message)
            proxy.message = <PyObject *>message
        proxy.base.kind = kind  # last: from here on operations ask the source
    return 0


# ---- lazy wrappers -------------------------------------------------------------------------------------------------

cdef double LOOK_AGAIN = 1.0   # seconds after which a waiting unit checks whether a fork has left behind the one it waits for


@cython.final
@cython.no_gc_clear
cdef class _LazyFactory:
    """What a lazy wrapper has instead of an object: the callable that makes it, and the units that wait for it.

    Thread-safety: the critical section of this object guards all fields. No Python code runs in it.
    Lifetime: that of the wrapper. There is no tp_clear: the callable, or what it refers to, can be cleared.
    """
    cdef object factory       # None once it has returned
    cdef bint running
    cdef uint64_t thread      # the thread that runs the factory, by the serial of its state,
    cdef object greenlet      # its greenlet, or None where there are none,
    cdef uint32_t forks       # and the count of forks then
    cdef xctx_queue waiters

    def __cinit__(self, factory):
        if not callable(factory):
            raise TypeError(f"{factory!r} is not callable: wanted a factory")
        self.factory = factory

    def __repr__(self):
        """What a lazy wrapper shows before it has an object."""
        with cython.critical_section(self):
            factory = self.factory
        return f"<xctx.LocalWrapper of what {factory!r} makes>"


cdef object _new_factory(object factory):
    return _LazyFactory(factory)


cdef object _make_target(object wrapper):
    """Calls the factory of a lazy wrapper, or waits until another unit has: what it made."""
    cdef LazyObject *lazy = <LazyObject *><PyObject *>wrapper
    cdef _LazyFactory own = <_LazyFactory><object>lazy.base.source
    cdef Waiter waiter
    cdef PyObject *made
    cdef bint mine
    hub = current_hub()
    greenlet = running_greenlet(True)
    before = None   # a greenlet whose last reference must not go in the critical section
    while True:
        waiter = waiter_here(hub, None)
        with cython.critical_section(own):
            made = lazy.made
            mine = False
            if made == NULL:
                # Without a hub, a greenlet that waits for another one of its thread would wait for ever.
                mine = (own.running and own.thread == xctx_tstate().id and (hub is None or own.greenlet is greenlet)
                        and own.forks == xctx_fork_count())
                if own.running and not mine and own.forks == xctx_fork_count():
                    xctx_queue_add(&own.waiters, &waiter.node, False)
                elif not mine:
                    # Free, or the unit that ran the factory stayed in the process that this one was forked from.
                    own.running = True
                    own.thread = xctx_tstate().id
                    before, own.greenlet = own.greenlet, greenlet
                    own.forks = xctx_fork_count()
                    break
        if made != NULL:
            return <object>made
        if mine:
            raise RuntimeError("the factory of a lazy LocalWrapper uses the wrapper itself")
        _wait(own, waiter)
    try:
        result = own.factory()
    except BaseException:
        _end(own, wrapper, NULL)
        raise
    Py_INCREF(result)   # the wrapper's reference
    _end(own, wrapper, <PyObject *>result)
    return <object>lazy.made   # perhaps another's, after a fork in the factory


cdef int _end(_LazyFactory own, object wrapper, PyObject *made) except -1:
    """Publishes what the factory made, if it made something, and wakes the units that wait. Consumes the reference."""
    cdef xctx_waiter *chain = NULL
    cdef PyObject *unused = NULL
    factory = None
    with cython.critical_section(own):
        own.running = False
        _greenlet, own.greenlet = own.greenlet, None   # dropped once nothing is half done
        if made != NULL:
            if (<LazyObject *><PyObject *>wrapper).made == NULL:
                proxy_publish_target(wrapper, made)
            else:
                unused = made
            factory, own.factory = own.factory, None
        xctx_queue_pick(&own.waiters, own.waiters.count, &chain)
    Py_XDECREF(unused)
    wake_all(chain)
    return 0   # the factory is released here, where nothing is half done


cdef int _wait(_LazyFactory own, Waiter waiter) except -1:
    """Waits until the factory has returned or raised, but not for long: see LOOK_AGAIN."""
    cdef bint linked
    try:
        waiter.park(LOOK_AGAIN)
    finally:
        with cython.critical_section(own):
            linked = waiter.node.linked
            if linked:
                xctx_queue_remove(&own.waiters, &waiter.node)
        if linked:
            Py_DECREF(waiter)   # the queue's reference
    return 0


# ---- public --------------------------------------------------------------------------------------------------------

def unwrap(proxy, /):
    """The object that is behind a proxy now; if that is a proxy too, the object behind that one, and so on.

    Args:
        proxy: a proxy. Any other object is returned as it is.

    Raises:
        RuntimeError: `proxy` is a LocalProxy with nothing behind it. What its source raises is raised too.

    Thread-safety: may be called from any thread.
    """
    return proxy_resolve(proxy) if proxy_check(proxy) else proxy


def is_proxy(obj, /):
    """Whether an object is a LocalWrapper or a LocalProxy. isinstance() would ask the object behind the proxy as well.

    Thread-safety: may be called from any thread.
    """
    cdef PyTypeObject *kind = Py_TYPE(obj)
    return PyType_IsSubtype(kind, proxy_wrapper_type) or PyType_IsSubtype(kind, proxy_local_type)


proxy_find_class = _find_class
proxy_configure = _configure
proxy_new_factory = _new_factory
proxy_make_target = _make_target
connect()
# Threads remember what they have found together with this number. An interpreter that gets this module after another has ended
# (see _runtime/copies.h) must find nothing of that in its threads.
proxy_type_deaths = xctx_next_serial() << 32

# What the compiler puts into every class: that a subclass has these names does not mean that it defines them.
proxy_init(frozenset((
    "__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__slots__", "__annotations__", "__annotate__",
    "__annotate_func__", "__annotations_cache__", "__parameters__", "__orig_bases__", "__firstlineno__",
    "__static_attributes__", "__match_args__", "__abstractmethods__", "_abc_impl", "__xctx_classes__",
)), type("plain", (), {}), UnionType)
Proxy = <object>proxy_base_type
LocalWrapper = <object>proxy_wrapper_type
LocalProxy = <object>proxy_local_type

set_proxy_maker(LocalProxy)
