"""local: what a store keeps for whom, under every key and in every kind of unit; names, __dict__, copies and more."""

import contextlib
import copy
import gc
import pickle
import threading
import weakref

import pytest

import xctx
from xctx import debug, keys


@pytest.fixture
def store(key):
    return xctx.local(key=key)


@pytest.fixture
def starts_empty(key_name, told_apart, sees_bindings):
    """Whether another unit of this kind finds nothing in a store that this one has filled."""
    if key_name in ("flow", "context"):
        return not sees_bindings
    return told_apart


@pytest.fixture
def writes_back(key_name, told_apart):
    """Whether this unit sees what the other one writes."""
    return not told_apart


# --- units ------------------------------------------------------------------------------------------------------------


def test_a_unit_has_its_own_values(store, other_unit, starts_empty, writes_back):
    store.a = "mine"

    def elsewhere():
        seen = getattr(store, "a", None), dict(store.__dict__)
        store.a = "theirs"
        store.b = "theirs too"
        return seen, store.a, dict(store.__dict__)

    seen, a, names = other_unit(elsewhere)
    assert seen == ((None, {}) if starts_empty else ("mine", {"a": "mine"}))
    assert a == "theirs"
    assert names == {"a": "theirs", "b": "theirs too"}
    assert store.a == ("theirs" if writes_back else "mine")
    assert hasattr(store, "b") == writes_back


def test_deleting_elsewhere(store, other_unit, starts_empty, writes_back):
    store.a = 1

    def elsewhere():
        try:
            del store.a
        except AttributeError:
            return "nothing to delete"
        return hasattr(store, "a")

    assert other_unit(elsewhere) == ("nothing to delete" if starts_empty else False)
    assert hasattr(store, "a") != writes_back


def test_two_stores_do_not_meet(key, other_unit):
    one, two = xctx.local(key=key), xctx.local(key=key)

    def fill():
        one.a = 1
        two.a = 2
        return one.a, two.a

    fill()
    assert other_unit(fill) == (1, 2)
    assert (one.a, two.a) == (1, 2)


def test_init_is_called_once_in_each_unit_with_the_arguments_of_the_constructor(
    key, key_name, other_unit, told_apart, starts_empty
):
    calls = []

    class Counted(xctx.local, key=key):
        def __init__(self, *args, **kwargs):
            calls.append((args, kwargs))
            self.number = len(calls)

    made = Counted(1, two=2)
    assert calls == [((1,), {"two": 2})]

    def elsewhere():
        return made.number, made.number, hasattr(made, "other"), dict(made.__dict__), calls

    first, second, other, names, seen_calls = other_unit(elsewhere)
    assert first == second == (2 if starts_empty else 1)
    assert not other
    assert names == {"number": first}
    assert seen_calls == [((1,), {"two": 2})] * (2 if starts_empty else 1)
    assert made.number == 1


@pytest.mark.parametrize(
    "touch",
    [
        lambda made: made.number,
        lambda made: getattr(made, "other", None),
        lambda made: made.__dict__,
        lambda made: dir(made),
        lambda made: list(made),
        lambda made: setattr(made, "other", 1),
        lambda made: made.__dict__.update(other=1),
        lambda made: delattr(made, "number"),
        lambda made: copy.copy(made),
    ],
    ids=["get", "miss", "dict", "dir", "iter", "set", "update", "del", "copy"],
)
def test_any_touch_calls_init(key, key_name, in_thread, touch):
    ready = []

    class Counted(xctx.local, key=key):
        def __init__(self):
            ready.append(1)
            self.number = len(ready)

    made = Counted()
    del ready[:]
    in_thread(lambda: (touch(made), dict(made.__dict__)))
    copies = 1 if touch.__code__.co_names[:1] == ("copy",) else 0
    assert len(ready) == copies + (key_name != "process")


def test_an_init_that_raises_leaves_nothing_and_is_tried_again(key, key_name, in_thread):
    refuse = []
    kept = []

    class Refusing(xctx.local, key=key):
        def __init__(self):
            self.value = Value()
            kept.append(weakref.ref(self.value))
            if refuse:
                raise LookupError(refuse.pop())

    class Value:
        pass

    made = Refusing()

    def elsewhere():
        refuse.extend(["second", "first"])
        for word in "first", "second":
            with pytest.raises(LookupError, match=word) as caught:
                made.value
            del caught
        assert kept[-1]() is None
        assert [unit for unit, _ in debug.units_of(made)] == ([] if key_name in ("flow", "context") else [main])
        made.value
        assert "value" in made.__dict__

    main = key.current()
    if key_name == "process":
        pytest.skip("no other unit in this process")
    in_thread(elsewhere)
    assert kept[0]() is made.value


def test_an_init_that_raises_in_the_constructor(key, thing):
    values = []

    class Refusing(xctx.local, key=key):
        def __init__(self):
            self.value = thing()
            values.append(weakref.ref(self.value))
            raise LookupError("no")

    with pytest.raises(LookupError):
        Refusing()
    assert values[0]() is None


# --- construction -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "kwargs"), [((1,), {}), ((), {"a": 1}), ((keys.thread,), {}), ((1,), {"key": keys.thread})]
)
def test_arguments_that_nobody_takes(args, kwargs):
    class Plain(xctx.local):
        pass

    for cls in xctx.local, Plain:
        with pytest.raises(TypeError, match=cls.__name__):
            cls(*args, **kwargs)


@pytest.mark.parametrize("bad", [1, "greenlet", object(), [], 0])
def test_bad_keys(bad):
    with pytest.raises(TypeError, match="key"):
        xctx.local(key=bad)
    with pytest.raises(TypeError, match="key"):
        type("Bad", (xctx.local,), {}, key=bad)


def test_a_key_whose_value_is_not_hashable():
    store = xctx.local(key=list)
    for touch in (lambda: store.a, lambda: setattr(store, "a", 1), lambda: store.__dict__):
        with pytest.raises(TypeError, match="hashable"):
            touch()


def test_a_key_that_raises():
    store = xctx.local(key=lambda: 1 / 0)
    for touch in (lambda: store.a, lambda: setattr(store, "a", 1), lambda: store.__dict__, lambda: hasattr(store, "a")):
        with pytest.raises(ZeroDivisionError):
            touch()


def test_a_key_that_gives_another_value_each_time(in_thread):
    count = iter(range(10**6))
    store = xctx.local(key=lambda: next(count) // 3)
    store.a = 1
    assert [hasattr(store, "a") for _ in range(3)] == [True, True, False]

    class Initialised(xctx.local, key=lambda: next(count) // 8):
        def __init__(self):
            self.here = True

    made = Initialised()
    for _ in range(100):
        assert made.here
        assert not hasattr(made, "other")
        assert made.__dict__ == {"here": True}


def test_a_key_of_values():
    current = "red"
    key = keys.Key(lambda: current, "colour")
    store = xctx.local(key=key)
    store.a = 1
    current = "blue"
    assert not hasattr(store, "a")
    store.a = 2
    current = "red"
    assert store.a == 1
    key.forget("red")
    assert not hasattr(store, "a")
    current = "blue"
    assert store.a == 2


def test_the_default_key_is_the_greenlet(in_thread, in_greenlet):
    store = xctx.local()
    store.a = 1
    assert not in_thread(lambda: hasattr(store, "a"))
    assert not in_greenlet(lambda: hasattr(store, "a"))


def test_the_key_of_a_class(in_greenlet):
    class OfThread(xctx.local, key=keys.thread):
        pass

    class Derived(OfThread):
        pass

    class Other(OfThread, key=keys.greenlet):
        pass

    for made, seen in (OfThread(), True), (Derived(), True), (Other(), False), (Other(key=keys.thread), True):
        made.a = 1
        assert in_greenlet(lambda made=made: hasattr(made, "a")) == seen


def test_key_is_an_argument_like_any_other_where_there_is_an_init(in_greenlet):
    class Named(xctx.local, key=keys.thread):
        def __init__(self, key):
            self.name = key

    made = Named(key="name")
    assert made.name == "name"
    assert in_greenlet(lambda: made.name) == "name"


def test_other_class_arguments_go_to_the_next_init_subclass():
    class Mixin:
        def __init_subclass__(cls, colour=None, **kwargs):
            super().__init_subclass__(**kwargs)
            cls.colour = colour

    class Coloured(xctx.local, Mixin, key=keys.thread, colour="red"):
        pass

    assert Coloured.colour == "red"
    with pytest.raises(TypeError):
        type("Wrong", (xctx.local,), {}, size=1)


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
    assert dict(store) == expected
    for i in range(0, many, 3):
        delattr(store, f"name{i}")
        del expected[f"name{i}"]
    for i in range(many):
        assert getattr(store, f"name{i}", None) == expected.get(f"name{i}")
    assert list(store) == list(expected.items())
    assert store.__dict__ == expected
    for name in list(expected):
        delattr(store, name)
    assert not list(store)


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
    assert not list(store)


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


# --- copies, pickles, references --------------------------------------------------------------------------------------


def test_copy(store, other_unit, told_apart):
    store.a = [1]
    store.b = 2
    other = copy.copy(store)
    assert type(other) is type(store)
    assert other.a is store.a
    other.b = 3
    del other.a
    assert (store.a, store.b) == ([1], 2)
    if told_apart:
        assert other_unit(lambda: dict(copy.copy(other).__dict__)) in ({}, {"b": 3})


def test_a_copy_has_the_key_of_the_original(key, key_name):
    store = xctx.local(key=key)
    store.a = 1
    other = copy.copy(store)
    result = []
    thread = threading.Thread(target=lambda: result.append(hasattr(other, "a")))
    thread.start()
    thread.join()
    assert result == [key_name == "process"]


def test_copying_an_initialised_store_calls_its_init(key):
    calls = []

    class Counted(xctx.local, key=key):
        def __init__(self, *args, **kwargs):
            calls.append((args, kwargs))
            self.a = "new"
            self.b = "new"

    made = Counted(1, x=2)
    made.a = "changed"
    del made.b
    other = copy.copy(made)
    assert calls == [((1,), {"x": 2})] * 2
    assert dict(other.__dict__) == {"a": "changed", "b": "new"}


def test_deep_copies_and_pickles_are_refused(store):
    store.a = 1
    with pytest.raises(TypeError, match="cannot pickle 'local' object"):
        copy.deepcopy(store)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="cannot pickle 'local' object"):
            pickle.dumps(store, protocol)


def test_weak_references(key):
    store = xctx.local(key=key)
    store.a = 1
    told = []
    reference = weakref.ref(store, told.append)
    assert reference() is store
    assert weakref.WeakKeyDictionary({store: 1})[store] == 1
    del store
    assert reference() is None
    assert told == [reference]


def test_stores_compare_by_identity(key):
    one, two = xctx.local(key=key), xctx.local(key=key)
    one.a = two.a = 1
    assert one == one and one != two
    assert len({one, two, one}) == 2


def test_dir(store, other_unit, starts_empty):
    store.zebra = 1
    assert "zebra" in dir(store)
    assert {"__dict__", "__class__", "__copy__"} <= set(dir(store))
    assert dir(store) == sorted(dir(store))
    assert other_unit(lambda: "zebra" in dir(store)) != starts_empty


def test_the_collector_is_told_of_everything(store):
    store.a = store.b = [1]
    store.c = {}
    assert any(value is store.a for value in gc.get_referents(store)) or gc.get_referents(gc.get_referents(store))


# --- as werkzeug's Local ----------------------------------------------------------------------------------------------


def test_iteration(store):
    assert list(store) == []
    store.a = 1
    store.b = 2
    assert list(store) == [("a", 1), ("b", 2)]
    for name, _ in store:
        delattr(store, name)
    assert list(store) == []


def test_release_local(store, other_unit, starts_empty, writes_back):
    store.a = 1
    store.b = 2

    def elsewhere():
        store.c = 3
        store.__release_local__()
        return list(store)

    assert other_unit(elsewhere) == []
    assert dict(store) == ({} if writes_back else {"a": 1, "b": 2})
    store.__release_local__()
    assert list(store) == [] and not hasattr(store, "a")
    store.a = 4
    assert list(store) == [("a", 4)]
