# cython: language_level=3, freethreading_compatible=True, binding=True, embedsignature=True, embedsignature.format=python
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""xlocal: scoped, read-only names, visible to one execution unit.

A *binding* says: these names have these values, set by this unit. Bindings form a chain, the innermost first, whose top
is the value of a context variable, so a copied context has the same chain, and grows it or takes from it for itself.

    context A   [top] --> inner --> outer           with x(outer), x(inner): both of unit U
    context B   [top] --> other -----^              a copy made inside `outer`, with a binding of unit V on top

Reading takes the first binding of the current unit and those of the same unit beneath it. Leaving a block takes out the
binding which that block made, wherever it stands in the chain of the context that leaves; the part above is made anew, each
copy bearing the *mark* of the one it stands for, and bindings are never changed. In the common case (the binding is the top,
in the context it was made in) the context variable is reset by its token, so that nothing at all is left behind.

A context may be copied inside a block and live on when the block is left, and its own copies too: a timer that re-arms itself
inside a block would grow the chain for ever. A block that was left can take out nothing any more (its binding is *spent*),
so the spent bindings of a unit are merged, now and then, when a binding is put on top.
"""
cimport cython
from cpython.object cimport Py_TYPE, PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.tuple cimport PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM
from libc.stdint cimport intptr_t, uint64_t

from xctx._core cimport (CONTEXT, VALUE, Key, PyThreadState, Unit, as_key, xctx_tstate, xctx_type_put,
                         xctx_load_ptr, xctx_cas_ptr)
from xctx._runtime.functions cimport StepContext
from xctx import _core
from _functools import partial
from contextvars import ContextVar


from xctx._runtime.runtime cimport (connect, xctx_cache_entry as xctx_slot, xctx_cache_entry_of as slot_of,
                                    xctx_cache_hit as slot_hit, xctx_cache_set as slot_set,
                                    xctx_count_contexts as count_contexts, xctx_next_serial)

connect()

cdef extern from "xctx/_runtime/compat.h":
    void publish_before "xctx_publish_before"()
    object var_set "xctx_var_set"(object, object)
    int var_reset "xctx_var_reset"(object, object) except -1
    intptr_t add "xctx_add"(intptr_t *, intptr_t)

cdef extern from "xctx/_stores/getattro.h":
    PyObject *missing "xctx_missing"
    int install_getattro "xctx_install_getattro"(PyObject *, object, const char *) except -1

cdef extern from *:
    """
    #define XCTX_HAS_VECTORCALL(type, offset) do { \\
        (type)->tp_vectorcall_offset = (offset); \\
        (type)->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL; \\
    } while (0)
    /* 3.12 and later do this by themselves, and undo it should the class be given another __call__ afterwards. */
    #if PY_VERSION_HEX < 0x030C0000
    #  define XCTX_INHERIT_VECTORCALL(type, base) do { \\
        if (((PyTypeObject *)(type))->tp_call == ((PyTypeObject *)(base))->tp_call) \\
            ((PyTypeObject *)(type))->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL; \\
    } while (0)
    #else
    #  define XCTX_INHERIT_VECTORCALL(type, base)
    #endif
    #define XCTX_INTERNED(name) (PyUnicode_CheckExact(name) && PyUnicode_CHECK_INTERNED(name))
    #define XCTX_IS_BINDING(o, type) Py_IS_TYPE(o, (PyTypeObject *)(type))
    #ifdef Py_GIL_DISABLED
    #  define XCTX_FREE_THREADED 1
    #else
    #  define XCTX_FREE_THREADED 0
    #endif
    #define XCTX_RESERVED(name) (PyUnicode_GET_LENGTH(name) && PyUnicode_READ_CHAR(name, 0) == '_')
    """
    void give_vectorcall "XCTX_HAS_VECTORCALL"(PyTypeObject *, Py_ssize_t)
    void inherit_vectorcall "XCTX_INHERIT_VECTORCALL"(PyObject *, PyObject *)
    bint FREE_THREADED "XCTX_FREE_THREADED"
    bint is_interned "XCTX_INTERNED"(PyObject *)
    bint is_binding "XCTX_IS_BINDING"(PyObject *, PyObject *)
    bint is_reserved "XCTX_RESERVED"(PyObject *)
    Py_ssize_t PyVectorcall_NARGS(size_t)
    PyObject *PyTuple_GET_ITEM_ "PyTuple_GET_ITEM"(PyObject *, Py_ssize_t)
    Py_ssize_t PyTuple_GET_SIZE_ "PyTuple_GET_SIZE"(PyObject *)
    object PyObject_GenericGetAttr(object, object)
    PyObject *_PyType_Lookup(PyTypeObject *, PyObject *)
    PyObject *PyDict_GetItemWithError(PyObject *, PyObject *) except? NULL
    int get_variable "PyContextVar_Get"(PyObject *, PyObject *, PyObject **) except -1
    PyObject *PyEval_GetGlobals()


cdef extern from *:
    """
    #define XCTX_TAKE(o) (o)
    static PyObject *xctx_interned(PyObject *name) {
        Py_INCREF(name);
        PyUnicode_InternInPlace(&name);
        return name;
    }

    /* Chains are freed in a loop. CPython's own remedy for long chains, the trashcan, goes fifty frees deep before it stacks
     * the rest up, and some versions several times that: too deep for a thread that has 128 KB for all it does.
     *
     * The destructor that Cython made is called with nothing outside of the link any more; whatever it runs (finalisers,
     * which may switch greenlets) finds no state of this loop. Then the reference to the next link is let go of, and if that
     * was the last one, the destructor, called with what is awaited, leaves it to the loop. No count is looked at, so it does
     * not matter who else has the link, nor which thread owns it: one that is kept, or given to its owner, ends the loop. */
    typedef struct {
        PyTypeObject *type;
        destructor dealloc;
        Py_ssize_t outer;   /* where in an object the reference to the next link stands */
    } xctx_links;
    static xctx_links xctx_chained[2];           /* of the process: types are static. Never changes once the module is loaded */
    static XCTX_TLS PyObject *xctx_awaited;      /* of the thread: compared only, and NULL whenever code of anybody else runs */

    static void xctx_free_link(PyObject *link) {
        const xctx_links *kind = &xctx_chained[Py_TYPE(link) != xctx_chained[0].type];
        if (link == xctx_awaited) {
            xctx_awaited = NULL;
            PyObject_GC_UnTrack(link);
            return;
        }
        for (;;) {
            PyObject **at = (PyObject **)((char *)link + kind->outer);
            PyObject *outer = *at;
            *at = NULL;
            kind->dealloc(link);
            if (outer == NULL) return;
            xctx_awaited = outer;
            Py_DECREF(outer);
            if (xctx_awaited != NULL) {   /* somebody has it still, or it is None */
                xctx_awaited = NULL;
                return;
            }
            link = outer;
        }
    }
    #define XCTX_OUTER(link) ((PyObject **)&(link)->outer)   /* Cython takes no address of a reference */
    static void xctx_free_chain(int i, PyObject *any, PyObject **outer) {
        PyTypeObject *type = Py_TYPE(any);
        if (type->tp_dealloc == xctx_free_link) return;
        xctx_chained[i].type = type;
        xctx_chained[i].dealloc = type->tp_dealloc;
        xctx_chained[i].outer = (char *)outer - (char *)any;
        type->tp_dealloc = xctx_free_link;
    }
    """
    PyObject **outer_of_binding "XCTX_OUTER"(Binding)
    PyObject **outer_of_entry "XCTX_OUTER"(Entry)
    void free_chain "xctx_free_chain"(int, PyObject *, PyObject **)
    object interned "xctx_interned"(object)
    Binding take_binding "XCTX_TAKE"(PyObject *)   # takes the reference over


include "bindings.pxi"


cdef void free_in_a_loop(Binding any_binding, Entry any_entry) except *:
    # A chain may be of any length, and so may the entries of one block: there may be any number of xlocals.
    free_chain(0, <PyObject*>any_binding, outer_of_binding(any_binding))
    free_chain(1, <PyObject*>any_entry, outer_of_entry(any_entry))


free_in_a_loop(Binding.__new__(Binding), Entry.__new__(Entry))


# --- xlocal ----------------------------------------------------------------------------------------------------------

cdef class xlocal:
    """Scoped, read-only names of one execution unit.

    ``with x(a=1):`` binds; ``x.a`` reads; nothing leaks out of the block, nor to other units. What a unit is, `key` says.
    A subclass may declare its names, with types and defaults: then only those can be bound::

        class Current(xctx.xlocal):
            request: Request
            user: User | None = None

    Args:
        key: one of :mod:`xctx.keys`, or a callable that returns a hashable. Default: the class's key, which is
            :data:`xctx.keys.greenlet` unless ``class C(xctx.xlocal, key=...)`` says otherwise.

    Raises:
        TypeError: `key` is neither.

    Thread-safety: all operations, from any thread.
    Lifetime: an xlocal is held by what is bound through it while that is bound. Without the GIL, one that several threads
        read ten thousand times lives from then on as long as a function or module does there: on 3.13t for ever.
    """
    def __cinit__(self, *args, key=None, **kwargs):
        self.key = default_key
        self.declared = None
        if type(self) is not xlocal:
            self.key = type(self).__xctx_key__ if key is None else as_key(key)
            self.declared = type(self).__xctx_names__
        elif key is not None:
            self.key = as_key(key)
        self.serial = xctx_next_serial()
        self.var = ContextVar("xctx.xlocal")
        self.made_in = maker_module()
        self.vectorcall = <vectorcallfunc>bind_call
        enlist(self)
        if type(self).__xctx_carried__:
            from xctx._wire.fields import register
            register(self, type(self).__xctx_carried__)

    def __dealloc__(self):
        if self.vectorcall != NULL:   # or else making it failed
            strike(self)

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

        Raises:
            TypeError: a name starts with ``_``, or is not one that the class declares, or an argument has no name.
        """
        if args:
            raise TypeError(f"an xlocal binds keyword arguments, it was given {args[0]!r} without a name")
        return make_scope(self, tuple(names), tuple(names.values()))

    def __getattribute__(self, name):
        cdef PyThreadState *tstate = xctx_tstate()
        cdef xctx_slot *slot = slot_of(self.serial)
        cdef PyObject *value = NULL
        cdef PyObject *found
        cdef Binding top
        # At the end of a thread its context is taken down with no change of version, and finalisers may make another.
        if slot_hit(slot, self.serial, tstate, <PyObject*>self) and slot.context == tstate.context:
            # The variable is asked each time. Others may set it too: there is code that copies whole contexts so.
            get_variable(<PyObject*>self.var, NULL, &value)
            if value == NULL:
                top = None
            elif is_binding(value, <PyObject*>Binding) and <void*>(<Binding>value).unit == slot.what:
                top = take_binding(value)
            else:
                Py_DECREF(<object>value)
                top = find_binding(self, tstate)
        else:
            top = find_binding(self, tstate)
        if top is not None:
            found = look_up(top, <PyObject*>name)
            if found != NULL:
                return <object>found
        if _PyType_Lookup(Py_TYPE(self), <PyObject*>name) != NULL:
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
        cdef Binding top = find_binding(self, xctx_tstate())
        return {} if top is None else merge(top).copy()

    def __dir__(self):
        return sorted({*object.__dir__(self), *self.visible()})

    def __repr__(self):
        # Names only: a value's repr may be long, or read this xlocal.
        return f"<{type(self).__name__} ({self.key.name}): {', '.join(self.visible()) or 'nothing bound'}>"

    def __set_name__(self, owner, name):
        if self.place is None:
            self.place = owner.__module__, f"{owner.__qualname__}.{name}"

    def __reduce_ex__(self, protocol):
        """By module and name: another process has its own. TypeError where it stands under no name in any module."""
        from xctx._carry.places import find_place, thing_at
        return thing_at, find_place(self, self.place, self.made_in)


cdef str maker_module():
    """The name of the module whose code runs."""
    cdef PyObject *names = PyEval_GetGlobals()
    cdef object name = None
    if names != NULL:
        name = (<dict><object>names).get("__name__")
    return name if isinstance(name, str) else None


install_getattro(<PyObject*>xlocal, object(), b"'%.200s' object has nothing bound to '%S' here")

cdef Key default_key = _core.greenlet


def init_subclass(cls, key=None, **kwargs):
    """Takes the key of a class, the names that it declares, and those that it carries to other machines."""
    from xctx._wire.fields import class_fields
    from xctx._stores.declare import annotated_names
    super(xlocal, cls).__init_subclass__(**kwargs)
    inherit_vectorcall(<PyObject*>cls, <PyObject*>xlocal)
    if key is not None:
        cls.__xctx_key__ = as_key(key)
    names = annotated_names(cls)
    for base in cls.__bases__:
        names |= getattr(base, "__xctx_names__", None) or frozenset()
    if names:
        cls.__xctx_names__ = names
        cls.__xctx_carried__ = class_fields(cls)


xctx_type_put(<PyObject*>xlocal, "__init_subclass__", classmethod(init_subclass))
xctx_type_put(<PyObject*>xlocal, "__xctx_key__", default_key)
xctx_type_put(<PyObject*>xlocal, "__xctx_names__", None)
xctx_type_put(<PyObject*>xlocal, "__xctx_carried__", None)
xctx_type_put(<PyObject*>xlocal, "__xctx_store__", True)   # a proxy looks names up in it, though it can be called


cdef object bind_call(PyObject *callable, PyObject **args, size_t nargsf, PyObject *kwnames):
    # xlocal.__call__ without a dict on the way.
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
    cdef Scope scope
    cdef PyObject *name
    cdef Py_ssize_t i
    for i in range(PyTuple_GET_SIZE(names)):
        name = PyTuple_GET_ITEM_(<PyObject*>names, i)
        if is_reserved(name):
            raise TypeError(f"cannot bind {<object>name!r}: names that start with an underscore are reserved")
        if owner.declared is not None and <object>name not in owner.declared:
            from xctx._stores.declare import undeclared
            raise undeclared(type(owner), <object>name, owner.declared)
        if not is_interned(name):
            names = tuple([interned(str(each)) for each in names])
    scope = Scope.__new__(Scope)
    scope.vectorcall = <vectorcallfunc>scope_call
    scope.owner = owner
    scope.names = names
    scope.values = values
    return scope


# --- scopes ----------------------------------------------------------------------------------------------------------

@cython.final
@cython.freelist(64)
cdef class Scope:
    """What calling an xlocal returns: names and values that can be bound for a block, again and again.

    Thread-safety: may be entered in several units at the same time, from any thread.
    Lifetime: holds its values as long as it lives; what was bound through it, until the block is left.
    """
    cdef vectorcallfunc vectorcall
    cdef xlocal owner           # these three never change once it is made
    cdef tuple names
    cdef tuple values
    # One block that is entered and not left, which is all that most have; the others stand in `more`. Guarded by the
    # critical section of the scope.
    cdef Binding entry
    cdef object token           # of its context variable, to leave no trace
    cdef PyObject *context      # the context it was made in: compared only, the token keeps it alive
    cdef list more

    cdef object enter(self):
        cdef xlocal owner = self.owner
        cdef Unit unit = None if owner.key.rung == CONTEXT else owner.key.find(True)
        cdef Binding top = chain_of(owner)
        cdef Binding made
        if top is not None and top.depth >= top.compact_at:
            top = compact(top)
        made = bind(owner, unit, self.names, self.values, top, None, False)
        with cython.critical_section(self):
            if self.entry is None:
                self.entry = made
                self.token = var_set(owner.var, made)
                self.context = xctx_tstate().context
            else:
                self.more = [made] if self.more is None else [*self.more, made]
                var_set(owner.var, made)
        entered(owner, unit)
        return owner

    cdef object leave(self):
        cdef xlocal owner = self.owner
        cdef Binding entry
        cdef Binding top = chain_of(owner)
        cdef object token
        cdef PyObject *context
        with cython.critical_section(self):
            if self.more is None:
                entry = self.entry
                token = self.token
                context = self.context
                self.entry = None
                self.token = None
            else:
                entry = self.pick(top)
                if entry is self.entry:
                    token = self.token
                    context = self.context
                    self.entry = None
                    self.token = None
                else:
                    token = None
                    context = NULL
                    self.more = [each for each in self.more if each is not entry] or None
        if entry is None:
            raise RuntimeError("this binding is left, but it was not entered")
        unbind(entry, top, token, context)
        return False

    cdef Binding pick(self, Binding top):
        """Which of several entries this exit is about: the innermost here, or else the last of this unit, or the last."""
        cdef list entries = self.more if self.entry is None else [self.entry] + self.more
        cdef Binding link = top
        cdef Unit unit
        while link is not None:
            for entry in entries:
                if stands_for(link, entry):
                    return entry
            link = link.outer
        unit = None if self.owner.key.rung == CONTEXT else self.owner.key.find(False)
        for entry in reversed(entries):
            if (<Binding>entry).unit is unit:
                return entry
        return entries[len(entries) - 1] if entries else None

    def __call__(self, *args):
        """Decorates a function, coroutine function, generator or async generator: what it runs, runs with these bound.

        A generator has them bound while it runs, not while it is suspended.
        """
        if len(args) == 0:
            return self.enter()
        if len(args) == 3:
            return self.leave()
        if len(args) != 1:
            raise TypeError(f"a binding decorates one function, it was given {args!r}")
        from xctx._runtime.wrappers import wrap
        return wrap(args[0], partial(ScopeSteps, self), "a binding decorates")

    cdef Scope again(self):
        """Another of the same, not entered."""
        return make_scope(self.owner, self.names, self.values)

    def __repr__(self):
        return f"<binding of {', '.join(self.names) or 'nothing'} for {self.owner!r}>"

    def __reduce_ex__(self, protocol):
        raise TypeError("cannot pickle a binding of an xlocal: bind the values where they are needed")


@cython.final
cdef class ScopeSteps(StepContext):
    """Binds what a scope does for each step of a call; for an awaitable until it is done, as a with statement would."""
    cdef Scope scope   # of this call alone; never changes

    def __init__(self, Scope scope not None):
        self.scope = scope.again()

    cdef int enter(self) except -1:
        self.scope.enter()
        return 0

    cdef int leave(self) except -1:
        self.scope.leave()
        return 0

    cdef bint spans_awaits(self) noexcept:
        return True


@cython.final
cdef class Step:
    """``__enter__`` and ``__exit__`` of a scope.

    A with statement binds both to the scope before it calls them, and drops what it bound: two objects made for nothing, which
    cost as much as the rest of the block's own work. So binding gives the scope itself, and the scope tells by the number
    of arguments which of them is called: none for the one, three for the other.
    """

    def __get__(self, scope, cls):
        return self if scope is None else scope

    def __call__(self, scope, *args):
        return scope(*args)


cdef object scope_call(PyObject *scope, PyObject **args, size_t nargsf, PyObject *kwnames):
    # Scope.__call__ without a tuple on the way.
    cdef Py_ssize_t n = PyVectorcall_NARGS(nargsf)
    if kwnames != NULL and PyTuple_GET_SIZE_(kwnames):
        raise TypeError(f"a binding takes no keyword arguments, it was given {<object>kwnames!r}")
    if n == 0:
        return (<Scope>scope).enter()
    if n == 3:
        return (<Scope>scope).leave()
    return Scope.__call__(<object>scope, *[<object>args[i] for i in range(n)])


cdef void install_calls(xlocal any_xlocal, Scope any_scope) except *:
    give_vectorcall(<PyTypeObject*>xlocal, <char*>&any_xlocal.vectorcall - <char*><PyObject*>any_xlocal)
    give_vectorcall(<PyTypeObject*>Scope, <char*>&any_scope.vectorcall - <char*><PyObject*>any_scope)
    xctx_type_put(<PyObject*>Scope, "__enter__", Step())
    xctx_type_put(<PyObject*>Scope, "__exit__", Step())


install_calls(xlocal(), xlocal()())
