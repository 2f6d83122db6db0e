# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Scopes: names and values to be bound for any number of blocks.

A scope holds what is to be bound. A block is one entry of a scope: it holds what this entry bound, and takes that out.
xctx._stores.statements finds which block an exit ends.
"""
cimport cython
from cpython.object cimport PyObject, PyTypeObject
from cpython.tuple cimport PyTuple_GET_SIZE

from xctx._runtime.python cimport PyObject_GenericGetAttr, xctx_forbid_instances, xctx_tstate
from xctx._runtime.functions cimport StepContext
from xctx._runtime.runtime cimport connect
from xctx._stores.bindings cimport Binding, group_of, is_exited
from xctx._stores.blocks cimport end_binding, make_visible, new_binding
from xctx._stores.chains cimport BindingVariable, chain_of
from xctx._stores.seen cimport BY_HAND, BY_STATEMENT, BY_STEP, Place, find_place, is_hidden, xctx_entering
from xctx._stores.names cimport is_reserved
from xctx._stores.statements cimport Block, BlockKind, OpenByHand, by_hand, install_block_methods, new_block, new_open_by_hand
from _functools import partial


connect()


@cython.final
@cython.no_gc_clear
@cython.freelist(64)
cdef class Scope:
    """What calling an xlocal returns: names and values that can be bound for any number of blocks.

    Thread-safety: may be entered in several units at the same time, from any thread.
    Lifetime: holds its values as long as it lives.
    """

    def __call__(self, *args, **kwargs):
        """Decorates a function, coroutine function, generator or async generator: its calls run with these bound.

        A generator has them bound while it runs, not while it is suspended.
        """
        if kwargs:
            raise TypeError(f"a binding takes no keyword arguments, it was given {tuple(kwargs)!r}")
        if len(args) != 1:
            raise TypeError(f"a binding decorates one function, it was given {args!r}")
        from xctx._runtime.wrappers import wrap
        return wrap(args[0], partial(ScopeSteps, self), "a binding decorates")

    def __getattribute__(self, name):
        if is_reserved(<PyObject*>name) and (name == "__enter__" or name == "__exit__"):
            return by_hand(self, name)
        return PyObject_GenericGetAttr(self, name)

    def __repr__(self):
        return f"<binding of {', '.join(self.names) or 'nothing'} for {self.owner!r}>"

    def __reduce_ex__(self, protocol):
        raise TypeError("cannot pickle a binding of an xlocal: bind the values where they are needed")


cdef Scope new_scope(BindingVariable owner, tuple names, tuple values):
    """A scope. The names are interned, and may be bound."""
    cdef Scope scope = Scope.__new__(Scope)
    scope.owner = owner
    scope.names = names
    scope.values = values
    return scope


# --- blocks ----------------------------------------------------------------------------------------------------------

cdef object enter(Block block):
    return enter_by(block, BY_STATEMENT)


cdef object enter_by(Block block, xctx_entering how):
    cdef Scope scope = <Scope>block.opener
    cdef Place place
    made = new_binding(scope.owner, scope.names, scope.values, False)
    block.undo = make_visible(made, &place if find_place(&place, how) else NULL, NULL)
    block.made = made
    block.opener = None
    return scope.owner


cdef object leave(Block block):
    cdef Binding made = block.made
    cdef bint left
    if made is not None:
        left = is_exited(made)   # by hand, maybe in another context
        context = block.undo
        block.made = block.undo = None
        end_binding(made, <PyObject*>context)
        if not left:
            return False
    raise RuntimeError("this binding is left, but it was not entered")


cdef object enter_by_hand(object opener):
    cdef Scope scope = <Scope>opener
    cdef Block block = new_block(scope, &KIND)
    enter_by(block, BY_HAND)
    try:
        opened_by_hand(scope).add(group_of(block.made), block.made.unit, block)
    except BaseException:
        leave(block)
        raise
    return scope.owner


cdef object leave_by_hand(object opener):
    """Leaves the innermost block here that was entered by hand, or else the last one of this unit, or the last one."""
    cdef Scope scope = <Scope>opener
    cdef OpenByHand opened = scope.opened
    cdef Block block = None
    if opened is not None:
        block = opened.take_innermost(chain_of(scope.owner))
        if block is None:
            block = opened.take_last(None if scope.owner.key.inherits else scope.owner.key.find(False))
    return leave_innermost(scope) if block is None else leave(block)


cdef object leave_innermost(Scope scope):
    """Leaves by hand what a with statement has bound here; the statement's own exit will find that it has been left."""
    cdef Binding link = chain_of(scope.owner)
    cdef Binding found = None
    while link is not None:
        if not is_exited(link) and is_of(link, scope):
            if not is_hidden(link, xctx_tstate()):
                found = link
                break
            if found is None:
                found = link
        link = link.outer
    if found is not None:
        end_binding(found, NULL)
        return False
    raise RuntimeError("this binding is left, but it was not entered")


cdef bint is_of(Binding link, Scope scope) except -1:
    """Whether the scope was entered to make the binding, or one with the same names and values; never if it has none."""
    cdef Py_ssize_t i, n = PyTuple_GET_SIZE(scope.names)
    if n == 0:   # there is one empty tuple, and all scopes with no names have it
        return False
    if link.values is scope.values:
        return True
    if scope.owner.factories is None or PyTuple_GET_SIZE(link.names) < n or link.names[:n] != scope.names:
        return False
    for i in range(n):
        if link.values[i] is not scope.values[i]:
            return False
    return True


cdef OpenByHand opened_by_hand(Scope scope):
    with cython.critical_section(scope):
        if scope.opened is None:
            scope.opened = new_open_by_hand()
        return scope.opened


cdef BlockKind KIND
KIND.enter = enter
KIND.leave = leave
KIND.enter_by_hand = enter_by_hand
KIND.leave_by_hand = leave_by_hand
install_block_methods(Scope, &KIND)


@cython.final
@cython.no_gc_clear
cdef class ScopeSteps(StepContext):
    """Binds what a scope does for each step of a call; for an awaitable until it is done, as a with statement would.

    Thread-safety: used by one call alone.
    Lifetime: held by the call.
    """
    cdef Scope scope   # changes in the first step alone
    cdef Block block   # the one that is entered

    def __cinit__(self, Scope scope not None):
        self.scope = scope

    cdef int enter(self) except -1:
        cdef Binding made
        self.block = new_block(self.scope, &KIND)
        enter_by(self.block, BY_STEP)
        made = self.block.made
        if made.names is not self.scope.names:   # what was made is for the whole call, not for this step
            self.scope = new_scope(self.scope.owner, made.names, made.values)
        return 0

    cdef int leave(self) except -1:
        cdef Block block = self.block
        self.block = None
        leave(new_block(self.scope, &KIND) if block is None else block)   # the former raises
        return 0

    cdef bint spans_awaits(self) noexcept:
        return True


xctx_forbid_instances(<PyTypeObject*>Scope)
