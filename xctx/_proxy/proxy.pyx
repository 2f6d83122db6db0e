# cython: language_level=3, freethreading_compatible=True, binding=True, embedsignature=True, embedsignature.format=python
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Transparent proxies: LocalWrapper of one object, LocalProxy of whatever a source yields now.

What an operation does, and how it finds and holds the target, is C (``_proxy/proxy.h``, and the table ``_proxy/slots.h``).
Here is what is decided once: the class for a target's type, and the kind of a source.
"""

from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport uint64_t
from _functools import partial   # underscored for a cheap start, as in _local
from _weakref import ref
from types import UnionType

from xctx._stores.local import set_proxy_maker

cdef extern from "xctx/_proxy/class.h":
    ctypedef enum xp_kind:
        XP_WRAPPER, XP_UNSET, XP_CONTEXTVAR, XP_CALL, XP_STORE, XP_STACK, XP_PROXY
    ctypedef struct xp_object:
        PyObject *target
        PyObject *source
        xp_kind kind
    ctypedef struct xp_local:
        xp_object base
        PyObject *path
        PyObject *message

    PyTypeObject *xp_base_type
    PyTypeObject *xp_wrapper_type
    PyTypeObject *xp_local_type
    uint64_t xp_deaths

    object (*xp_find_class)(PyTypeObject *leaf, PyTypeObject *type)
    int (*xp_configure)(object self, object args, object kwargs) except -1

    int xp_init(object implicit_names, object plain, object union_type) except -1
    bint xp_check(object o)
    object xp_resolve(object self)
    uint64_t xp_mask(PyTypeObject *type)
    object xp_make_class(PyTypeObject *leaf, PyTypeObject *type, uint64_t mask, const char *name)

cdef extern from "Python.h":
    bint PyContextVar_CheckExact(object o)
    bint PyType_IsSubtype(PyTypeObject *a, PyTypeObject *b)
    PyTypeObject *Py_TYPE(object o)
    str PyUnicode_InternFromString(const char *s)

cdef extern from "xctx/_runtime/compat.h":
    uint64_t xctx_next_u64(uint64_t *p)
    object shared_get "xctx_shared_get"(dict, object)
    object shared_setdefault "xctx_shared_setdefault"(dict, object, object)


# ---- the class of a wrapper ----------------------------------------------------------------------------------------

# What CPython sets or looks up in a class that cannot do what the method is for.
cdef tuple REFUSABLE = (
    "__call__", "__iter__", "__next__", "__len__", "__getitem__", "__setitem__", "__delitem__", "__contains__",
    "__int__", "__float__", "__index__", "__await__", "__aiter__", "__anext__", "__reversed__", "__complex__",
    "__bytes__", "__round__", "__enter__", "__exit__", "__aenter__", "__aexit__", "__buffer__",
)

# {id of a target type: (weak reference to it, {mask: class})}, for LocalWrapper. A subclass written in Python keeps
# its own as an attribute, so that its classes can die with it. Thread-safety: single dict operations only, each of
# which is atomic. A class stays in the inner dict when the type changes, for other threads may have it in hand.
cdef dict CLASSES = {}


cdef object _table_of(object leaf):
    if <PyTypeObject *>leaf is xp_wrapper_type:
        return CLASSES
    own = leaf.__dict__.get("__xctx_classes__")
    if own is None:
        own = {}
        type.__setattr__(leaf, "__xctx_classes__", own)
    return own


cdef object _refused(object kind, object name):
    """Whether ``name = None`` stands in the class: collections.abc's way to say that it cannot."""
    for base in type.__dict__["__mro__"].__get__(kind):
        if name in (<object>(type.__dict__["__dict__"].__get__(base))):
            return type.__dict__["__dict__"].__get__(base)[name] is None
    return False


cdef object _make_class(PyTypeObject *leaf, PyTypeObject *kind, uint64_t mask):
    # Cut at the last dot, at which CPython splits the module off.
    name = f"{(<object>leaf).__name__}[{type.__dict__['__name__'].__get__(<object>kind)}]".rpartition(".")[2]
    module = (<object>leaf).__module__
    cls = xp_make_class(leaf, kind, mask, f"{module}.{name}".encode())
    for refusable in REFUSABLE:
        if _refused(<object>kind, refusable) and not hasattr(<object>leaf, refusable):
            setattr(cls, refusable, None)
    return cls


def _forget(dict table, key, dead):
    """A target type died. Re-entry: runs wherever that happens."""
    entry = shared_get(table, key)
    if entry is not None and entry[0] is dead:
        table.pop(key, None)
    xctx_next_u64(&xp_deaths)


cdef object _find_class(PyTypeObject *leaf, PyTypeObject *kind):
    cdef uint64_t mask = xp_mask(kind)  # first: it gives the type a version, which the cache notes
    cdef dict table = _table_of(<object>leaf)
    key = <size_t>kind
    entry = shared_get(table, key)
    # A dead reference is a type whose callback has not run yet, and whose address is a new type's.
    if entry is None or entry[0]() is not <object>kind:
        if entry is not None:
            xctx_next_u64(&xp_deaths)
            table.pop(key, None)
        entry = shared_setdefault(table, key, (ref(<object>kind, partial(_forget, table, key)), {}))
    cls = shared_get(entry[1], mask)
    if cls is None:
        cls = shared_setdefault(entry[1], mask, _make_class(leaf, kind, mask))
    return cls


# ---- the source of a LocalProxy ------------------------------------------------------------------------------------

cdef xp_kind _kind_of(object source, object name) except XP_UNSET:
    if xp_check(source):
        return XP_PROXY
    if PyContextVar_CheckExact(source):
        return XP_CONTEXTVAR
    kind = <object>Py_TYPE(source)
    if getattr(kind, "__xctx_store__", False):
        if name is None:
            raise TypeError(f"LocalProxy of a {kind.__name__} needs the name of an attribute")
        return XP_STORE
    if hasattr(kind, "__release_local__"):  # werkzeug's: a LocalStack or a Local, which are callable
        if hasattr(kind, "top"):
            return XP_STACK
        if name is None:
            raise TypeError(f"LocalProxy of a {kind.__name__} needs the name of an attribute")
        return XP_STORE
    if callable(source):
        return XP_CALL
    if name is None:
        raise TypeError(
            f"{source!r} cannot be the source of a LocalProxy without a name: "
            "wanted a ContextVar, a LocalProxy, a callable, or an object and the name of its attribute"
        )
    return XP_STORE


def _arguments(source, name=None, *, unbound_message=None):
    return source, name, unbound_message


cdef int _configure(object self, object args, object kwargs) except -1:
    cdef xp_local *proxy = <xp_local *><PyObject *>self
    if kwargs is None:
        kwargs = {}
    source, name, message = _arguments(*args, **kwargs)
    if proxy.base.kind != XP_UNSET:
        raise TypeError("the source of a LocalProxy never changes")
    # A wrapper stands for its object, also as a source.
    while xp_check(source) and PyType_IsSubtype(Py_TYPE(source), xp_wrapper_type):
        source = <object>(<xp_object *><PyObject *>source).source
    if name is not None:
        if not isinstance(name, str):
            raise TypeError(f"{name!r} is not the name of an attribute: wanted a str")
        path = tuple([PyUnicode_InternFromString(part.encode()) for part in name.split(".")])
    else:
        path = None
    cdef xp_kind kind = _kind_of(source, name)
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


# ---- public --------------------------------------------------------------------------------------------------------

def unwrap(proxy, /):
    """The object behind a proxy now, through proxies of proxies; any other object is its own.

    A LocalProxy with nothing behind it raises RuntimeError.
    """
    return xp_resolve(proxy) if xp_check(proxy) else proxy


def is_proxy(obj, /):
    """Whether obj is a LocalWrapper or a LocalProxy, which isinstance() would not tell from its object."""
    cdef PyTypeObject *kind = Py_TYPE(obj)
    return PyType_IsSubtype(kind, xp_wrapper_type) or PyType_IsSubtype(kind, xp_local_type)


xp_find_class = _find_class
xp_configure = _configure
xp_init(frozenset((
    "__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__slots__", "__annotations__", "__annotate__",
    "__annotate_func__", "__annotations_cache__", "__parameters__", "__orig_bases__", "__firstlineno__",
    "__static_attributes__", "__match_args__", "__abstractmethods__", "_abc_impl", "__xctx_classes__",
)), type("plain", (), {}), UnionType)
Proxy = <object>xp_base_type
LocalWrapper = <object>xp_wrapper_type
LocalProxy = <object>xp_local_type

set_proxy_maker(LocalProxy)
