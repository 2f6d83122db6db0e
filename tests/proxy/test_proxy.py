"""What proxies are: identity, attributes, methods, lifetime, and what introspection says of them."""

import collections.abc
import contextlib
import copy
import gc
import inspect
import operator
import os
import pathlib
import pickle
import sys
import types
import typing
import weakref

import pytest
from proxy_leaves import CLASSES_DIE, Point, each_leaf, lazy, outcome, through_variable

import xctx
from xctx import LocalProxy, LocalWrapper, is_proxy, unwrap

# ---- identity -----------------------------------------------------------------------------------------------------


def test_names():
    assert xctx.LocalWrapper.__module__ == "xctx"
    assert xctx.LocalProxy.__qualname__ == "LocalProxy"
    assert pickle.loads(pickle.dumps(LocalWrapper)) is LocalWrapper
    assert type(LocalWrapper([])).__name__ == "LocalWrapper[list]"


@each_leaf
def test_isinstance(proxy):
    p = proxy([])
    assert isinstance(p, list)
    assert p.__class__ is list
    assert is_proxy(p)
    assert not is_proxy([])
    assert issubclass(type(p), LocalWrapper if proxy in (LocalWrapper, lazy) else LocalProxy)


@each_leaf
def test_unwrap(proxy):
    obj = object()
    assert unwrap(proxy(obj)) is obj
    assert unwrap(proxy(proxy(proxy(obj)))) is obj
    assert unwrap(obj) is obj


def test_wrapped():
    obj = Point(1)
    w = LocalWrapper(obj)
    assert w.wrapped is obj
    assert LocalWrapper(wrapped=obj).wrapped is obj
    assert getattr(w, "".join(["wrap", "ped"])) is obj
    with pytest.raises(AttributeError):
        w.wrapped = 1
    with pytest.raises(AttributeError):
        del w.wrapped
    assert LocalWrapper(w).wrapped is w
    for wrong in [(), (1, 2)]:
        with pytest.raises(TypeError):
            LocalWrapper(*wrong)
    with pytest.raises(TypeError):
        LocalWrapper(other=1)


def test_class_is_made_once():
    assert type(LocalWrapper([])) is type(LocalWrapper([1]))
    assert type(LocalWrapper([])) is not type(LocalWrapper({}))
    assert unwrap(type(LocalWrapper([]))({})) == {}
    assert type(type(LocalWrapper([]))({})) is type(LocalWrapper({}))


def test_target_type_dies():
    class Target:
        pass

    kept = weakref.ref(Target)
    w = LocalWrapper(Target())
    cls = weakref.ref(type(w))
    del Target, w
    gc.collect()
    gc.collect()
    assert not CLASSES_DIE or (kept() is None and cls() is None)


def test_many_target_types():
    for i in range(300):
        kind = type(f"T{i}", (), {"__len__": lambda self, i=i: i} if i % 2 else {})
        w = LocalWrapper(kind())
        assert hasattr(type(w), "__len__") == bool(i % 2)
        assert isinstance(w, kind)
        if i % 2:
            assert len(w) == i


def test_class_that_changes():
    class Target:
        pass

    first = LocalWrapper(Target())
    assert not callable(first)
    Target.__call__ = lambda self: 5
    second = LocalWrapper(Target())
    assert callable(second) and second() == 5
    del Target.__call__
    assert type(LocalWrapper(Target())) is type(first)


@each_leaf
def test_attributes(proxy):
    point = Point(1, 2)
    p = proxy(point)
    assert p.x == 1 and p.sum == 3 and p.total(4, scale=2) == 14
    p.x = 10
    assert point.x == 10
    del p.y
    assert not hasattr(point, "y")
    with pytest.raises(AttributeError, match="'Point' object has no attribute 'nothing'"):
        p.nothing
    with pytest.raises(AttributeError):
        p.sum = 1
    with pytest.raises(AttributeError):
        del p.nothing
    assert p.__dict__ is point.__dict__
    assert p.__doc__ is Point.__doc__
    assert p.__module__ == Point.__module__
    assert dir(p) == dir(point)
    assert vars(p) is vars(point)
    p.__class__ = types.SimpleNamespace if False else Point
    with pytest.raises(TypeError):
        getattr(p, 1)


@each_leaf
def test_instance_attribute_shadows_method(proxy):
    point = Point(1, 2)
    p = proxy(point)
    assert p.total() == 3
    point.total = lambda: "own"
    assert p.total() == "own"
    del point.total
    assert p.total() == 3
    Point.total, saved = (lambda self: "new"), Point.total
    try:
        assert p.total() == "new"
    finally:
        Point.total = saved


@each_leaf
def test_method_looks_bound(proxy):
    point = Point(1, 2)
    m, real = proxy(point).total, point.total
    assert m == real and real == m and hash(m) == hash(real)
    assert repr(m) == repr(real)
    assert m.__self__ is point
    assert m.__func__ is Point.total
    assert m.__name__ == "total"
    assert m.__doc__ == real.__doc__
    assert isinstance(m, types.MethodType)
    assert inspect.ismethod(m)
    assert inspect.signature(m) == inspect.signature(real)
    assert callable(m)
    assert m(1, scale=3) == 12
    assert m(*range(20)) == real(*range(20))
    assert m(scale=2) == 6
    with pytest.raises(TypeError):
        m(nothing=1)
    copied = copy.copy(m)
    assert copied() == 3
    numbers = [3, 1]
    append = proxy(numbers).append
    append(2)
    assert numbers == [3, 1, 2]
    assert append.__self__ is numbers
    assert append == numbers.append
    assert isinstance(append, types.BuiltinMethodType)
    assert pickle.loads(pickle.dumps(proxy([1]).index))(1) == 0
    with pytest.raises(AttributeError):
        m.nothing = 1
    assert weakref.ref(m) is not None


def test_method_outlives_wrapper():
    point = Point(1, 2)
    m = LocalWrapper(point).total
    gone = weakref.ref(point)
    del point
    gc.collect()
    assert m() == 3
    del m
    gc.collect()
    assert gone() is None


def test_release():
    """Neither the target nor the proxy lives longer than it has to, and no cycle is left for the collector."""

    class Target:
        def method(self):
            return self

    gc.disable()
    try:
        target = Target()
        gone = weakref.ref(target)
        w = LocalWrapper(target)
        w.method(), w.method()
        proxy_gone = weakref.ref(w)
        del target
        assert gone() is not None
        del w
        assert gone() is None and proxy_gone() is None
    finally:
        gc.enable()


def test_cycle_is_collected():
    class Target:
        def method(self):
            pass

    target = Target()
    target.own = LocalWrapper(target)
    target.callback = target.own.method
    target.proxy = LocalProxy(lambda: target)
    gone = weakref.ref(target)
    del target
    gc.collect()
    assert gone() is None


def test_deep_nesting():
    w = 1
    for _ in range(100_000):
        w = LocalWrapper(w)
    assert w + 1 == 2
    assert type(w) is type(LocalWrapper(1))
    del w


# ---- truthful introspection ----------------------------------------------------------------------------------------

TARGETS = [
    1,
    1.5,
    True,
    None,
    "a",
    b"a",
    [1],
    (1,),
    {1: 2},
    {1},
    range(3),
    iter([1]),
    len,
    Point,
    Point(1),
    lambda: None,
    pathlib.Path("x"),
    sys,
    object(),
    contextlib.nullcontext(),
    memoryview(b"a"),
    1j,
    NotImplemented,
    slice(1),
    Ellipsis,
    (i for i in ()),
    types.SimpleNamespace(),
    property(),
    bytearray(b"a"),
    frozenset(),
    {}.keys(),
    int,
    list[int],
]
ABCS = [getattr(collections.abc, name) for name in collections.abc.__all__ if name not in ("ByteString",)] + [
    contextlib.AbstractContextManager,
    contextlib.AbstractAsyncContextManager,
    typing.SupportsIndex,
]


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: type(t).__name__)
def test_introspection(target):
    w = LocalWrapper(target)
    assert callable(w) == callable(target)
    for abc in ABCS:
        if abc is typing.SupportsIndex and isinstance(target, type):
            continue  # a runtime protocol: it reads the instance behind the proxy's back (inspect.getattr_static)
        assert isinstance(w, abc) == isinstance(target, abc), abc
    for name in set(dir(object())) | set(dir(type(w))) | {"__iter__", "__len__", "__call__", "__fspath__"}:
        if name not in ("wrapped",):
            assert hasattr(w, name) == hasattr(target, name) or name == "__mro_entries__", name
    for check in (operator.index, iter, len, hash, reversed, memoryview, float, int, bytes, os.fspath):
        assert outcome(check, w)[0] == outcome(check, target)[0], check
    assert inspect.isawaitable(w) == inspect.isawaitable(target)
    assert isinstance(w, collections.abc.Hashable) == issubclass(type(w), collections.abc.Hashable)


def test_unhashable():
    w = LocalWrapper([])
    assert type(w).__hash__ is None
    with pytest.raises(TypeError, match="unhashable type"):
        hash(w)
    assert hash(LocalWrapper("a")) == hash("a")
    assert {LocalWrapper("a"): 1}["a"] == 1


def test_refused():
    class Refuses:
        __iter__ = None
        __contains__ = None

        def __getitem__(self, i):
            return [1, 2][i]

    w = LocalWrapper(Refuses())
    assert not isinstance(w, collections.abc.Iterable)
    assert not isinstance(w, collections.abc.Container)
    with pytest.raises(TypeError):
        iter(w)
    with pytest.raises(TypeError):
        1 in w
    assert w[1] == 2


@each_leaf
def test_old_iteration(proxy):
    class Old:
        def __getitem__(self, i):
            return [1, 2, 3][i]

        def __len__(self):
            return 3

    assert list(proxy(Old())) == [1, 2, 3]
    assert list(reversed(proxy(Old()))) == [3, 2, 1]
    assert 2 in proxy(Old())


def test_pattern_matching():
    def kind(subject):
        match subject:
            case {"a": value}:
                return "mapping", value
            case [first, *rest]:
                return "sequence", first, rest
            case Point(x, y=0):
                return "point", x
            case int(n):
                return "int", n
            case str():
                return "str"

    assert kind(LocalWrapper({"a": 1})) == ("mapping", 1)
    assert kind(LocalWrapper([1, 2])) == ("sequence", 1, [2])
    assert kind(LocalWrapper(Point(3))) == ("point", 3)
    assert kind(LocalWrapper(5)) == ("int", 5)
    assert kind(LocalWrapper("a")) == "str"
    # A class has one answer for all its objects, and a LocalProxy's target changes: classes only.
    assert kind(through_variable(Point(3))) == ("point", 3)
    assert kind(through_variable(5)) == ("int", 5)
    assert kind(through_variable([1, 2])) is None
