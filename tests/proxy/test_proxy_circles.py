"""A proxy of an object written in C that passes each operation back to the proxy: it ends in RecursionError, as one in
Python does. CPython counts no level for a tuple, a weak proxy or a view of a mapping. Each is tried in a forked child,
because what it looks for is a crash."""

import contextvars
import operator
import os
import types
import weakref
from functools import partial

import pytest
from helpers.units import in_fork

import xctx

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a crash is to be survived, and nothing forks here")


def of_a_variable(make):
    variable = contextvars.ContextVar("variable")
    variable.set({})
    p = xctx.LocalProxy(variable)
    variable.set(make(p))
    return p


def of_a_callable(make):
    found = [{}]
    p = xctx.LocalProxy(lambda: found[0])
    found[0] = make(p)
    return p


def of_a_store(make):
    store = xctx.local()
    store.name = {}
    p = xctx.LocalProxy(store, "name")
    store.name = make(p)
    return p


def lazy(make):
    found = []
    p = xctx.LocalWrapper.lazy(lambda: found[0])
    found.append(make(p))
    assert p.wrapped is found[0]
    return p


def of_a_lazy_wrapper(make):
    found = []
    inner = xctx.LocalWrapper.lazy(lambda: found[0])
    p = xctx.LocalWrapper(inner)
    found.append(make(p))
    assert inner.wrapped is found[0]
    return p


MAKERS = {
    "tuple": lambda p: (p,),
    "weak proxy": weakref.proxy,
    "weak reference": weakref.ref,
    "view": types.MappingProxyType,
    "partial": partial,
    "method": lambda p: types.MethodType(p, 1),
    "alias": lambda p: types.GenericAlias(list, (p,)),
}
OPERATIONS = [
    hash, len, iter, next, bool, str, repr, format, dir, vars, bytes, int, float, reversed, operator.index,
    operator.neg, operator.length_hint,
    lambda p: p(), lambda p: p.name, lambda p: setattr(p, "name", 1), lambda p: delattr(p, "name"), lambda p: p["a"],
    lambda p: operator.setitem(p, 1, 1), lambda p: p + 1, lambda p: 1 + p, lambda p: p | {}, lambda p: pow(2, p, 3),
    lambda p: operator.iadd(p, 1), lambda p: operator.ipow(p, 2), lambda p: p == 1, lambda p: p < p, lambda p: 1 in p,
    lambda p: p in [1], lambda p: {p: 1}, lambda p: isinstance(1, p), lambda p: isinstance(p, str),
    lambda p: p.__enter__(), lambda p: p.__await__(), lambda p: p.__get__(1, int),
    lambda p: p.__isabstractmethod__, lambda p: p.__class__,
    lambda p: p.__doc__, lambda p: p.keys(), lambda p: p.send(None), lambda p: type("Derived", (p,), {}),
]  # fmt: skip


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("kind", [of_a_variable, of_a_callable, of_a_store, lazy, of_a_lazy_wrapper])
def test_a_circle_through_c(kind, make):
    def use():
        raised = set()
        for operation in OPERATIONS:
            try:
                operation(kind(make))
            except Exception as exc:
                raised.add(type(exc).__name__)
        return raised

    assert "RecursionError" in in_fork(use)


@pytest.mark.parametrize("kind", [of_a_variable, of_a_callable, of_a_store, lazy, of_a_lazy_wrapper])
def test_what_was_counted_is_given_back(kind):
    """Otherwise a program that goes on could call nothing any more."""
    p = kind(lambda p: (p,))
    for _ in range(20):
        with pytest.raises(RecursionError):
            hash(p)
    q = kind(lambda _: [1])
    for _ in range(5000):
        assert len(q) == 1 and q == [1] and q.count(1) == 1 and bool(q) and q + [2] and not q < q and q[0] == 1
        with pytest.raises(AttributeError):
            q.nothing
        with pytest.raises(TypeError):
            hash(q)

    def deep(left):
        return len(q) + deep(left - 1) if left else 0

    assert deep(300) == 300


@pytest.mark.parametrize("base", [object, list, dict, str, int, bytes])
@pytest.mark.parametrize("kind", [of_a_variable, of_a_callable, of_a_store, lazy, of_a_lazy_wrapper])
def test_a_class_whose_special_method_is_a_callable_of_c(kind, base):
    def use():
        for name, operation in [("__bool__", bool), ("__iter__", iter), ("__str__", str), ("__int__", int)]:
            it = kind(lambda p, n=name, f=operation: type("Derived", (base,), {n: staticmethod(partial(f, p))})())
            with pytest.raises(RecursionError):
                operation(it)

    in_fork(use)


@pytest.mark.parametrize("kind", [of_a_variable, of_a_callable, of_a_store])
def test_a_class_method_that_is_asked_whether_it_is_abstract(kind):
    def use():
        with pytest.raises(RecursionError):
            kind(classmethod).__isabstractmethod__

    in_fork(use)
