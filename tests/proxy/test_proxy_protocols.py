"""Protocols with special cases, and subclasses of proxies."""

import asyncio
import contextlib
import copy
import dataclasses
import gc
import json
import marshal
import operator
import os
import pathlib
import pickle
import re
import sys
import types
import weakref
from contextvars import ContextVar
from typing import Protocol, runtime_checkable

import pytest
from helpers.interpreters import run_script
from proxy_leaves import CLASSES_DIE, Point, each_leaf, through_variable

from xctx import LocalProxy, LocalWrapper, is_proxy, unwrap

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


@each_leaf
def test_pow(proxy):
    for values in [(2, 3, 5), (7, 2, 6)]:
        expected = pow(*values)
        for chosen in range(8):
            args = [proxy(v) if chosen >> i & 1 else v for i, v in enumerate(values)]
            assert pow(*args) == expected
    assert proxy(2) ** 3 == 2 ** proxy(3) == proxy(2) ** proxy(3) == 8


@each_leaf
def test_what_ft_utils_died_of(proxy):
    assert 2 - proxy(2) == 0
    assert [1] * proxy(2) == [1, 1]
    assert divmod(7, proxy(2)) == (3, 1)
    assert len(proxy({})) == 0


@each_leaf
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


@each_leaf
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


@each_leaf
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


def test_the_buffer_of_a_wrapper():
    data = bytearray(b"abc")
    with memoryview(LocalWrapper(data)) as view:
        view[0] = ord("x")
        assert view.obj is data
        with pytest.raises(BufferError):
            data.append(1)
    assert data == b"xbc"
    data.append(1)
    assert b"-" + LocalWrapper(data) == b"-xbc\x01"
    with pytest.raises(TypeError):
        memoryview(LocalWrapper(5))


def test_a_local_proxy_offers_no_buffer():
    """C code asks the class for one, and then insists on it: what is no buffer would not pass for what it is."""
    with pytest.raises(TypeError):
        memoryview(through_variable(b"abc"))
    assert bytes(memoryview(unwrap(through_variable(b"abc")))) == b"abc"


@each_leaf
def test_c_code_that_takes_a_buffer_or_something_else(proxy):
    assert b"abc".find(proxy(98)) == 1
    extended = bytearray()
    extended.extend(proxy([1, 2]))
    assert extended == b"\x01\x02"
    sqlite3 = pytest.importorskip("sqlite3")
    with contextlib.closing(sqlite3.connect(":memory:")) as connection, pytest.raises(sqlite3.Error):
        connection.execute("select ?", (proxy("text"),))


@each_leaf
def test_bytes(proxy):
    assert bytes(proxy(bytearray(b"abc"))) == b"abc"


@dataclasses.dataclass
class Data:
    x: int
    y: int = 2


def test_a_wrapper_of_a_dataclass():
    data, wrapper = Data(1), LocalWrapper(Data(1))
    assert dataclasses.is_dataclass(wrapper)
    assert dataclasses.fields(wrapper) == dataclasses.fields(type(wrapper)) == dataclasses.fields(data)
    assert dataclasses.asdict(wrapper) == {"x": 1, "y": 2}
    assert dataclasses.astuple(wrapper) == (1, 2)
    assert dataclasses.replace(wrapper, x=5) == Data(5)
    assert dataclasses.asdict(Data(wrapper)) == {"x": {"x": 1, "y": 2}, "y": 2}
    assert not dataclasses.is_dataclass(LocalWrapper(5))


def test_a_class_that_is_made_a_dataclass_late():
    class Late:
        x: int = 1

    early = LocalWrapper(Late())
    dataclasses.dataclass(Late)
    assert not dataclasses.is_dataclass(early)  # its class is made
    assert dataclasses.is_dataclass(LocalWrapper(Late()))


def test_a_class_dies_though_there_was_a_wrapper_of_a_dataclass():
    def made():
        @dataclasses.dataclass
        class Own:
            x: object

        assert dataclasses.asdict(LocalWrapper(Own(Own))) == {"x": Own}
        return weakref.ref(Own)

    ref = made()
    gc.collect()
    if CLASSES_DIE:
        assert ref() is None


@runtime_checkable
class Named(Protocol):
    name: str


@each_leaf
def test_a_protocol_with_data(proxy):
    assert isinstance(proxy(types.SimpleNamespace(name="a")), Named)
    assert not isinstance(proxy(types.SimpleNamespace(other="a")), Named)
    assert not isinstance(proxy(5), Named)
    assert not isinstance(proxy(int), Named)  # its __dict__ is no dict
    assert not isinstance(proxy(list[int]), Named)


@each_leaf
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


@each_leaf
def test_deepcopy_of_its_own(proxy):
    class Own:
        def __copy__(self):
            return "copy"

        def __deepcopy__(self, memo):
            return "deep"

    assert copy.copy(proxy(Own())) == "copy"
    assert copy.deepcopy(proxy(Own())) == "deep"


@each_leaf
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


@each_leaf
def test_format(proxy):
    text = proxy("a")
    assert text == "a"  # a lazy one shows its factory before that
    assert f"{proxy(1.5):.2f} {text!r:>5} {proxy(3)}" == "1.50   'a' 3"
    assert "%s %d" % (proxy("a"), proxy(3)) == "a 3"
    assert proxy("%s-%s") % ("a", "b") == "a-b"
    assert format(proxy(255), "x") == "ff"


@each_leaf
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


@each_leaf
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
    assert not CLASSES_DIE or kept() is None


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


@pytest.mark.parametrize("obj", [3, 2.5, "a", [1], (1,)])
def test_proxy_subclass_adds_and_multiplies_as_its_target(obj):
    class Mine(LocalProxy):
        pass

    p = Mine(lambda: obj)
    assert (p + obj, p * 2, 2 * p) == (obj + obj, obj * 2, 2 * obj)
    kept = copy.copy(obj)
    q = Mine(lambda: kept)
    q += obj
    q *= 2
    assert q == (obj + obj) * 2


def raised(proxy):
    raise proxy(ValueError())


def caught(proxy):
    try:
        raise ValueError
    except proxy(ValueError):
        pass


@pytest.mark.parametrize("proxy", [LocalWrapper, through_variable])
@pytest.mark.parametrize(
    "op",
    [
        lambda proxy: json.dumps(proxy({"a": 1})),
        lambda proxy: marshal.dumps(proxy([1])),
        lambda proxy: ",".join([proxy("a")]),
        lambda proxy: "a,b".split(proxy(",")),
        lambda proxy: re.match("a", proxy("a")),
        lambda proxy: exec("", proxy({})),
        lambda proxy: super(proxy(int), 1),
        raised,
        caught,
    ],
)
def test_what_no_proxy_can_do(op, proxy):
    """The table in docs/proxies.rst."""
    with pytest.raises((TypeError, ValueError)) as raised:
        op(proxy)
    assert str(raised.value)  # of the caller, and not of the target itself


def test_what_only_a_wrapper_can_do(tmp_path):
    def matches(subject):
        match subject:
            case [a, b]:
                return a, b
            case {"a": b}:
                return b

    assert matches(LocalWrapper([1, 2])) == (1, 2)
    assert matches(LocalWrapper({"a": 1})) == 1
    assert matches(through_variable([1, 2])) is None
    with open(tmp_path / "file", "wb") as file:
        assert file.write(LocalWrapper(b"abc")) == 3
        with pytest.raises(TypeError):
            file.write(through_variable(b"abc"))
    assert not dataclasses.is_dataclass(through_variable(Data(1)))
    assert dataclasses.fields(through_variable(Data(1))) == dataclasses.fields(Data)


@pytest.mark.parametrize("kind", ["LocalProxy(forget)", "LocalWrapper.lazy(forget)", "LocalWrapper(Forgetful())"])
@pytest.mark.parametrize("compare", ["weak == [1]", "weak < [2]", "[1] == weak", "weak == weak", "[weak].count([1])"])
def test_a_proxy_that_dies_while_a_weak_proxy_of_it_is_compared(kind, compare):
    """The interpreter holds neither of the two meanwhile, before 3.13."""
    source = f"""
import gc, weakref
from xctx import LocalProxy, LocalWrapper

held = []

def forget():
    held.clear()
    gc.collect()
    return [1]

class Forgetful:
    def __eq__(self, other):
        return forget() == other
    def __lt__(self, other):
        return forget() < other
    def __gt__(self, other):
        return forget() > other

for _ in range(20):
    held.append({kind})
    weak = weakref.proxy(held[0])
    print(bool({compare}), end=" ")
"""
    shown = run_script(source).split()
    assert len(shown) == 20 and set(shown) <= {"True", "False"}
