"""Copies of stores, references to them, and what werkzeug's Local can do."""

import copy
import gc
import pickle
import threading
import weakref

import pytest

import xctx

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


def test_a_copy_has_the_key_of_the_original(key, key_name, in_fresh_thread):
    store = xctx.local(key=key)
    store.a = 1
    other = copy.copy(store)
    assert in_fresh_thread(lambda: hasattr(other, "a")) == (key_name == "process")


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


def test_a_class_that_says_how_it_is_pickled(key, monkeypatch):
    def pickles(base, **arguments):
        """What becomes of objects of some classes; an exception's type where they are refused."""

        class Reduces(base, **arguments):
            def __init__(self, number=0):
                self.number = number

            def __reduce__(self):
                return Reduces, (self.number + 1,)

        class HasState(base, **arguments):
            def __init__(self):
                self.number = 1

            def __getstate__(self):
                return {"number": self.number + 1}

            def __setstate__(self, state):
                self.__dict__.update(state)

        class HasArguments(base, **arguments):
            def __init__(self, number):
                self.number = number

            def __getnewargs__(self):
                return (5,)

            def __getstate__(self):
                return {"number": self.number + 1}

        found = []
        for made in (Reduces(6), HasState(), HasArguments(3)):
            monkeypatch.setitem(globals(), type(made).__name__, type(made))
            type(made).__qualname__ = type(made).__name__
            for copied in (copy.deepcopy, *map(through, range(pickle.HIGHEST_PROTOCOL + 1))):
                try:
                    found.append(copied(made).number)
                except TypeError:
                    found.append(TypeError)
        return found

    def through(protocol):
        return lambda made: pickle.loads(pickle.dumps(made, protocol))

    plain = pickles(threading.local)
    assert plain.count(7) == 7 and plain.count(TypeError) == 4
    assert pickles(xctx.local, key=key) == plain


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


def test_it_cannot_be_iterated_over(store):
    """Whoever took it for a list of stores, as werkzeug's LocalManager does, would take it for an empty one."""
    store.a = 1
    with pytest.raises(TypeError, match="not iterable"):
        iter(store)


def test_release_local(store, other_unit, starts_empty, writes_back):
    store.a = 1
    store.b = 2

    def elsewhere():
        store.c = 3
        store.__release_local__()
        return dict(vars(store))

    assert other_unit(elsewhere) == {}
    assert dict(vars(store)) == ({} if writes_back else {"a": 1, "b": 2})
    store.__release_local__()
    assert dict(vars(store)) == {} and not hasattr(store, "a")
    store.a = 4
    assert dict(vars(store)) == {"a": 4}
