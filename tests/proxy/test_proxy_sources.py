"""LocalProxy: its sources, nothing behind it, and recursion."""

import copy
import gc
import pickle
import sys
import threading
import weakref
from contextvars import ContextVar

import pytest
from proxy_leaves import LEAVES, Point, Store, outcome

from xctx import LocalProxy, LocalWrapper, is_proxy, unwrap

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


class Name(str):
    """A name whose methods do not tell what it holds."""

    def split(self, *args):
        return []

    def encode(self, *args):
        return b"other"


def test_a_name_of_a_subclass_of_str_is_the_string_that_it_holds():
    store = Store()
    store.user, store.other = Point(1), Point(2)
    assert LocalProxy(store, Name("user")).x == 1
    assert LocalProxy(store, Name("user.x")) == 1
    assert repr(LocalProxy(store, Name("nobody"))) == "<LocalProxy unbound>"


def test_a_name_may_have_any_character():
    store = Store()
    store.a = "before the null character"
    for name in ("a\0b", "", "\0", "\N{GREEK SMALL LETTER ALPHA}", "\udc80"):
        setattr(store, name, ("found", name))
        assert unwrap(LocalProxy(store, name)) == ("found", name)


def test_a_cycle_through_the_message_is_collected():
    class Message:
        pass

    message = Message()
    message.proxy = LocalProxy(ContextVar("empty"), "name", unbound_message=message)
    gone = weakref.ref(message)
    del message
    gc.collect()
    assert gone() is None


def test_a_source_is_set_once_also_where_asking_it_sets_it():
    """Finding out what kind of source it is runs Python code, which may call __init__ again."""

    class Again(type):
        @property
        def __release_local__(cls):
            if again:
                again.pop()
                LocalProxy.__init__(p, ContextVar("inner", default=1))
            raise AttributeError

    class Source(metaclass=Again):
        def __call__(self):
            return "outer"

    again = [True]
    p = LocalProxy.__new__(LocalProxy)
    with pytest.raises(TypeError, match="never changes"):
        LocalProxy.__init__(p, Source())
    assert p == 1


@pytest.mark.parametrize("name", [5, b"x", None, (), object()], ids=lambda name: type(name).__name__)
@pytest.mark.parametrize("make", LEAVES, ids=lambda leaf: leaf.__name__)
def test_the_name_of_an_attribute_is_a_str(make, name):
    p = make(Point(1))
    for ask in (
        lambda: type(p).__getattribute__(p, name),
        lambda: type(p).__setattr__(p, name, 1),
        lambda: type(p).__delattr__(p, name),
    ):
        with pytest.raises(TypeError, match=f"attribute name must be string, not '{type(name).__name__}'"):
            ask()


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
    ):
        with pytest.raises(RuntimeError, match="^nothing here$"):
            op(p)
    assert repr(p) == f"<{type(p).__name__} unbound>"
    assert bool(p) is False
    if sys.version_info >= (3, 14):
        for op in (lambda p: p == p, lambda p: p != 1):
            with pytest.raises(RuntimeError, match="^nothing here$"):
                op(p)
    else:
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


@pytest.mark.usefixtures("small_heap")
def test_target_deletes_its_proxy():
    """In the middle of an operation, the proxy that it was asked of dies."""

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
