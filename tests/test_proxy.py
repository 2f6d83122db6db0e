"""What proxies are: identity, introspection, sources, and what happens where there is nothing behind one."""

import asyncio
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
import threading
import types
import typing
import weakref
from contextvars import ContextVar

import pytest

import xctx
from xctx import LocalProxy, LocalWrapper, is_proxy, unwrap


def through_variable(obj):
    variable = ContextVar("variable")
    variable.set(obj)
    return LocalProxy(variable)


def through_callable(obj):
    return LocalProxy(lambda: obj)


def through_store(obj):
    store = Store()
    store.inner = types.SimpleNamespace(obj=obj)
    return LocalProxy(store, "inner.obj")


class Store:
    """Stands for an xlocal or a local: attributes, and callable for a purpose of its own."""

    __xctx_store__ = True

    def __call__(self, **names):
        raise AssertionError("a store is not a callable source")


LEAVES = [LocalWrapper, through_variable, through_callable, through_store]


@pytest.fixture(params=LEAVES, ids=lambda leaf: leaf.__name__)
def proxy(request):
    return request.param


class Point:
    __match_args__ = ("x", "y")

    def __init__(self, x, y=0):
        self.x = x
        self.y = y

    def total(self, *more, scale=1):
        return (self.x + self.y + sum(more)) * scale

    @property
    def sum(self):
        return self.x + self.y

    def __eq__(self, other):
        return (self.x, self.y) == (other.x, other.y)

    __hash__ = None


# ---- identity -----------------------------------------------------------------------------------------------------


def test_names():
    assert xctx.LocalWrapper.__module__ == "xctx"
    assert xctx.LocalProxy.__qualname__ == "LocalProxy"
    assert pickle.loads(pickle.dumps(LocalWrapper)) is LocalWrapper
    assert type(LocalWrapper([])).__name__ == "LocalWrapper[list]"


def test_isinstance(proxy):
    p = proxy([])
    assert isinstance(p, list)
    assert p.__class__ is list
    assert is_proxy(p)
    assert not is_proxy([])
    assert issubclass(type(p), LocalWrapper if proxy is LocalWrapper else LocalProxy)


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
    assert kept() is None
    gc.collect()
    assert cls() is None


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


def outcome(f, *args):
    try:
        return "returned", f(*args)
    except Exception as error:
        return type(error), error


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


# ---- protocols with a story of their own -----------------------------------------------------------------------------


def test_inplace():
    a = LocalWrapper([1])
    b = a
    a += [2]
    assert a is b and a == [1, 2]
    n = LocalWrapper(5)
    m = n
    n += LocalWrapper(1)
    assert type(n) is type(m) and n == 6 and m == 5
    n **= 2
    assert n.wrapped == 36
    n = operator.iadd(n, 1)
    assert n.wrapped == 37
    t = LocalWrapper("a")
    t += "b"
    t *= 2
    assert is_proxy(t) and t == "abab"
    variable = ContextVar("variable")
    variable.set([1])
    p = LocalProxy(variable)
    q = p
    p += [2]
    assert p is q and variable.get() == [1, 2]
    variable.set(5)
    p += 1
    assert p == 6 and not is_proxy(p) and q == 5


def test_inplace_in_the_class():
    class Counter(LocalWrapper):
        pass

    c = Counter(1)
    c += 1
    assert isinstance(c, Counter) and c == 2


def test_pow(proxy):
    for values in [(2, 3, 5), (7, 2, 6)]:
        expected = pow(*values)
        for chosen in range(8):
            args = [proxy(v) if chosen >> i & 1 else v for i, v in enumerate(values)]
            assert pow(*args) == expected
    assert proxy(2) ** 3 == 2 ** proxy(3) == proxy(2) ** proxy(3) == 8


def test_what_ft_utils_died_of(proxy):
    assert 2 - proxy(2) == 0
    assert [1] * proxy(2) == [1, 1]
    assert divmod(7, proxy(2)) == (3, 1)
    assert len(proxy({})) == 0


def test_with(proxy):
    events = []

    @contextlib.contextmanager
    def manager():
        events.append("in")
        yield "value"
        events.append("out")

    with proxy(manager()) as value:
        assert value == "value"
    assert events == ["in", "out"]
    with pytest.raises(TypeError, match="context manager"):
        with proxy(5):
            pass


def test_async(proxy):
    class Manager:
        async def __aenter__(self):
            return "in"

        async def __aexit__(self, *error):
            return True

    async def numbers():
        for i in range(3):
            yield i

    async def result():
        return 5

    @types.coroutine
    def old():
        yield from asyncio.sleep(0).__await__()
        return 6

    async def main():
        async with proxy(Manager()) as value:
            assert value == "in"
            raise ValueError("is swallowed")
        assert [i async for i in proxy(numbers())] == [0, 1, 2]
        assert await anext(proxy(numbers())) == 0
        assert await proxy(result()) == 5
        assert await proxy(old()) == 6
        assert await asyncio.ensure_future(proxy(asyncio.sleep(0, 7))) == 7
        future = asyncio.get_running_loop().create_future()
        future.set_result(8)
        assert await proxy(future) == 8
        with pytest.raises(TypeError):
            await proxy(5)
        with pytest.raises(TypeError, match="asynchronous context manager"):
            async with proxy(5):
                pass

    asyncio.run(main())


def test_coroutine_and_generator(proxy):
    def echo():
        got = yield 1
        got = yield got
        return got

    p = proxy(echo())
    assert next(p) == 1
    assert p.send(2) == 2
    with pytest.raises(StopIteration) as caught:
        p.send(3)
    assert caught.value.value == 3

    def outer():
        return (yield from proxy(iter([1, 2])))

    assert list(outer()) == [1, 2]


def test_buffer(proxy):
    data = bytearray(b"abc")
    with memoryview(proxy(data)) as view:
        view[0] = ord("x")
        assert view.obj is data
        with pytest.raises(BufferError):
            data.append(1)
    assert data == b"xbc"
    data.append(1)
    assert b"-" + bytes(proxy(data)) == b"-xbc\x01"
    with pytest.raises(TypeError):
        memoryview(proxy(5))


def test_copy_and_pickle(proxy):
    target = {"a": [1, 2]}
    p = proxy(target)
    shallow = copy.copy(p)
    assert type(shallow) is dict and shallow == target and shallow["a"] is target["a"]
    deep = copy.deepcopy(p)
    assert type(deep) is dict and deep == target and deep["a"] is not target["a"]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps([p, p], protocol))
        assert again == [target, target] and type(again[0]) is dict and again[0] is again[1]
        assert pickle.loads(pickle.dumps(proxy(len), protocol)) is len
        assert pickle.loads(pickle.dumps(proxy(Point), protocol)) is Point
    assert copy.deepcopy(proxy(len)) is len
    assert b"xctx" not in pickle.dumps(p)


def test_deepcopy_of_its_own(proxy):
    class Own:
        def __copy__(self):
            return "copy"

        def __deepcopy__(self, memo):
            return "deep"

    assert copy.copy(proxy(Own())) == "copy"
    assert copy.deepcopy(proxy(Own())) == "deep"


def test_weak_reference(proxy):
    p = proxy([1])
    r = weakref.ref(p)
    assert r() is p
    assert weakref.proxy(p)[0] == 1
    called = []
    weakref.finalize(p, called.append, 1)
    del p
    gc.collect()
    assert r() is None and called == [1]


def test_format(proxy):
    assert f"{proxy(1.5):.2f} {proxy('a')!r:>5} {proxy(3)}" == "1.50   'a' 3"
    assert "%s %d" % (proxy("a"), proxy(3)) == "a 3"
    assert proxy("%s-%s") % ("a", "b") == "a-b"
    assert format(proxy(255), "x") == "ff"


def test_classes_as_targets(proxy):
    p = proxy(Point)
    assert p(1, 2) == Point(1, 2)
    assert isinstance(Point(1), p)
    assert not isinstance(1, p)
    assert issubclass(Point, p)
    assert isinstance(1, proxy((int, str)))
    assert isinstance(1, proxy(int | str))
    assert proxy(list)[int] == list[int]
    assert p.__name__ == "Point"

    class Sub(proxy(Point)):
        pass

    assert Sub.__mro__[1] is Point
    with pytest.raises(TypeError):
        isinstance(1, proxy(5))
    # issubclass() compares the class itself by identity; a class further up is found.
    assert issubclass(proxy(bool), int)


def test_descriptor():
    class Owner:
        method = LocalWrapper(lambda self: self)
        prop = LocalWrapper(property(lambda self: 5))

    owner = Owner()
    assert owner.method() is owner
    assert owner.prop == 5
    with pytest.raises(AttributeError):
        owner.prop = 6

    class Named:
        def __set_name__(self, owner, name):
            self.name = name

    named = Named()
    type("Owner", (), {"attribute": LocalWrapper(named)})
    assert named.name == "attribute"


def test_fspath_and_numbers(proxy):
    assert os.fspath(proxy(pathlib.Path("a"))) == "a"
    assert os.fspath(proxy("a")) == "a"
    assert pathlib.Path("a") / proxy("b") == pathlib.Path("a/b")
    assert proxy(pathlib.Path("a")) / "b" == pathlib.Path("a/b")
    assert int(proxy("12")) == 12 and float(proxy("1.5")) == 1.5 and complex(proxy("1j")) == 1j
    assert [0, 1, 2][proxy(1)] == 1 and [0, 1, 2][proxy(1) :] == [1, 2]
    assert round(proxy(2.567), 2) == 2.57 and round(proxy(2.5)) == 2
    assert proxy([1, 2, 3])[proxy(slice(1, None))] == [2, 3]
    assert proxy([1, 2, 3])[-1] == 3
    with pytest.raises(IndexError):
        proxy([1])[-2]
    with pytest.raises(IndexError):
        operator.getitem(proxy((1,)), -2)
    assert sys.getsizeof(proxy([])) >= [].__sizeof__()
    assert operator.length_hint(proxy(iter([1, 2]))) == 2
    assert operator.length_hint(proxy(5), 9) == 9


@pytest.mark.skipif(sys.version_info < (3, 13), reason="copy.replace is new in 3.13")
def test_replace():
    import dataclasses

    @dataclasses.dataclass
    class D:
        a: int

    assert copy.replace(LocalWrapper(D(1)), a=2) == D(2)
    assert copy.replace(through_variable(D(1)), a=2) == D(2)
    with pytest.raises(TypeError):
        copy.replace(LocalWrapper(5), a=2)


# ---- subclasses ------------------------------------------------------------------------------------------------------


def test_wrapper_subclass():
    class Mine(LocalWrapper):
        """Mine."""

        __slots__ = ("note",)

        def __init__(self, wrapped, note=None):
            super().__init__(wrapped)
            self.note = note

        def extra(self):
            return "extra", self.wrapped, self.note

        def __len__(self):
            return 42

    w = Mine([1], note="n")
    assert w.extra() == ("extra", [1], "n")
    assert len(w) == 42 and w[0] == 1 and list(w) == [1]
    assert w.__doc__ == list.__doc__
    assert isinstance(w, (Mine)) and isinstance(w, list)
    assert not hasattr(Mine(1), "__iter__")
    assert len(Mine(5)) == 42
    w.append(2)
    assert w.wrapped == [1, 2]
    kept = weakref.ref(Mine)
    del Mine, w
    gc.collect()
    assert kept() is None


def test_subclass_with_dict():
    class Mine(LocalWrapper):
        def method(self):
            return self.x

    point = Point(1)
    w = Mine(point)
    w.z = 5
    assert point.z == 5 and w.method() == 1
    del w
    gc.collect()


def test_proxy_subclass():
    class Mine(LocalProxy):
        def __init__(self, obj):
            super().__init__(lambda: obj)

        def extra(self):
            return "extra"

    p = Mine([1])
    assert p == [1] and p.extra() == "extra" and p[0] == 1 and list(p) == [1] and len(p) == 1
    assert isinstance(p, list) and is_proxy(p)
    with pytest.raises(TypeError, match="never changes"):
        LocalProxy.__init__(p, lambda: 2)

    class Forgot(LocalProxy):
        def __init__(self):
            pass

    with pytest.raises(RuntimeError):
        Forgot() + 1


# ---- LocalProxy: sources ---------------------------------------------------------------------------------------------


def test_sources():
    variable = ContextVar("variable")
    p = LocalProxy(variable)
    variable.set(Point(1, Point(2)))
    assert p.x == 1
    assert LocalProxy(variable, "y.x") == 2
    assert LocalProxy(LocalProxy(variable)).x == 1
    assert LocalProxy(p, "y").x == 2
    assert LocalProxy(lambda: Point(3), "x") == 3
    assert LocalProxy(Point(7), "x") == 7
    assert LocalProxy(LocalWrapper(variable)).x == 1
    local = threading.local()
    local.a = Point(8)
    assert LocalProxy(local, "a.x") == 8
    variable.set(Point(9))
    assert p.x == 9
    assert p._get_current_object() is variable.get()
    with pytest.raises(AttributeError, match="'Point' object has no attribute 'nothing'"):
        LocalProxy(variable, "nothing") + 1


def test_wrong_sources():
    with pytest.raises(TypeError, match="5 cannot be the source"):
        LocalProxy(5)
    with pytest.raises(TypeError, match="needs the name"):
        LocalProxy(Store())
    with pytest.raises(TypeError):
        LocalProxy()
    with pytest.raises(TypeError, match="not the name"):
        LocalProxy(Store(), 5)
    with pytest.raises(TypeError):
        LocalProxy(len, "name", "message")


def unbound_sources():
    yield LocalProxy(ContextVar("empty"), unbound_message="nothing here")
    yield LocalProxy(Store(), "a", unbound_message="nothing here")
    yield LocalProxy(Store(), "a.b", unbound_message="nothing here")
    yield LocalProxy(LocalProxy(ContextVar("empty"), unbound_message="nothing here"))
    yield LocalProxy(LocalProxy(ContextVar("empty")), unbound_message="nothing here")
    yield LocalWrapper(LocalProxy(ContextVar("empty"), unbound_message="nothing here"))


@pytest.mark.parametrize("i", range(6))
def test_unbound(i):
    p = list(unbound_sources())[i]
    for op in (
        len,
        str,
        hash,
        iter,
        lambda p: p + 1,
        lambda p: 1 + p,
        lambda p: p < 1,
        lambda p: p.x,
        lambda p: p(),
        lambda p: p[0],
        lambda p: setattr(p, "x", 1),
        unwrap,
        copy.copy,
        pickle.dumps,
        lambda p: 1 in p,
        int,
        lambda p: hasattr(p, "x"),
        lambda p: hasattr(p, "__len__"),
        bytes,
        format,
        memoryview,
    ):
        with pytest.raises(RuntimeError, match="^nothing here$"):
            op(p)
    assert repr(p) == f"<{type(p).__name__} unbound>"
    assert bool(p) is False
    assert p == p and p != 1 and not p == 1
    assert dir(p) == []
    assert p.__class__ is type(p)
    assert not isinstance(p, list)
    assert p.__doc__ == type(p).__doc__
    assert is_proxy(p)


def test_unbound_as_in_werkzeug():
    local = pytest.importorskip("werkzeug.local")
    variable = ContextVar("variable")
    for message in (None, "nope"):
        theirs = local.LocalProxy(variable, unbound_message=message)
        ours = LocalProxy(variable, unbound_message=message)
        for f in (
            repr,
            bool,
            dir,
            str,
            len,
            lambda p: p.x,
            lambda p: hasattr(p, "x"),
            lambda p: p.__wrapped__,
            lambda p: p.__repr__(),
            lambda p: p.__bool__(),
            lambda p: p.__dir__(),
            lambda p: p.__class__.__name__,
            lambda p: p._get_current_object(),
            lambda p: p == 1,
            lambda p: p != p,
            lambda p: isinstance(p, int),
        ):
            ours_kind, ours_value = outcome(f, ours)
            kind, value = outcome(f, theirs)
            assert ours_kind == kind
            assert ours_value == value if kind == "returned" else str(ours_value) == str(value)


def test_unbound_error_is_clean():
    try:
        LocalProxy(Store(), "a") + 1
    except RuntimeError as error:
        assert str(error) == "object is not bound"
        assert error.__context__ is None


def test_source_that_raises():
    def source():
        raise ZeroDivisionError("mine")

    p = LocalProxy(source)
    for op in (repr, bool, len, lambda p: p.x, lambda p: p + 1):
        with pytest.raises(ZeroDivisionError, match="mine"):
            op(p)


def test_rebound_in_the_middle():
    class Rebinds:
        def __getattr__(self, name):
            variable.set(None)
            return self, name

        def __add__(self, other):
            variable.set(None)
            gc.collect()
            return self, other

    variable = ContextVar("variable")
    p = LocalProxy(variable)
    variable.set(Rebinds())
    assert p.anything[1] == "anything"
    variable.set(Rebinds())
    assert (p + 1)[1] == 1


def test_subscript_for_annotations():
    assert LocalProxy[int].__origin__ is LocalProxy


# ---- reliability -----------------------------------------------------------------------------------------------------


def test_recursion():
    variable = ContextVar("variable")
    itself = LocalProxy(variable)
    variable.set(itself)
    first = LocalProxy(lambda: second)
    second = LocalProxy(lambda: first)
    named = LocalProxy(variable, "x")
    store = Store()
    stored = LocalProxy(store, "a.b")
    store.a = stored
    wrapped = LocalWrapper(itself)
    for p in (itself, first, second, named, stored, wrapped, LocalProxy(itself), LocalProxy(first, "x")):
        for op in (
            lambda p: p.x,
            len,
            repr,
            bool,
            str,
            lambda p: p + 1,
            lambda p: p == p,
            hash,
            unwrap,
            lambda p: p(),
            lambda p: setattr(p, "x", 1),
            dir,
        ):
            if p is named or p is stored:
                variable.set(p)
            with pytest.raises(RecursionError):
                op(p)
            variable.set(itself)


def test_target_deletes_its_proxy():
    class Deletes:
        def __init__(self):
            self.holder = {}

        def __len__(self):
            self.holder.clear()
            gc.collect()
            return len(self.holder)

        def __getattr__(self, name):
            self.holder.clear()
            gc.collect()
            return name, vars(self)["holder"]

        def __getitem__(self, key):
            self.holder.clear()
            return key, self.holder

        def __add__(self, other):
            self.holder.clear()
            return self.holder

        __eq__ = __iadd__ = __add__

        def __call__(self):
            return self.__getitem__(1)

        def method(self):
            return self.__getitem__(1)

        def __iter__(self):
            self.holder.clear()
            yield 1
            yield self.holder

    for make in LEAVES:
        for op in (
            lambda h: len(h["p"]),
            lambda h: h["p"].x,
            lambda h: h["p"][1],
            lambda h: h["p"] + 1,
            lambda h: h["p"] == 1,
            lambda h: h["p"](),
            lambda h: h["p"].method(),
            lambda h: list(h["p"]),
        ):
            target = Deletes()
            holder = target.holder
            holder["p"] = make(target)
            gone = weakref.ref(target)
            del target
            op(holder)
            assert not holder
            gc.collect()
            assert gone() is None or make is not LocalWrapper
