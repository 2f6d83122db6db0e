"""local: what a store keeps for each unit, under every key, in every kind of unit; names, __dict__, copies and more."""

import copy
import weakref

import pytest

import xctx
from xctx import debug, keys

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
        lambda made: list(vars(made)),
        lambda made: setattr(made, "other", 1),
        lambda made: made.__dict__.update(other=1),
        lambda made: delattr(made, "number"),
        lambda made: copy.copy(made),
    ],
    ids=["get", "miss", "dict", "dir", "iter", "set", "update", "del", "copy"],
)
def test_any_touch_calls_init(key, key_name, in_fresh_thread, touch):
    ready = []

    class Counted(xctx.local, key=key):
        def __init__(self):
            ready.append(1)
            self.number = len(ready)

    made = Counted()
    del ready[:]
    in_fresh_thread(lambda: (touch(made), dict(made.__dict__)))
    copies = 1 if touch.__code__.co_names[:1] == ("copy",) else 0
    assert len(ready) == copies + (key_name != "process")


def test_an_init_that_raises_leaves_nothing_and_is_tried_again(key, key_name, in_fresh_thread):
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
    in_fresh_thread(elsewhere)
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
