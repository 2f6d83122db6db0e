"""xctx.field(default_factory=...): values made once for each block of an xlocal, once for each unit of a local."""

import contextlib
import contextvars
import copy
import threading
import typing
from typing import ClassVar

import pytest

import xctx
from xctx import debug

NO_BLOCK = "its default_factory makes one for each block, and no block is open here"


@pytest.fixture
def current(key):
    class Current(xctx.xlocal, key=key):
        a: int = 0
        tags: list = xctx.field(default_factory=list)

    return Current()


# --- xlocal -----------------------------------------------------------------------------------------------------------


def test_one_is_made_for_each_block(current):
    with current(a=1):
        current.tags.append(1)
        assert current.tags == [1]
    with current():
        assert current.tags == []
    scope = current(a=2)
    with scope:
        first = current.tags
    with scope:
        assert current.tags == []
        assert current.tags is not first


def test_a_block_within_has_it_already(current):
    with current(a=1):
        current.tags.append(1)
        with current(a=2):
            current.tags.append(2)
        assert current.tags == [1, 2]


def test_a_block_that_binds_it_makes_none(current):
    with current(tags=(1,)):
        assert current.tags == (1,)
        with current(a=1):
            assert current.tags == (1,)


def test_outside_of_blocks_it_is_not_there(current):
    assert not hasattr(current, "tags")
    assert not hasattr(type(current), "tags")
    with pytest.raises(AttributeError) as raised:
        _ = current.tags
    assert str(raised.value) == f"'Current' object has nothing bound to 'tags' here: {NO_BLOCK}"
    assert debug.explain(current, "tags") == f"'tags' is not bound here: {NO_BLOCK}"
    with current():
        assert debug.explain(current, "tags") == "'tags' is bound here"
        with xctx.nothing():
            assert not hasattr(current, "tags")
            with current():
                assert current.tags == []
    assert not hasattr(current, "tags")
    assert (vars(current), "tags" in dir(current)) == ({}, False)


def test_entered_by_hand(current):
    scope, other = current(a=1), current(a=2)
    scope.__enter__()
    other.__enter__()
    current.tags.append(1)
    other.__exit__(None, None, None)
    assert current.tags == [1]
    scope.__exit__(None, None, None)
    assert not hasattr(current, "tags")
    with contextlib.suppress(RuntimeError), scope:
        scope.__exit__(None, None, None)
        assert not hasattr(current, "tags")


def test_one_call_of_a_decorated_function(current):
    @current(a=1)
    def steps():
        current.tags.append(1)
        yield current.tags
        current.tags.append(2)
        yield current.tags

    @current(a=1)
    def call():
        current.tags.append(1)
        return current.tags

    assert list(steps()) == [[1, 2], [1, 2]]
    assert next(steps()) is not next(steps())
    assert (call(), call()) == ([1], [1])


def test_it_goes_along(current, other_unit, unit_kind):
    with current(a=1):
        current.tags.append(1)
        seen = xctx.carry(lambda: current.tags)
        assert other_unit(seen) == [1]
        if unit_kind.name != "fork":
            assert other_unit(lambda: xctx.carry(lambda: current.tags)() if hasattr(current, "tags") else [1]) == [1]


def test_what_was_taken_outside_of_blocks_has_none(current):
    snapshot = xctx.capture(current)
    with current(a=1), snapshot:
        assert not hasattr(current, "tags")


def test_nothing_is_bound_where_a_factory_raises(key):
    class Current(xctx.xlocal, key=key):
        a: int
        tags: list = xctx.field(default_factory=lambda: 1 / 0)

    current = Current()
    scope = current(a=1)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), scope:
            raise AssertionError
        with pytest.raises(ZeroDivisionError):
            scope.__enter__()
        assert vars(current) == {}
    with current(tags=[]):
        assert current.tags == []


def test_a_factory_that_uses_the_xlocal(key):
    class Current(xctx.xlocal, key=key):
        a: int = 0
        b: int = xctx.field(default_factory=lambda: inside())

    current = Current()

    def inside():
        with current(a=5, b=6):
            return current.a + current.b

    with current(a=1):
        assert (current.a, current.b) == (1, 11)


def test_derived_classes(key):
    class Base(xctx.xlocal, key=key):
        tags: list = xctx.field(default_factory=list)
        names: dict = xctx.field(default_factory=dict)

    class Derived(Base):
        tags: tuple = ()
        more: set = xctx.field(default_factory=set)

    class Again(Derived):
        tags: list = xctx.field(default_factory=lambda: [1])

    with Base()() as base, Derived()() as derived, Again()() as again:
        assert vars(base) == {"tags": [], "names": {}}
        assert vars(derived) == {"names": {}, "more": set()}
        assert derived.tags == ()
        assert vars(again) == {"tags": [1], "names": {}, "more": set()}


def test_values_are_released_with_their_block(key, thing, no_collector):
    import weakref

    class Current(xctx.xlocal, key=key):
        made: object = xctx.field(default_factory=thing)

    current = Current()
    with current():
        gone = weakref.ref(current.made)
        assert gone() is not None
    assert gone() is None


def test_a_field_is_annotated():
    for annotations in {}, {"tags": ClassVar[list]}, {"tags": typing.Final}:
        with pytest.raises(TypeError, match=r"'Current' has a field 'tags' that it does not declare: annotate it"):
            type("Current", (xctx.xlocal,), {"__annotations__": annotations, "tags": xctx.field(default_factory=list)})


def test_a_factory_can_be_called():
    with pytest.raises(TypeError, match="default_factory is a callable that takes nothing, not 1"):
        xctx.field(default_factory=1)


def test_concurrent_blocks(key):
    class Current(xctx.xlocal, key=key):
        tags: list = xctx.field(default_factory=list)

    current, scope, wrong = Current(), None, []
    scope = current()
    barrier = threading.Barrier(4)

    def work(number):
        barrier.wait()
        for _ in range(200):
            with scope:
                current.tags.append(number)
                if current.tags != [number]:
                    wrong.append(current.tags)

    threads = [threading.Thread(target=contextvars.Context().run, args=(work, number)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert wrong == []


# --- local ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def made(key):
    """A local with a field, and the list of what its factory made."""
    made = []

    def make():
        made.append([])
        return made[-1]

    class Mine(xctx.local, key=key):
        tags: list = xctx.field(default_factory=make)

    return Mine(), made


def test_one_is_made_for_each_unit(made, other_unit, starts_empty, unit_kind):
    store, values = made
    assert values == []
    store.tags.append(1)
    assert store.tags == [1]
    assert values == [[1]]
    assert other_unit(lambda: store.tags) == ([] if starts_empty else [1])
    if unit_kind.name != "fork":
        assert len(values) == (2 if starts_empty else 1)
    assert store.tags is values[0]
    assert store.__dict__ == {"tags": [1]}


def test_set_before_it_is_read(made):
    store, values = made
    store.tags = "mine"
    assert (store.tags, values) == ("mine", [])
    del store.tags
    assert store.tags == []
    assert len(values) == 1


def test_a_factory_that_sets_the_name(key):
    class Mine(xctx.local, key=key):
        tags: list = xctx.field(default_factory=lambda: setattr(store, "tags", [1]) or [2])

    store = Mine()
    assert (store.tags, store.tags) == ([1], [1])


def test_a_factory_that_raises(key):
    class Mine(xctx.local, key=key):
        tags: list = xctx.field(default_factory=lambda: 1 / 0)

    store = Mine()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            _ = store.tags
    assert store.__dict__ == {}


def test_a_copy_has_the_same(made):
    store, _ = made
    store.tags.append(1)
    assert copy.copy(store).tags is store.tags


def test_of_the_class(made):
    store, _ = made
    assert repr(type(store).tags).startswith("<field made by <function ")


def test_of_a_local_with_an_init(key):
    class Mine(xctx.local, key=key):
        tags: list = xctx.field(default_factory=list)

        def __init__(self, first):
            self.tags.append(first)

    assert Mine(1).tags == [1]


def test_threads_that_share_one(key_name):
    class Mine(xctx.local, key=xctx.keys.process):
        tags: list = xctx.field(default_factory=list)

    store, barrier, seen = Mine(), threading.Barrier(4), []

    def work():
        barrier.wait()
        seen.append(store.tags)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len({id(each) for each in seen}) == 1
