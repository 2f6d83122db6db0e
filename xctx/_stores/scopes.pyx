# cython: language_level=3, freethreading_compatible=True, binding=True, embedsignature=True, embedsignature.format=python
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""Scopes: names and values to be bound for a block, again and again.

A scope holds what is to be bound. A block is one entry of a scope: it holds what this entry bound, and takes that out.
"""
cimport cython
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF

from xctx._runtime.python cimport (PyObject_GenericGetAttr, PyVectorcall_NARGS, xctx_forbid_instances,
                                   xctx_give_vectorcall, xctx_tstate, xctx_type_put)
from xctx._runtime.functions cimport StepContext
from xctx._core cimport Unit
from xctx._runtime.runtime cimport connect
from xctx._stores.bindings cimport Binding, is_exited, stands_for
from xctx._stores.blocks cimport BindingVariable, chain_of, end_binding, make_visible, next_binding
from _functools import partial
from types import MethodType


cdef extern from *:
    """
    #define XCTX_VECTORCALL_OF_BLOCK offsetof(struct __pyx_obj_4xctx_7_stores_6scopes_Block, vectorcall)
    """
    Py_ssize_t VECTORCALL_OF_BLOCK "XCTX_VECTORCALL_OF_BLOCK"
    Block take_block "xctx_taken"(PyObject *)   # takes the reference over

cdef extern from "xctx/_stores/pairing.h":
    PyObject *half_paired "xctx_half_paired"

connect()


@cython.final
@cython.freelist(64)
cdef class Scope:
    """What calling an xlocal returns: names and values that can be bound for a block, again and again.

    Thread-safety: may be entered in several units at the same time, from any thread.
    Lifetime: holds its values as long as it lives.
    """

    def __call__(self, *args, **kwargs):
        """Decorates a function, coroutine function, generator or async generator: what it runs, runs with these bound.

        A generator has them bound while it runs, not while it is suspended.
        """
        if kwargs:
            raise TypeError(f"a binding takes no keyword arguments, it was given {tuple(kwargs)!r}")
        if len(args) != 1:
            raise TypeError(f"a binding decorates one function, it was given {args!r}")
        from xctx._runtime.wrappers import wrap
        return wrap(args[0], partial(ScopeSteps, self), "a binding decorates")

    cdef object enter_by_hand(self):
        cdef Block block = new_block(self)
        owner = block.enter()
        with cython.critical_section(self):
            if self.opened is None:
                self.opened = [block]
            else:
                self.opened.append(block)
        return owner

    cdef object leave_by_hand(self):
        cdef Block block
        cdef bint taken = False
        while not taken:
            with cython.critical_section(self):
                opened = [] if self.opened is None else self.opened[:]
            if not opened:
                return self.leave_innermost()
            block = self.pick(opened)   # may run a key's callable, and other threads meanwhile
            with cython.critical_section(self):
                taken = take_from(self.opened, block)
        return block.leave()

    cdef object leave_innermost(self):
        """Leaves by hand what a with statement has bound here; the statement's own exit will find that it has been left."""
        cdef Binding link = chain_of(self.owner)
        while link is not None:
            if link.values is self.values and not is_exited(link):
                end_binding(link, None, NULL)
                return False
            link = link.outer
        raise RuntimeError("this binding is left, but it was not entered")

    cdef Block pick(self, list opened):
        """Which block an exit by hand is about: the innermost here, or else the last one of this unit, or the last one."""
        cdef Binding link = chain_of(self.owner)
        cdef Unit unit = None
        if len(opened) > 1:
            while link is not None:
                for block in opened:
                    if stands_for(link, (<Block>block).made):
                        return block
                link = link.outer
            if not self.owner.key.inherits:
                unit = self.owner.key.find(False)
            for block in reversed(opened):
                if (<Block>block).made.unit is unit:
                    return block
        return opened[len(opened) - 1]

    def __getattribute__(self, name):
        # A with statement does not come by here: it looks on the type. A method that is taken as an attribute may be called
        # at any time, and need not have a counterpart.
        if name == "__enter__" or name == "__exit__":
            return MethodType(getattr(Scope, name), self)
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


cdef bint take_from(list opened, Block block) noexcept:
    cdef Py_ssize_t at
    for at in range(len(opened)):
        if <Block>opened[at] is block:
            del opened[at]
            return True
    return False


# --- blocks ----------------------------------------------------------------------------------------------------------

@cython.final
@cython.freelist(64)
cdef class Block:
    """One entry of a scope. Called with no argument it is entered, called with the three of ``__exit__`` it is left.

    Thread-safety: used by the code that entered it, and by whatever closes that code, one after the other.
    Lifetime: held by the with statement, or by its scope where it was entered by hand.
    """

    cdef object enter(self):
        cdef Scope scope = self.scope
        if scope is None:
            raise RuntimeError("this block is entered already")
        made = next_binding(scope.owner, scope.names, scope.values, False)
        self.token = make_visible(made)
        self.context = xctx_tstate().context
        self.made = made
        self.scope = None
        return scope.owner

    cdef object leave(self):
        cdef Binding made = self.made
        if made is None or is_exited(made):
            raise RuntimeError("this binding is left, but it was not entered")
        token = self.token
        self.made = self.token = None
        end_binding(made, token, self.context)
        return False

    def __call__(self, *args):
        return self.leave() if args else self.enter()


cdef object block_call(PyObject *block, PyObject **args, size_t nargsf, PyObject *kwnames):
    # Block.__call__ without a tuple.
    return (<Block>block).leave() if PyVectorcall_NARGS(nargsf) else (<Block>block).enter()


xctx_give_vectorcall(<PyTypeObject*>Block, VECTORCALL_OF_BLOCK)


cdef Block new_block(Scope scope):
    cdef Block block = Block.__new__(Block)
    block.vectorcall = <vectorcallfunc>block_call
    block.scope = scope
    return block


@cython.final
cdef class ScopeSteps(StepContext):
    """Binds what a scope does for each step of a call; for an awaitable until it is done, as a with statement would.

    Thread-safety: used by one call alone.
    Lifetime: held by the call.
    """
    cdef Scope scope   # never changes
    cdef Block block   # the one that is entered

    def __init__(self, Scope scope not None):
        self.scope = scope

    cdef int enter(self) except -1:
        self.block = new_block(self.scope)
        self.block.enter()
        return 0

    cdef int leave(self) except -1:
        cdef Block block = self.block
        self.block = None
        block.leave()
        return 0

    cdef bint spans_awaits(self) noexcept:
        return True


@cython.final
cdef class EnterExit:
    """``__enter__`` or ``__exit__`` of scopes. Bound by a with statement, it gives the block of that statement.

    Methods of the usual kind would be two objects for each block, made only to be called once.

    Thread-safety: never changes.
    Lifetime: held by the type.
    """
    # None of these ever changes.
    cdef bint leaves
    cdef str name

    def __get__(self, scope, cls):
        global half_paired
        cdef Block block
        if scope is None:
            return self
        if half_paired != NULL:
            block = take_block(half_paired)
            half_paired = NULL
            if block.scope is scope:
                return block
        block = new_block(<Scope?>scope)
        Py_INCREF(block)   # kept for the second of the two
        half_paired = <PyObject*>block
        return block

    @property
    def __name__(self):
        return self.name

    def __call__(self, scope, *args):
        """By hand: a block is opened, or one that was opened by hand is left."""
        if self.leaves:
            return (<Scope?>scope).leave_by_hand()
        if args:
            raise TypeError(f"__enter__ takes no arguments, it was given {args!r}")
        return (<Scope?>scope).enter_by_hand()


cdef int install(str name, bint leaves) except -1:
    cdef EnterExit made = EnterExit.__new__(EnterExit)
    made.leaves = leaves
    made.name = name
    return xctx_type_put(<PyObject*>Scope, name, made)


install("__enter__", False)
install("__exit__", True)

xctx_forbid_instances(<PyTypeObject*>Scope)
xctx_forbid_instances(<PyTypeObject*>Block)
xctx_forbid_instances(<PyTypeObject*>EnterExit)
