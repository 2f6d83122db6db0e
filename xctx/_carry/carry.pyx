# cython: language_level=3, freethreading_compatible=True, binding=True, embedsignature=True, embedsignature.format=python
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Carry: bindings taken along, on purpose, to another unit.

A *snapshot* holds what the unit that took it saw: for each xlocal one flat binding, which has no chain beneath and so keeps
nothing alive but what is visible. Bindings never change, so taking one costs the same whatever it holds.

Applying a snapshot binds anew, for the unit that applies it, behind a *wall*: within, each xlocal of the snapshot shows
exactly what it showed when the snapshot was taken. A snapshot of all xlocals also puts an empty wall before the others.

    unit U   [top] --> a=1, b=2                     capture() in U
    unit V   [top] --> a=1, b=2 | c=3               applied in V, which has bound c outside: seen again at the end

A *home* is a context of its own for one generator or coroutine, which therefore shows nobody what it binds while it is
suspended. What it saw and bound is given to the unit that resumes it, where that is another one than before.
"""
cimport cython
from cpython.object cimport PyObject, PyTypeObject
from cpython.tuple cimport PyTuple_GET_SIZE

from xctx._core cimport (CONTEXT, GREENLET, TASK, THREAD, Key, PyThreadState, Unit, fork_generation, xctx_tstate,
                         xctx_type_put)
from xctx._runtime.runtime cimport connect
from xctx._stores.bindings cimport Binding, CopyGroup, bind, flatten, group_of
from xctx._stores.blocks cimport (FREE_THREADED, BoundEntry, bind_snapshot, binding_here, chain_of, each_chain, end_visit,
                                  transfer_to_unit, unbind_entry, visible_here, visit_context)
from xctx._stores.statements cimport (Block, BlockKind, OpenByHand, by_hand, install_block_methods, new_block,
                                      vectorcallfunc)
from xctx._stores.xlocal cimport validated, xlocal
from xctx._runtime.functions cimport StepContext
from xctx._runtime.runtime cimport connect
from xctx import _core
from contextvars import ContextVar, Token
from _functools import partial
from types import MethodType


cdef extern from "xctx/_runtime/compat.h":
    object var_set "xctx_var_set"(object, object)
    int var_reset "xctx_var_reset"(object, object) except -1
    void publish_before "xctx_publish_before"()

cdef extern from *:
    """
    /* Methods and functions that take their arguments as they come, with no tuple and no dict. */
    static PyMethodDef xctx_fast_defs[2];
    static PyObject *xctx_fast(int i, PyTypeObject *type, PyObject *module, const char *name, void *func, const char *doc) {
        xctx_fast_defs[i].ml_name = name;
        xctx_fast_defs[i].ml_meth = (PyCFunction)func;
        xctx_fast_defs[i].ml_flags = METH_FASTCALL | METH_KEYWORDS;
        xctx_fast_defs[i].ml_doc = doc;
        return type != NULL ? PyDescr_NewMethod(type, &xctx_fast_defs[i]) : PyCFunction_NewEx(&xctx_fast_defs[i], NULL, module);
    }
    #define XCTX_HAS_VECTORCALL(type, offset) do { \
        (type)->tp_vectorcall_offset = (offset); \
        (type)->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL; \
    } while (0)
    #define XCTX_IS_XLOCAL(o, type) PyObject_TypeCheck(o, (PyTypeObject *)(type))
    """
    object make_fast "xctx_fast"(int, PyTypeObject *, object, const char *, void *, const char *)
    void give_vectorcall "XCTX_HAS_VECTORCALL"(PyTypeObject *, Py_ssize_t)
    bint is_xlocal "XCTX_IS_XLOCAL"(PyObject *, PyObject *)
    object PyObject_Vectorcall(PyObject *, PyObject **, size_t, PyObject *)
    Py_ssize_t PyVectorcall_NARGS(size_t)
    object PyObject_GenericGetAttr(object, object)
    object PyContext_CopyCurrent()
    int PyContext_Enter(object) except -1
    int PyContext_Exit(object) except -1

connect()


connect()

cdef object MISSING = Token.MISSING

# Of each context: what the applications that are open in it set context variables to, as a tuple of `Layer`, the last one last.
cdef object layers_here = ContextVar("xctx.variables")


# --- snapshots -------------------------------------------------------------------------------------------------------

@cython.final
@cython.freelist(32)
cdef class Applied:
    """One application of a snapshot, until it is undone."""
    cdef Snapshot snapshot  # while it is being applied
    cdef BoundEntry entries # what was bound, the last first
    cdef BoundEntry main    # of these the one of the snapshot's first binding, or None
    cdef list variables     # of context variables that came along: (layer, token, address of the token's context)


@cython.final
cdef class Layer:
    """What one application set one context variable to. A context may have a copy, for there is another one beneath it now."""
    cdef Layer first        # the one that the application made, and of which this is a copy; None where it is that one
    cdef object var
    cdef object value
    cdef object beneath     # what the variable is where this is taken out
    cdef bint left          # of the first one: its application was undone, so nobody will take it out of anywhere again
    # What puts back `beneath`, for a copy. Of the first one it is with the application: each context that is copied has the
    # layer, and is not to keep alive the context that it was copied from, which the token does.
    cdef object token
    cdef size_t context


cdef object capture_call(PyObject *module, PyObject **args, Py_ssize_t n, PyObject *kwnames):
    cdef Snapshot taken = Snapshot.__new__(Snapshot)
    cdef PyThreadState *tstate = xctx_tstate()
    cdef Binding top
    cdef Py_ssize_t i
    taken.walls = True
    for i in range(n):
        if not is_xlocal(args[i], <PyObject*>xlocal):
            raise TypeError(f"capture takes xlocals, it was given {<object>args[i]!r}")
        if not taken.has(<xlocal>args[i]):
            top = binding_here(<xlocal>args[i], tstate)
            taken.add(empty(<xlocal>args[i]) if top is None else flatten(top))
    if n == 0:
        taken.whole = True
        if tstate.context != NULL:
            each_chain(tstate, take_seen, <void*>taken)
    if kwnames != NULL:
        for i in range(PyTuple_GET_SIZE(<tuple>kwnames)):
            name = (<tuple>kwnames)[i]
            if name == "contextvars":
                taken.take_variables(<object>args[n + i])
            elif name == "missing":
                taken.skips = skips(<object>args[n + i])
            else:
                raise TypeError(f"capture takes contextvars and missing, and no keyword argument {name!r}")
    return taken


cdef int take_seen(Binding top, void *taken) except -1:
    top = visible_here(top, xctx_tstate())
    if top is not None and (top.extends_outer or PyTuple_GET_SIZE(top.names)):
        (<Snapshot>taken).add(flatten(top))
    return 0


cdef Binding empty(xlocal owner):
    return bind(owner, None, (), (), None, None, False)


cdef bint skips(object missing) except *:
    if missing != "error" and missing != "skip":
        raise ValueError(f"missing is 'error' or 'skip', not {missing!r}")
    return missing == "skip"


@cython.final
cdef class Rest:
    """What few snapshots have."""
    cdef list variables     # (variable, value), or None
    cdef tuple absent       # what came from another process and was not looked for yet, or None
    cdef OpenByHand opened  # or None: set once, under the critical section


@cython.final
@cython.freelist(32)
cdef class Snapshot:
    """What one unit saw in xlocals, to be seen by others. :func:`capture` takes it.

    ``with snapshot:`` and :meth:`run` bind it for the unit that runs, until the block or call ends. Within, each xlocal of
    the snapshot shows what it showed when the snapshot was taken, and nothing that the unit bound outside; a snapshot
    of all xlocals shows nothing in any other. What is bound within comes on top, as ever. ``snapshot(f)`` gives `f` wrapped
    so that it runs so: see :func:`carry`.

    A snapshot may be applied any number of times, nested, in many units at once, in the unit that it came from. It pickles, as
    the names and values of xlocals that the other process finds by module and qualified name; what cannot go is named in
    one TypeError, or left out with ``capture(missing="skip")``. An xlocal that the other process lacks is named in a
    LookupError there, when the snapshot is applied.

    Thread-safety: all operations, from any thread.
    Lifetime: holds what was visible, as long as it lives; what was bound by applying it, until the block or call ends.
    """
    # None of these changes once it is made, but for what was absent and is found.
    cdef Binding first      # flat; of most snapshots the only one
    cdef list others        # more of them, or None
    cdef Rest rest          # what most snapshots do not have, or None
    cdef bint whole         # of all xlocals: what is not in it is not seen either
    cdef bint walls         # what the unit bound outside is not seen
    cdef bint skips         # pickling leaves out what cannot go
    cdef object __weakref__

    cdef void add(self, Binding flat) except *:
        if self.first is None:
            self.first = flat
        elif self.others is None:
            self.others = [flat]
        else:
            self.others.append(flat)

    cdef list bindings(self):
        return [] if self.first is None else [self.first] if self.others is None else [self.first, *self.others]

    cdef Rest more(self):
        """The rest, made where there is none."""
        with cython.critical_section(self):
            if self.rest is None:
                rest = Rest.__new__(Rest)
                publish_before()
                self.rest = rest
            return self.rest

    cdef tuple absent(self):
        """What came from another process and was not looked for yet, or None."""
        cdef Rest rest = self.rest
        if rest is None:
            return None
        with cython.critical_section(rest):   # whoever finds it lets go of it
            return rest.absent

    cdef void take_variables(self, contextvars) except *:
        cdef list taken = []
        for var in contextvars:
            if not isinstance(var, ContextVar):
                raise TypeError(f"contextvars are context variables, not {var!r}")
            value = var.get(MISSING)
            if value is not MISSING:
                taken.append((var, value))
        if taken:
            self.more().variables = taken

    cdef Applied apply(self, bint shared):
        """Binds all for the current unit. What is shared is left as it is where the unit is the one that took it."""
        cdef Applied applied = Applied.__new__(Applied)
        cdef Rest rest = self.rest
        if rest is not None and rest.absent is not None:
            self.find_absent(rest)
        try:
            if self.whole and not shared and xctx_tstate().context != NULL:
                applied.snapshot = self
                each_chain(xctx_tstate(), hide_others, <void*>applied)
                applied.snapshot = None
            if self.first is not None:
                self.put_one(applied, self.first, shared)
                applied.main = applied.entries
            if self.others is not None:
                for flat in self.others:
                    self.put_one(applied, <Binding>flat, shared)
            if rest is not None and rest.variables is not None and not shared:
                applied.variables = []
                for var, value in rest.variables:
                    set_variable(applied, var, value)
        except BaseException:
            undo(applied)
            raise
        return applied

    cdef void put_one(self, Applied applied, Binding flat, bint shared) except *:
        cdef Key key = (<xlocal>flat.owner).key
        if shared and (key.inherits or flat.unit is not None and key.find(False) is flat.unit):
            return
        applied.entries = bind_snapshot(flat, self.walls, applied.entries)

    cdef bint has(self, xlocal owner) noexcept:
        if self.first is None or self.first.owner is owner:
            return self.first is not None
        if self.others is not None:
            for flat in self.others:
                if (<Binding>flat).owner is owner:
                    return True
        return False

    cdef void find_absent(self, Rest rest) except *:
        from xctx._runtime.importable import object_of_type_at
        cdef Snapshot found = Snapshot.__new__(Snapshot)
        cdef tuple absent = self.absent()
        if absent is None:   # another thread was faster
            return
        named, variables = absent
        for place, names in named:
            found.add(validated(object_of_type_at(xlocal, *place), names))
        variables = [(object_of_type_at(ContextVar, *place), value) for place, value in variables]
        with cython.critical_section(rest):
            if rest.absent is not None:
                self.first = found.first
                self.others = found.others
                rest.variables = variables or None
                publish_before()
                rest.absent = None

    def __getattribute__(self, name):
        if name == "__enter__" or name == "__exit__":
            return by_hand(self, name)
        return PyObject_GenericGetAttr(self, name)

    def __call__(self, func):
        """Gives `func` wrapped so that it runs with this snapshot applied: see :func:`carry`."""
        from xctx._runtime.wrappers import wrap
        return wrap(func, partial(Home, self), "a snapshot wraps", partial(Carried, self))

    def __repr__(self):
        cdef Binding each
        cdef tuple absent = self.absent()
        if absent is not None:
            told = [f"{place[1]}: {', '.join(names) or 'nothing'}" for place, names in absent[0]]
        else:
            told = []
            for each in self.bindings():
                told.append(f"{type(each.owner).__name__}: {', '.join(each.names) or 'nothing'}")
        return f"<snapshot of {'; '.join(told) or 'nothing'}>"

    def __reduce_ex__(self, protocol):
        from xctx._carry.portable import portable
        cdef Binding each
        cdef Rest rest = self.rest
        cdef tuple absent = self.absent()
        if absent is not None:
            named, variables = absent
        else:
            named = []
            for each in self.bindings():
                named.append((each.owner, dict(zip(each.names, each.values))))
            variables = [] if rest is None or rest.variables is None else rest.variables
        return arrive, (self.whole, self.walls, self.skips, portable(named, variables, protocol, self.skips))


cdef object run_call(PyObject *snapshot, PyObject **args, Py_ssize_t n, PyObject *kwnames):
    cdef Applied applied
    if n == 0:
        raise TypeError("run calls a function, it was given none")
    applied = (<Snapshot>snapshot).apply(False)
    try:
        return PyObject_Vectorcall(args[0], args + 1, n - 1, kwnames)
    finally:
        undo(applied)


def arrive(whole, walls, skips, absent):
    """A snapshot from another process: how one is unpickled. It looks for its xlocals when it is applied."""
    cdef Snapshot made = Snapshot.__new__(Snapshot)
    made.whole, made.walls, made.skips = whole, walls, skips
    made.more().absent = absent
    return made


def snapshot_of(bindings, walls=True):
    """A snapshot made by hand, of an iterable of (xlocal, dict of names and values); not a whole one.

    Args:
        walls: whether each xlocal shows, where it is applied, only the names given here.
    """
    cdef Snapshot made = Snapshot.__new__(Snapshot)
    made.walls = walls
    for owner, names in bindings:
        made.add(validated(owner, names))
    return made


cdef int hide_others(Binding top, void *arg) except -1:
    cdef Applied applied = <Applied>arg
    # Whatever the unit has bound is hidden, also what a wall hides already: that one may be taken out before this one.
    if not applied.snapshot.has(<xlocal>top.owner) and visible_here(top, xctx_tstate()) is not None:
        applied.entries = bind_snapshot(empty(<xlocal>top.owner), True, applied.entries)
    return 0


def current_context():
    """The context that is current itself, no copy; made where there was none."""
    if xctx_tstate().context == NULL:
        PyContext_CopyCurrent()
    return <object>xctx_tstate().context


# What a with statement does with a snapshot, and what an ExitStack or a hook does: see xctx._stores.statements.

cdef object enter(Block block):
    cdef Snapshot snapshot = <Snapshot>block.opener
    block.undo = snapshot.apply(False)
    block.opener = None
    return snapshot


cdef object leave(Block block):
    applied = block.undo
    if applied is None:
        raise RuntimeError("this snapshot's block is left, but it was not entered")
    block.undo = None
    undo(<Applied>applied)
    return False


cdef object enter_by_hand(object opener):
    cdef Snapshot snapshot = <Snapshot>opener
    cdef OpenByHand opened = opened_by_hand(snapshot)
    cdef Block block = new_block(snapshot, &KIND)
    cdef CopyGroup group
    cdef BoundEntry main
    enter(block)
    try:
        main = (<Applied>block.undo).main
        if main is None:   # it binds nothing: no chain says where it is open
            opened.add(CopyGroup.__new__(CopyGroup), TASKS.find(True), block)
        else:
            opened.add(group_of(main.made), main.made.unit, block)
    except BaseException:
        leave(block)
        raise
    return snapshot


cdef object leave_by_hand(object opener):
    """Leaves the innermost block here that was entered by hand, or else the last one of this unit, or the last one."""
    cdef Snapshot snapshot = <Snapshot>opener
    cdef OpenByHand opened = opened_by_hand(snapshot)
    cdef Binding first = snapshot.first
    cdef Key key = TASKS if first is None else (<xlocal>first.owner).key
    cdef Block block = opened.take_innermost(None if first is None else chain_of(<xlocal>first.owner))
    if block is None:
        block = opened.take_last(None if key.inherits else key.find(False))
    if block is None:
        raise RuntimeError("this snapshot's block is left, but it was not entered")
    return leave(block)


cdef OpenByHand opened_by_hand(Snapshot snapshot):
    cdef Rest rest = snapshot.more()
    with cython.critical_section(rest):
        if rest.opened is None:
            opened = OpenByHand.__new__(OpenByHand)
            publish_before()
            rest.opened = opened
        return rest.opened


cdef BlockKind KIND
KIND.enter = enter
KIND.leave = leave
KIND.enter_by_hand = enter_by_hand
KIND.leave_by_hand = leave_by_hand
install_block_methods(Snapshot, &KIND)


cdef void undo(Applied applied) except *:
    cdef BoundEntry entry = applied.entries   # not taken out: another thread may be looking which block its exit is about
    if applied.variables is not None:
        for layer, token, context in reversed(applied.variables):
            put_back(<Layer>layer, token, context)
            if not FREE_THREADED and <size_t>context != <size_t>xctx_tstate().context:
                put_back_there(<Layer>layer, token, context)
    while entry is not None:
        unbind_entry(entry)
        entry = entry.outer


cdef void set_variable(Applied applied, object var, object value) except *:
    cdef Layer layer = Layer.__new__(Layer)
    cdef list layers = []
    # A context that was copied while an application was open keeps what it set, and nobody takes it out there: such a one
    # is forgotten here, or else a timer that re-arms itself would have more of them each time.
    for each in layers_here.get(()):
        if not first_of(<Layer>each).left:
            layers.append(each)
    layer.var = var
    layer.value = value
    layer.beneath = var.get(MISSING)
    token = var_set(var, value)
    applied.variables.append((layer, token, <size_t>xctx_tstate().context))
    layers.append(layer)
    var_set(layers_here, tuple(layers))


cdef Layer first_of(Layer layer):
    return layer if layer.first is None else layer.first


cdef void put_back(Layer gone, object token, size_t context) except *:
    """Takes a layer out of those of the current context. What was beneath is seen again, or beneath the next one."""
    cdef list layers = list(layers_here.get(()))
    cdef Layer here, above
    cdef Py_ssize_t at, i
    gone.left = True
    for at in range(len(layers)):
        if first_of(<Layer>layers[at]) is gone:
            break
    else:
        return   # it was not applied in this context, nor in the one that this is a copy of
    here = layers.pop(at)
    if here.token is not None:
        token, context = here.token, here.context
    if context != <size_t>xctx_tstate().context:
        token = None   # this is a copy of the context that it was set in
    for i in range(at, len(layers)):
        if (<Layer>layers[i]).var is here.var:
            above = Layer.__new__(Layer)
            above.first = first_of(<Layer>layers[i])
            above.var = here.var
            above.value = (<Layer>layers[i]).value
            above.beneath = here.beneath
            above.token = token
            above.context = context
            layers[i] = above
            break
    else:
        if here.var.get(MISSING) is here.value:   # or else somebody set another one since
            if token is not None:
                var_reset(here.var, token)
            elif here.beneath is not MISSING:
                var_set(here.var, here.beneath)
    var_set(layers_here, tuple(layers))


cdef void put_back_there(Layer gone, object token, size_t context) except *:
    # In the context that it was set in, which is not the current one. Without the GIL another thread may be changing it.
    cdef object held   # until the visit is over
    cdef bint collects
    cdef PyObject *here = visit_context(<PyObject*>context, &collects)
    try:
        held = layers_here.get(()), gone.var.get(MISSING)
        put_back(gone, token, context)
    finally:
        end_visit(here, collects)


@cython.final
cdef class AppliedBlock:
    """A block in which a snapshot is applied, to be entered once."""
    cdef Snapshot snapshot
    cdef Applied applied
    cdef bint shared

    def __init__(self, Snapshot snapshot not None, bint shared=False):
        self.snapshot = snapshot
        self.shared = shared

    def __enter__(self):
        self.applied = self.snapshot.apply(self.shared)
        return self

    def __exit__(self, *exc):
        cdef Applied applied = self.applied
        self.applied = None
        if applied is not None:
            undo(applied)
        return False


# --- carry -----------------------------------------------------------------------------------------------------------

def carry(func):
    """Gives `func` wrapped so that it runs with what this unit sees now, wherever and whenever it is called.

    The snapshot is taken by this call, of all xlocals, as by :func:`capture`; take one yourself to choose:
    ``capture(current, contextvars=[var])(func)``.

    Args:
        func: a callable, coroutine function, generator function or async generator function. The latter three run in a
            context of their own: see :func:`isolated`.

    Returns:
        A callable of the same kind. Where `func` is none of the latter three, it pickles if `func` and the values do.

    Raises:
        TypeError: `func` is not callable.
    """
    return capture()(func)


@cython.final
@cython.freelist(16)
cdef class Carried:
    """A callable together with the snapshot that it is called in."""
    cdef vectorcallfunc vectorcall
    cdef readonly Snapshot snapshot
    cdef readonly object __wrapped__
    cdef object __weakref__

    def __init__(self, Snapshot snapshot not None, func):
        self.snapshot = snapshot
        self.__wrapped__ = func
        self.vectorcall = <vectorcallfunc>carried_call

    def __call__(self, *args, **kwargs):
        return self.snapshot.run(self.__wrapped__, *args, **kwargs)

    def __get__(self, instance, cls):
        return self if instance is None else MethodType(self, instance)

    def __getattr__(self, name):
        return getattr(self.__wrapped__, name)

    def __repr__(self):
        return f"<{self.__wrapped__!r} with {self.snapshot!r}>"

    def __reduce_ex__(self, protocol):
        from xctx._runtime.importable import is_at, object_at
        module = getattr(self.__wrapped__, "__module__", None)
        name = getattr(self.__wrapped__, "__qualname__", None)
        if is_at(self, module, name):   # it decorates what has that name, which would not be found under it
            return object_at, (module, name)
        return Carried, (self.snapshot, self.__wrapped__)


cdef object carried_call(PyObject *carried, PyObject **args, size_t nargsf, PyObject *kwnames):
    # Carried.__call__ without a tuple on the way.
    cdef Applied applied = (<Carried>carried).snapshot.apply(False)
    try:
        return PyObject_Vectorcall(<PyObject*>(<Carried>carried).__wrapped__, args, PyVectorcall_NARGS(nargsf), kwnames)
    finally:
        undo(applied)


cdef void install_calls(Carried any_carried) except *:
    give_vectorcall(<PyTypeObject*>Carried, <char*>&any_carried.vectorcall - <char*><PyObject*>any_carried)
    xctx_type_put(<PyObject*>Snapshot, "run", make_fast(0, <PyTypeObject*>Snapshot, None, b"run", <void*>run_call, RUN_DOC))


cdef const char *RUN_DOC = b"""run($self, func, /, *args, **kwargs)
--

Calls ``func(*args, **kwargs)`` with this snapshot applied, and gives what it returns.

Raises:
    LookupError: the snapshot was pickled, and this process has no xlocal by the name of one in it.
"""

cdef const char *CAPTURE_DOC = b"""capture(*xlocals, contextvars=(), missing='error')
--

Takes what this unit sees in xlocals, at this moment, to be applied elsewhere.

Its cost does not grow with the values. The :class:`Snapshot` keeps the values that are visible now alive, and nothing else.

Args:
    xlocals: those to take. Default: all that have something bound here.
    contextvars: context variables whose values come along. One that is not set now is left alone where the snapshot is
        applied.
    missing: what becomes of a value that cannot be pickled, or of an xlocal or context variable that no module has by
        name, when the snapshot is pickled: ``"error"`` raises a TypeError that names it, ``"skip"`` leaves it out.

Returns:
    The :class:`Snapshot`.

Raises:
    TypeError: one of `xlocals` is no xlocal, or one of `contextvars` no context variable.
    ValueError: `missing` is something else.

Thread-safety: it may be called from any thread.
"""

install_calls(Carried.__new__(Carried))
capture = make_fast(1, NULL, "xctx._carry.carry", b"capture", <void*>capture_call, CAPTURE_DOC)


# --- homes -----------------------------------------------------------------------------------------------------------

cdef Key THREADS = _core.thread
cdef Key GREENLETS = _core.greenlet
cdef Key TASKS = _core.task


def isolated(func):
    """Decorates a function so that nobody sees what it binds, nor disturbs it, while it is suspended.

    Each call runs in a copy of the context in which it takes its first step. So what a generator, async generator or
    coroutine binds stays with it between its steps, what its caller binds later does not reach it, and all that holds for
    context variables too. Resumed by another unit (another task, thread or greenlet), it goes on seeing what it saw: as
    when an event loop closes, in a task of its own, an async generator that was dropped.

    Args:
        func: a generator function, async generator function, coroutine function or any other callable.

    Returns:
        A function of the same kind.

    Raises:
        TypeError: `func` is not callable.
    """
    from xctx._runtime.wrappers import wrap
    return wrap(func, Home, "isolated decorates")


@cython.final
cdef class Home(StepContext):
    """A context of its own for what runs in steps: a copy of the current one, with a snapshot applied to it."""
    cdef object context
    cdef Applied applied
    # The units of its last step, where something was bound that goes by them.
    cdef Unit thread
    cdef Unit greenlet
    cdef Unit task

    def __init__(self, Snapshot snapshot=None):
        self.context = PyContext_CopyCurrent()
        if snapshot is not None:
            PyContext_Enter(self.context)
            try:
                self.applied = snapshot.apply(False)
            finally:
                PyContext_Exit(self.context)

    cdef int enter(self) except -1:
        PyContext_Enter(self.context)
        try:
            if self.thread is not None:
                self.thread = self.move(THREADS, self.thread)
            if self.greenlet is not None:
                self.greenlet = self.move(GREENLETS, self.greenlet)
            if self.task is not None:
                self.task = self.move(TASKS, self.task)
        except BaseException:
            PyContext_Exit(self.context)
            raise
        return 0

    cdef int leave(self) except -1:
        try:
            self.note()
        finally:
            PyContext_Exit(self.context)
        return 0

    cdef Unit move(self, Key key, Unit before):
        """Gives what goes by that key to the current unit. After a fork nothing is given: bindings stay with the parent."""
        cdef Unit now = key.find(True)
        cdef tuple move
        if now is not before and before.generation == fork_generation():
            move = key, before, now
            each_chain(xctx_tstate(), move_chain, <void*>move)
        return now

    cdef void note(self) except *:
        each_chain(xctx_tstate(), note_rung, <void*>self)

    cdef int end(self) except -1:
        """Undoes what the snapshot bound, and lets go of the context."""
        cdef object context = self.context
        cdef Applied applied = self.applied
        self.context = self.applied = None
        if applied is not None and context is not None:
            PyContext_Enter(context)
            try:
                undo(applied)
            finally:
                PyContext_Exit(context)
        return 0


cdef int move_chain(Binding top, void *move) except -1:
    key, before, now = <tuple>move
    if (<xlocal>top.owner).key is key:
        transfer_to_unit(top, before, now)
    return 0


cdef int note_rung(Binding top, void *arg) except -1:
    cdef Home home = <Home>arg
    if (<xlocal>top.owner).key.rung == GREENLET:
        home.greenlet = GREENLETS.find(False)
    elif (<xlocal>top.owner).key.rung == TASK:
        home.task = TASKS.find(False)
    elif (<xlocal>top.owner).key.rung == THREAD:
        home.thread = THREADS.find(False)
    return 0
