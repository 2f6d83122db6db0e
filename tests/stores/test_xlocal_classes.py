"""Classes derived from xlocal: declared names, defaults, what is inherited; and names whose class runs code."""

import gc
import os
import textwrap
import typing
from typing import ClassVar

import pytest

import xctx
from xctx import keys

pytestmark = pytest.mark.usefixtures("nothing_left_bound")


# --- subclasses -------------------------------------------------------------------------------------------------------


class Current(xctx.xlocal):
    request: object
    user: str | None = None
    count: ClassVar[int] = 7
    plain = "plain"

    @property
    def shout(self):
        return (self.user or "nobody").upper()

    def greet(self):
        return f"hello {self.user}"


def test_declared_names_and_their_defaults():
    current = Current()
    assert current.user is None
    assert not hasattr(current, "request")
    with current(user="anna"):
        assert (current.user, current.shout, current.greet()) == ("anna", "ANNA", "hello anna")
        with current(request=1):
            assert (current.user, current.request) == ("anna", 1)
    assert (current.user, current.shout, current.count, current.plain) == (None, "NOBODY", 7, "plain")


def test_another_name_is_refused_with_a_close_match():
    with pytest.raises(TypeError, match="'Current' declares no name 'usr': did you mean 'user'"):
        Current()(usr=1)
    with pytest.raises(TypeError, match="'Current' declares no name 'zzz': it declares request, user"):
        Current()(request=1, zzz=1)
    assert vars(Current()) == {}


def test_a_class_variable_cannot_be_bound():
    with pytest.raises(TypeError, match="declares no name 'count'"):
        Current()(count=1)


def test_declared_attributes_are_read_only():
    with pytest.raises(AttributeError, match="cannot set 'user'"):
        Current().user = 1
    with pytest.raises(AttributeError, match="cannot set 'shout'"):
        Current().shout = 1


def test_vars_has_no_defaults_and_dir_has():
    assert vars(Current()) == {}
    assert {"user", "shout", "greet"} <= set(dir(Current()))


def test_a_declared_name_cannot_start_with_an_underscore():
    with pytest.raises(TypeError, match="'Bad' declares '_a'"):

        class Bad(xctx.xlocal):
            _a: int


def test_declarations_are_inherited():
    class Site(Current):
        site: str

    class Same(Site):
        pass

    for each in (Site(), Same()):
        with each(site="s", user="u", request="r"):
            assert vars(each) == {"site": "s", "user": "u", "request": "r"}
        with pytest.raises(TypeError, match="did you mean 'site'"):
            each(sit=1)


def test_declarations_of_several_bases_are_inherited():
    class A(xctx.xlocal):
        a: int

    class B(xctx.xlocal):
        b: int

    class C(A, B):
        pass

    class D(A, B):
        d: int

    for cls in (C, D):
        each = cls()
        with each(a=1, b=2):
            assert vars(each) == {"a": 1, "b": 2}


def test_a_subclass_that_declares_nothing_binds_anything():
    class Free(xctx.xlocal):
        limit: ClassVar[int] = 3

        def twice(self):
            return 2 * self.a

    free = Free()
    with free(a=1):
        assert free.twice() == 2


def test_string_annotations():
    class Quoted(xctx.xlocal):
        a: "int"
        b: "not.defined[anywhere]"  # noqa: F722
        c: "ClassVar[int]" = 1
        d: "typing.ClassVar" = 2

    with Quoted()(a=1, b=2) as quoted:
        assert vars(quoted) == {"a": 1, "b": 2}
    for name in "cd":
        with pytest.raises(TypeError, match="declares no name"):
            Quoted()(**{name: 1})


def test_future_annotations():
    space = {}
    exec(
        "from __future__ import annotations\n"
        "import xctx, typing\nfrom typing import ClassVar\n"
        "class Later(xctx.xlocal):\n    a: NotDefined\n    c: ClassVar[int] = 1\n    d: typing.ClassVar[str] = ''\n",
        space,
    )
    later = space["Later"]()
    with later(a=1):
        assert later.a == 1
    with pytest.raises(TypeError, match="declares no name 'c'"):
        later(c=1)
    with pytest.raises(TypeError, match="declares no name 'd'"):
        later(d=1)


def test_annotations_that_name_what_comes_later():
    space = {}
    exec("import xctx\nclass Node(xctx.xlocal):\n    parent: 'Node'\n    a: typing.Any\n", {"typing": typing}, space)
    with space["Node"]()(parent=1) as node:
        assert node.parent == 1


def test_the_key_of_a_class(key):
    class Mine(xctx.xlocal, key=key):
        a: int

    class Heir(Mine):
        b: int

    class Other(Mine, key=keys.process):
        pass

    assert f"({key.name})" in repr(Mine())
    assert f"({key.name})" in repr(Heir())
    assert "(process)" in repr(Other())
    assert "(thread)" in repr(Mine(key=keys.thread))
    with pytest.raises(TypeError, match="a key is one of"):

        class Bad(xctx.xlocal, key=1):
            pass


def test_a_subclass_with_an_init_of_its_own():
    class Mine(xctx.xlocal):
        def __init__(self, wanted, *, key=None):
            super().__init__(key=key)
            assert wanted == 1

    assert "(task)" in repr(Mine(1, key=keys.task))
    with Mine(1)(a=2) as mine:
        assert mine.a == 2


def test_a_subclass_with_getattr_is_asked_for_what_is_missing():
    class Mine(xctx.xlocal):
        def __getattr__(self, name):
            return name.upper()

    mine = Mine()
    with mine(a=1):
        assert (mine.a, mine.b) == (1, "B")
    assert mine.a == "A"


def test_a_subclass_with_getattribute_of_its_own():
    class Mine(xctx.xlocal):
        def __getattribute__(self, name):
            return super().__getattribute__(name.removeprefix("the_"))

    mine = Mine()
    with mine(a=1):
        assert mine.the_a == 1
        with pytest.raises(AttributeError, match="'b'"):
            mine.the_b


def test_a_subclass_with_a_call_of_its_own():
    class Mine(xctx.xlocal):
        def __call__(self, value):
            return super().__call__(a=value)

    mine = Mine()
    with mine(1):
        assert mine.a == 1


def test_a_property_that_raises_is_heard():
    class Mine(xctx.xlocal):
        @property
        def bad(self):
            raise OSError("bad")

        @property
        def missing(self):
            return self.nope

    with pytest.raises(OSError, match="bad"):
        Mine().bad
    with pytest.raises(AttributeError, match="'nope'"):
        Mine().missing


def test_an_xlocal_as_a_class_attribute():
    class Holder:
        current = xctx.xlocal()

    with Holder.current(a=1):
        assert Holder().current.a == 1


# --- names that run code ----------------------------------------------------------------------------------------------


class Leaves(str):
    """A name whose comparison leaves blocks."""

    scopes = []

    __hash__ = str.__hash__

    def __eq__(self, other):
        while self.scopes:
            self.scopes.pop().__exit__(None, None, None)
        return str.__eq__(self, other)


@pytest.mark.parametrize("size", [1, 20])
def test_a_name_of_another_kind_of_str(x, size):
    names = {f"n{i}": [i] for i in range(size)}
    for _ in range(20):
        for _ in range(3):
            Leaves.scopes.append(x(**names))
            Leaves.scopes[-1].__enter__()
        assert getattr(x, Leaves("n0")) == [0]
        with x(**{Leaves("b"): 1}):
            assert x.b == 1
        while Leaves.scopes:
            Leaves.scopes.pop().__exit__(None, None, None)


def test_a_collection_in_the_middle_of_a_read():
    # Not in the middle of a write: there, up to 3.11, a finaliser that sets a context variable crashes CPython itself.
    x = xctx.xlocal()
    scopes = []
    reading = False

    class Cycle:
        def __init__(self):
            self.me = self

        def __del__(self):
            while reading and scopes:
                scopes.pop().__exit__(None, None, None)

    threshold = gc.get_threshold()
    try:
        for _ in range(100):
            gc.set_threshold(0)
            scopes.extend([x(a=[1]), x(b=[2])])
            for scope in scopes:
                scope.__enter__()
            Cycle()
            reading = True
            gc.set_threshold(1)
            assert getattr(x, "a", [1]) == [1]
            reading = False
            while scopes:
                scopes.pop().__exit__(None, None, None)
    finally:
        gc.set_threshold(*threshold)


def test_fork_inside_a_block_leaves_the_parents_binding(x, in_fork):
    def child():
        scope.__exit__(None, None, None)
        with x(a=2):
            return x.a, os.getpid()

    scope = x(a=1)
    with scope:
        assert in_fork(child)[0] == 2
        assert x.a == 1


# --- constants, defaults and hooks ------------------------------------------------------------------------------------


def test_a_final_name_cannot_be_bound(key):
    class Current(xctx.xlocal, key=key):
        user: str
        limit: typing.Final = 4
        size: typing.Final[int] = 5
        text: "typing.Final[str]" = "six"

    current = Current()
    assert (current.limit, current.size, current.text) == (4, 5, "six")
    for name in ("limit", "size", "text"):
        with pytest.raises(TypeError, match="declares no name"):
            current(**{name: 1})
    with current(user="me"):
        assert vars(current) == {"user": "me"}


@pytest.mark.parametrize("default", [[], {}, set(), bytearray()], ids=lambda default: type(default).__name__)
def test_a_mutable_default_is_refused(default):
    with pytest.raises(ValueError, match=f"'tags' with a {type(default).__name__!r} as its default"):
        type("Current", (xctx.xlocal,), {"__annotations__": {"tags": object}, "tags": default})


def test_what_is_hashable_or_no_name_is_no_mutable_default():
    class Current(xctx.xlocal):
        tags: tuple = ()
        cache: ClassVar[dict] = {}
        limits: typing.Final = [1]
        plain = []

    current = Current()
    assert (current.tags, current.cache, current.limits, current.plain) == ((), {}, [1], [])


def test_hooks_are_told_of_classes_and_their_xlocals_in_order(python):
    python(
        textwrap.dedent("""
        import xctx
        from xctx._stores.xlocal import add_hooks

        class Base(xctx.xlocal):
            a: int

        class Derived(Base):
            pass

        kept = [Derived(), Base(), xctx.xlocal(), Derived()]
        told = []
        add_hooks(on_subclass=lambda cls: told.append(cls), on_instance=lambda store: told.append(store))
        known = told.index(Base)
        assert told.index(Derived) > known
        assert [each for each in told if not isinstance(each, type)] == [kept[0], kept[1], kept[3]]
        del told[:]
        add_hooks(on_subclass=lambda cls: told.append((2, cls)), on_instance=lambda store: told.append((2, store)))
        del told[:]

        class Last(Derived):
            pass

        last = Last()
        xctx.xlocal()
        assert told == [Last, (2, Last), last, (2, last)], told
    """)
    )


def test_a_hook_that_raises_refuses_the_class_or_the_xlocal(python):
    python(
        textwrap.dedent("""
        import xctx
        from xctx._stores.xlocal import add_hooks

        def refuse(thing):
            raise LookupError("no")

        def outcome(func):
            try:
                func()
            except LookupError:
                return "refused"

        add_hooks(on_subclass=lambda cls: None, on_instance=refuse)

        class Mine(xctx.xlocal):
            pass

        assert outcome(Mine) == "refused" and outcome(xctx.xlocal) is None
        add_hooks(on_subclass=lambda cls: cls is Mine or refuse(cls), on_instance=lambda store: None)
        assert outcome(lambda: type("Other", (xctx.xlocal,), {})) == "refused"
    """)
    )
