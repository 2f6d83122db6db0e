"""None is a value like any other: it never stands for "nothing" in a store."""

import contextlib

import pytest

import xctx


@pytest.fixture
def derived(key):
    """A class derived from local, with None in each way that a class can have it."""

    class Derived(xctx.local, key=key):
        __slots__ = ("slot",)
        app = None
        retries = 0

        @property
        def computed(self):
            return None

        @classmethod
        def made_by_class(cls):
            return None

    return Derived


def test_a_class_attribute_that_is_none_is_a_default(derived, other_unit):
    store = derived()
    for run in (lambda func: func(), other_unit):
        assert run(lambda: (store.app, getattr(store, "app", "missing"), hasattr(store, "app"), store.retries)) == (
            None,
            None,
            True,
            0,
        )
    store.app = 1
    assert store.app == 1
    del store.app
    assert store.app is None
    with pytest.raises(AttributeError):
        del store.app


def test_a_base_hides_what_its_own_base_has_with_none(key):
    class Base(xctx.local, key=key):
        name = "base"

    class Derived(Base):
        name = None

    assert Derived().name is None


def test_a_property_a_slot_and_a_method_that_give_none(derived):
    store = derived()
    assert store.computed is None
    assert store.made_by_class() is None
    with pytest.raises(AttributeError):
        store.slot  # it is a slot that has not been set
    store.slot = None
    assert store.slot is None
    with pytest.raises(AttributeError):
        store.computed = 1


def test_a_descriptor_that_gives_none(key):
    class Gives:
        def __get__(self, instance, owner):
            return None

    store = type("Derived", (xctx.local,), {"given": Gives()}, key=key)()
    assert store.given is None
    store.given = 2
    assert store.given == 2


@pytest.mark.parametrize("many", [0, 3, 20])
def test_a_value_that_is_none(store, many):
    for i in range(many):
        setattr(store, f"n{i}", None)
    store.value = None
    assert store.value is None
    assert getattr(store, "value", 1) is None
    assert store.__dict__ == {**{f"n{i}": None for i in range(many)}, "value": None}
    store.value = 1
    store.value = None
    assert store.value is None
    del store.value
    assert not hasattr(store, "value")
    with pytest.raises(AttributeError):
        del store.value


def test_a_name_bound_to_none_hides_an_outer_one(x):
    with x(a=1, b=1):
        with x(a=None):
            assert (x.a, getattr(x, "a", 2), hasattr(x, "a"), x.b) == (None, None, True, 1)
            assert vars(x) == {"a": None, "b": 1}
        assert x.a == 1


@pytest.mark.parametrize("many", [1, 8, 9, 20])
def test_names_bound_to_none(x, many):
    names = {f"n{i}": None for i in range(many)}
    with x(**names):
        assert vars(x) == names
        assert x.n0 is None
        assert not hasattr(x, "other")
        snapshot = xctx.capture(x)
    assert not hasattr(x, "n0")
    with snapshot:
        assert vars(x) == names


def test_a_default_that_is_none(key):
    class Current(xctx.xlocal, key=key):
        user: str | None = None
        name: str = "nobody"

    current = Current()
    assert (current.user, hasattr(current, "user")) == (None, True)
    with current(user="me", name=None):
        assert (current.user, current.name) == ("me", None)
        with current(user=None):
            assert current.user is None
    with contextlib.ExitStack() as stack:
        stack.enter_context(current(user=None))
        assert current.user is None
