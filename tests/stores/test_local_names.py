"""Names of attributes of any kind, and the __dict__ that has them."""

import contextlib

import pytest

import xctx
from xctx import keys

# --- names ------------------------------------------------------------------------------------------------------------


def test_missing_names(store):
    for name in "a", "_a", "__a__", "é", "":
        with pytest.raises(AttributeError, match=f"^'local' object has no attribute '{name}'$"):
            getattr(store, name)
        with pytest.raises(AttributeError, match=f"^'local' object has no attribute '{name}'$"):
            delattr(store, name)
        assert not hasattr(store, name)
        assert getattr(store, name, "default") == "default"
    assert store.__dict__ == {}


@pytest.mark.parametrize("many", [0, 1, 2, 3, 12, 13, 100])
def test_many_names(store, many):
    expected = {}
    for i in range(many):
        setattr(store, f"name{i}", i)
        expected[f"name{i}"] = i
        assert getattr(store, f"name{i}") == i
    assert dict(vars(store)) == expected
    for i in range(0, many, 3):
        delattr(store, f"name{i}")
        del expected[f"name{i}"]
    for i in range(many):
        assert getattr(store, f"name{i}", None) == expected.get(f"name{i}")
    assert list(vars(store).items()) == list(expected.items())
    assert store.__dict__ == expected
    for name in list(expected):
        delattr(store, name)
    assert not vars(store)


def fresh(word):
    """The word, as a str that nobody has interned."""
    return "".join(list(word))


class Plain(str):
    """Another type than str."""


@pytest.mark.parametrize("many", [0, 20], ids=["few", "many"])
@pytest.mark.parametrize("spell", [fresh, Plain], ids=["not interned", "subclass"])
def test_names_are_told_apart_by_what_they_spell(store, spell, many):
    for i in range(many):
        setattr(store, f"other{i}", i)
    setattr(store, spell("number"), 1)
    assert store.number == getattr(store, spell("number")) == getattr(store, fresh("number")) == 1
    store.number = 2
    assert getattr(store, spell("number")) == 2
    setattr(store, spell("number"), 3)
    assert store.number == 3
    assert len(store.__dict__) == many + 1
    delattr(store, spell("number"))
    assert not hasattr(store, "number")
    store.__dict__[spell("number")] = 4
    assert store.number == getattr(store, spell("number")) == 4
    store.__dict__.update({spell("number"): 5})
    assert store.number == getattr(store, fresh("number")) == 5
    delattr(store, fresh("number"))
    assert not hasattr(store, spell("number"))


class Meddling(str):
    """A name that changes the store whenever anybody compares or hashes it."""

    store = None

    def meddle(self):
        if self.store is not None:
            self.store.__dict__.clear()
            self.store.__dict__["meddled"] = 1

    def __eq__(self, other):
        self.meddle()
        return str.__eq__(self, other)

    def __hash__(self):
        self.meddle()
        return str.__hash__(self)


@pytest.mark.parametrize("many", [0, 20], ids=["few", "many"])
@pytest.mark.parametrize(
    "action", [getattr, hasattr, delattr, lambda s, n: setattr(s, n, 1)], ids=["get", "has", "del", "set"]
)
def test_a_name_that_meddles(store, many, action):
    for i in range(many):
        setattr(store, f"other{i}", [i])
    store.first = ["first"]
    store.name = ["name"]
    name = Meddling("name")
    name.store = store
    with contextlib.suppress(AttributeError):
        action(store, name)
    name.store = None
    store.name = store.after = ["still works"]
    assert store.name is store.after


@pytest.mark.parametrize("name", [1, None, b"a"])
def test_names_that_are_not_strings(store, name):
    cls = type(store)
    for call in (
        lambda: cls.__getattribute__(store, name),
        lambda: cls.__setattr__(store, name, 1),
        lambda: cls.__delattr__(store, name),
    ):
        with pytest.raises(TypeError, match="string"):
            call()
    assert not vars(store)


def test_names_of_the_store_itself(store):
    """What the type has for itself is in nobody's way."""
    for name in "key", "args", "kwargs", "var", "serial", "store", "self", "name", "get":
        assert not hasattr(store, name)
        setattr(store, name, name)
        assert getattr(store, name) == name


# --- __dict__ ---------------------------------------------------------------------------------------------------------


def test_dict(store):
    assert store.__dict__ == {}
    store.a = 1
    names = store.__dict__
    assert names == {"a": 1} == vars(store)
    names["b"] = 2
    assert store.b == 2
    names.update(c=3)
    assert store.c == 3
    store.d = 4
    assert names["d"] == 4
    assert sorted(names) == ["a", "b", "c", "d"]
    assert sorted(names.items()) == [("a", 1), ("b", 2), ("c", 3), ("d", 4)]
    assert len(names) == 4 and "a" in names and "z" not in names
    del names["a"]
    assert not hasattr(store, "a")
    with pytest.raises(KeyError):
        del names["a"]
    assert names.pop("b") == 2
    assert names.setdefault("c", 5) == 3
    del store.c
    assert names == {"d": 4}
    names.clear()
    assert not hasattr(store, "d")
    assert repr(names) == "{}"


def test_dict_cannot_be_replaced(store):
    store.a = 1
    with pytest.raises(AttributeError, match=r"__dict__.*read-only"):
        store.__dict__ = {}
    with pytest.raises(AttributeError, match=r"__dict__.*read-only"):
        del store.__dict__
    assert store.a == 1


def test_the_dict_of_a_unit_outlives_its_store(key_name, key):
    store = xctx.local(key=key)
    store.a = 1
    names = store.__dict__
    del store
    assert names == {"a": 1}


def test_each_unit_has_a_dict_of_its_own(key, other_unit, told_apart, unit_kind):
    if unit_kind.name == "fork":
        pytest.skip("identity means nothing across processes")
    if key in (keys.flow, keys.context):
        pytest.skip("a view of what is current, not a dict")
    store = xctx.local(key=key)
    assert store.__dict__ is store.__dict__
    assert (other_unit(lambda: store.__dict__) is store.__dict__) != told_apart
