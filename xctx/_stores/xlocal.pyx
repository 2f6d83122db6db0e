# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""xlocal: scoped, read-only names, visible to one execution unit.

Reading takes the innermost binding that the current unit sees (seen.pyx). Calling gives a scope (scopes.pyx), and a scope
is entered to bind.
"""
cimport cython
from cpython.object cimport Py_TYPE, PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM

from xctx._runtime.python cimport (PyEval_GetGlobals, PyObject_GenericGetAttr, PyTuple_GET_ITEM_, PyTuple_GET_SIZE_,
                                   PyVectorcall_NARGS, xctx_give_vectorcall, xctx_inherit_vectorcall,
                                   xctx_tstate, xctx_type_has, xctx_type_put)
from xctx._runtime.runtime cimport connect
from xctx._core cimport Key, as_key
from xctx._stores.bindings cimport Binding, bind, look_up, merge
from xctx._stores.chains cimport BindingVariable, note_key
from xctx._stores.seen cimport binding_here
from xctx._stores.names cimport interned, is_interned, is_reserved
from xctx._stores.scopes cimport Scope, new_scope
from xctx._stores.unseen cimport why_unseen
from xctx import _core
import sys


cdef extern from "xctx/_stores/getattro.h":
    PyObject *missing "xctx_missing"
    int install_getattro "xctx_install_getattro"(PyObject *, object, const char *, object (*why)(object, object)) except -1

cdef extern from *:
    """
    #define XCTX_VECTORCALL_OF_XLOCAL offsetof(struct __pyx_obj_4xctx_7_stores_6xlocal_xlocal, vectorcall)
    """
    Py_ssize_t VECTORCALL_OF_XLOCAL "XCTX_VECTORCALL_OF_XLOCAL"

connect()


cdef Key default_key = _core.flow


@cython.no_gc_clear
cdef class xlocal(BindingVariable):
    """xlocal(*, key=None)\n--\n\nScoped, read-only names.

    ``with x(a=1):`` binds; ``x.a`` reads; nothing leaks out of the block. By default a binding is seen wherever the program
    carries its context on purpose, in this process; `key` can narrow that to a task, a greenlet or a thread.
    A subclass may declare its names, with types and defaults: then only those can be bound::

        class Current(xctx.xlocal):
            request: Request
            user: User | None = None

    Args:
        key: one of :mod:`xctx.keys`, or a callable that returns a hashable. Default: the class's key, which is
            :data:`xctx.keys.flow` unless ``class C(xctx.xlocal, key=...)`` says otherwise.

    Raises:
        TypeError: `key` is neither.

    Thread-safety: all operations may be called in any thread.
    Lifetime: bindings hold their xlocal. Without the GIL, 3.13 never frees an xlocal that several threads have read ten
        thousand times; from 3.14 on the garbage collector frees it.
    """
    def __cinit__(self, *args, key=None, **kwargs):
        self.key = default_key
        self.declared = None
        if type(self) is not xlocal:
            self.key = type(self).__xctx_key__ if key is None else as_key(key)
            self.declared = type(self).__xctx_names__
            self.factories = type(self).__xctx_factories__
        elif key is not None:
            self.key = as_key(key)
        note_key(self.key)
        self.made_in = maker_module()
        self.vectorcall = <vectorcallfunc>bind_call
        if type(self) is not xlocal:
            for hook in instance_hooks:
                hook(self)

    def __init__(self, *, key=None):
        pass

    @classmethod
    def new(cls, *, key=None):
        """Makes an xlocal: the same as calling the class."""
        return cls() if key is None else cls(key=key)

    def __call__(self, *args, **names):
        """Binds names to values, for a block: ``with x(a=1, b=2) as y:`` (`y` is `x`).

        Nothing is bound until the block is entered. The object returned can be entered again, nested, in several units at
        once, and be used as a decorator of functions, coroutine functions, generators and async generators.

        Args:
            names: the names and their values.

        Returns:
            A scope, whose ``with`` statement gives the xlocal.

        Raises:
            TypeError: a name starts with ``_``, or is not one that the class declares, or an argument has no name.
        """
        if args:
            raise TypeError(f"an xlocal binds keyword arguments, it was given {args[0]!r} without a name")
        return make_scope(self, tuple(names), tuple(names.values()))

    def __getattribute__(self, name):
        cdef Binding top = binding_here(self, xctx_tstate())
        cdef PyObject *found
        if top is not None:
            found = look_up(top, <PyObject*>name)
            if found != NULL:
                return <object>found
        if xctx_type_has(Py_TYPE(self), <PyObject*>name):
            if name == "__dict__":
                return self.visible()
            return PyObject_GenericGetAttr(self, name)
        return <object>missing

    def __setattr__(self, name, value):
        raise AttributeError(f"cannot set {name!r}: an xlocal is read-only, names are bound by `with x({name}=...):`")

    def __delattr__(self, name):
        raise AttributeError(f"cannot delete {name!r}: an xlocal is read-only, a name is bound until its block is left")

    @property
    def __dict__(self):
        """What is bound here: a new dict."""
        return self.visible()

    cdef dict visible(self):
        cdef Binding top = binding_here(self, xctx_tstate())
        return {} if top is None else merge(top).copy()

    def __dir__(self):
        return sorted({*object.__dir__(self), *self.visible()})

    def __repr__(self):
        # Names only: a value's repr may be long, or read this xlocal.
        return f"<{type(self).__name__} ({self.key.name}): {', '.join(self.visible()) or 'nothing bound'}>"

    def __set_name__(self, owner, name):
        place = owner.__module__, f"{owner.__qualname__}.{name}"
        with cython.critical_section(self):
            if self.place is None:
                self.place = place

    def __reduce_ex__(self, protocol):
        """By module and name: another process has its own. TypeError if it has no name in any module."""
        from xctx._runtime.importable import find_name, object_at
        with cython.critical_section(self):   # another thread may be setting it
            place = self.place
        return object_at, find_name(self, place, self.made_in)


def key_of(xlocal store not None):
    """The key of an xlocal: no attribute, because programs may bind any name."""
    return store.key


cdef str maker_module():
    """The name of the module whose code runs."""
    cdef PyObject *names = PyEval_GetGlobals()
    cdef object name = None
    if names != NULL:
        name = (<dict><object>names).get("__name__")
    return name if isinstance(name, str) else None


cdef enum:
    NEAR = 16   # how many bindings an error looks through


cdef object why(object owner, object name):
    return why_unseen(<xlocal>owner, name, NEAR)


install_getattro(<PyObject*>xlocal, object(), b"has nothing bound to", why)


def init_subclass(cls, key=None, **kwargs):
    """Takes the key of a class and the names that it declares, and calls the hooks."""
    from xctx._stores.declare import annotated_names, take_factories
    super(xlocal, cls).__init_subclass__(**kwargs)
    xctx_inherit_vectorcall(<PyTypeObject*>cls, <PyTypeObject*>xlocal)
    if key is not None:
        cls.__xctx_key__ = as_key(key)
    names = annotated_names(cls)
    cls.__xctx_factories__ = take_factories(cls, names)
    for base in cls.__bases__:
        names |= getattr(base, "__xctx_names__", None) or frozenset()
    if names:
        cls.__xctx_names__ = names
    for hook in subclass_hooks:
        hook(cls)


# Both are filled as the rooms above are imported, hence in the order of their imports.
cdef list subclass_hooks = []
cdef list instance_hooks = []


def add_hooks(*, on_subclass, on_instance):
    """Lets a room above be called for each class derived from xlocal, and for each xlocal of such a class, when it is made.

    Hooks are called in the order in which they were added. For classes and xlocals that exist already they are called at
    once, base classes first and xlocals in the order in which they were made.

    Args:
        on_subclass: a callable that takes the class. Making the class raises what it raises.
        on_instance: a callable that takes the xlocal. Making the xlocal raises what it raises.

    Thread-safety: called while modules are imported, before other threads make classes.
    """
    subclass_hooks.append(on_subclass)
    instance_hooks.append(on_instance)
    cdef list classes = derived_classes()
    for cls in classes:
        on_subclass(cls)
    if classes:
        for store in derived_instances():
            on_instance(store)


cdef list derived_classes():
    cdef list classes = xlocal.__subclasses__()
    for cls in classes:   # it grows meanwhile
        classes += [each for each in type.__subclasses__(cls) if each not in classes]
    return classes


cdef list derived_instances():
    import gc   # needed only where a room is imported late
    stores = [each for each in gc.get_objects() if type(each) is not xlocal and issubclass(type(each), xlocal)]
    return sorted(stores, key=serial_of)


def serial_of(xlocal store):
    return store.serial


xctx_give_vectorcall(<PyTypeObject*>xlocal, VECTORCALL_OF_XLOCAL)
xctx_type_put(<PyObject*>xlocal, "__init_subclass__", classmethod(init_subclass))
xctx_type_put(<PyObject*>xlocal, "__xctx_key__", default_key)
xctx_type_put(<PyObject*>xlocal, "__xctx_names__", None)
xctx_type_put(<PyObject*>xlocal, "__xctx_factories__", None)
xctx_type_put(<PyObject*>xlocal, "__xctx_store__", True)   # a proxy looks names up in it, although it can be called


cdef object bind_call(PyObject *callable, PyObject **args, size_t nargsf, PyObject *kwnames):
    # xlocal.__call__ without a dict.
    cdef Py_ssize_t i, n = 0 if kwnames == NULL else PyTuple_GET_SIZE_(kwnames)
    cdef tuple values
    if PyVectorcall_NARGS(nargsf):
        raise TypeError(f"an xlocal binds keyword arguments, it was given {<object>args[0]!r} without a name")
    values = PyTuple_New(n)
    for i in range(n):
        Py_INCREF(<object>args[i])   # PyTuple_SET_ITEM takes this one over
        PyTuple_SET_ITEM(values, i, <object>args[i])
    return make_scope(<xlocal>callable, () if kwnames == NULL else <tuple>kwnames, values)


cdef Scope make_scope(xlocal owner, tuple names, tuple values):
    cdef PyObject *name
    cdef Py_ssize_t i
    for i in range(PyTuple_GET_SIZE(names)):
        if not is_interned(PyTuple_GET_ITEM_(<PyObject*>names, i)):
            plain = []
            for each in names:
                plain.append(interned(each))
            names = tuple(plain)
        name = PyTuple_GET_ITEM_(<PyObject*>names, i)
        if is_reserved(name):
            raise TypeError(f"cannot bind {<object>name!r}: names that start with an underscore are reserved")
        if owner.declared is not None and <object>name not in owner.declared:
            from xctx._stores.declare import undeclared
            raise undeclared(type(owner), <object>name, owner.declared)
    return new_scope(owner, names, values)


cdef Binding validated(xlocal owner, dict names):
    """Those names and values as a binding that is in no chain. TypeError where they cannot be bound."""
    cdef Scope scope = make_scope(owner, tuple(names), tuple(names.values()))
    return bind(owner, None, scope.names, scope.values, None, None, False)


if getattr(sys.flags, "thread_inherit_context", False):
    from xctx._stores.inherited import watch_threads
    watch_threads()
