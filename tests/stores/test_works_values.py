"""What a local keeps for a unit of work, and many threads that use it."""

import gc
import threading
import weakref

import pytest
from makers import run_threads
from units_of_work import store

import xctx
from xctx import debug, keys

pytestmark = pytest.mark.usefixtures("nothing_stays_bound", "outside_of_any_work")


# --- what the class has, and what is kept ----------------------------------------------------------------------------


def test_what_is_kept_comes_before_what_the_class_has_unless_that_is_a_data_descriptor():
    class Base(xctx.local, key=keys.work):
        a = "class"
        n = 7

        def method(self):
            return self.a

    class Store(Base):
        names: list = xctx.field(default_factory=list)

    made = Store()
    with xctx.work():
        assert (made.a, made.n, made.method()) == ("class", 7, "class")
        made.a = made.b = "kept"
        for _ in range(3):
            assert (made.a, made.n, made.method(), made.b) == ("kept", 7, "kept", "kept")
        made.names.append(1)
        assert made.names == [1] and made.a == "kept"
        # From now on the class says what these are.
        Base.a = property(lambda self: "property")
        assert made.a == "property" and made.b == "kept"
        Store.b = property(lambda self: "property")
        assert made.b == "property"
        assert vars(made)["b"] == vars(made)["a"] == "kept"
        del Base.a, Store.b
        assert (made.a, made.b) == ("kept", "kept")
        assert made.__class__ is Store
        vars(made)["__class__"] = vars(made)["__doc__"] = 1
        assert made.__class__ is Store and made.__doc__ == 1
        assert not hasattr(made, "c") and not hasattr(made, "_c")
        made._c = 1
        assert made._c == 1


def test_a_descriptor_whose_class_changes():
    class Attribute:
        pass

    class Store(xctx.local, key=keys.work):
        a = Attribute()

    made = Store()
    with xctx.work():
        made.a = 1
        assert made.a == 1
        Attribute.__get__ = lambda self, store, cls: "descriptor"
        assert made.a == 1  # it is no data descriptor
        Attribute.__set__ = lambda self, store, value: None
        assert made.a == "descriptor"


def test_nothing_is_found_of_what_was_there_before():
    """Whatever it is that a unit of work had: it has ended, its values were taken away, or moved into a dict."""

    class Store(xctx.local, key=keys.work):
        def __init__(self):
            self.ready = True
            if fails:
                raise LookupError("on purpose")

    fails = []
    plain, made = xctx.local(key=keys.work), Store()
    for n in range(50):
        with xctx.work():
            assert not hasattr(plain, "a")
            plain.a = n
            assert plain.a == n and made.ready
            with xctx.work():
                assert not hasattr(plain, "a")
                fails.append(1)
                for _ in range(2):
                    with pytest.raises(LookupError):
                        made.ready
                fails.clear()
                assert made.ready
            assert plain.a == n
            for i in range(20):
                setattr(plain, f"a{i}", i)
            assert (plain.a, plain.a19) == (n, 19)
            del plain.a
            assert not hasattr(plain, "a") and plain.a0 == 0


def test_finalisers_that_read_while_it_ends():
    class Value:
        def __del__(self):
            seen.append((getattr(store, "a", None), getattr(store, "b", None)))
            if len(seen) < 4:
                store.b = Value()
                seen.append(getattr(store, "b", None) is not None)

    seen = []
    with xctx.work():
        store.a = Value()
        assert store.a is not None
    assert [each for each in seen if each is not True] == [(None, None)] * 3
    assert not vars(store)


# --- one unit of work, many threads ----------------------------------------------------------------------------------


def test_initialised_once_a_unit_of_work():
    class Store(xctx.local, key=keys.work):
        def __init__(self, start):
            self.n = start
            calls.append(start)

    calls = []
    made = Store(7)
    for _ in range(3):
        with xctx.work():
            assert made.n == 7
            made.n += 1
            assert xctx.capture().run(lambda: made.n) == 8
    assert calls == [7] * 4


def test_threads_share_it_and_initialise_it_once():
    class Store(xctx.local, key=keys.work):
        def __init__(self):
            calls.append(xctx.work.current())

    calls = []
    made = Store()
    del calls[:]
    with xctx.work() as unit:
        snapshot = xctx.capture()

        def run(i):
            snapshot.run(setattr, made, f"name{i}", i)

        run_threads(8, run)
        assert vars(made) == {f"name{i}": i for i in range(8)}
        assert calls == [unit]


def test_no_operation_is_lost():
    with xctx.work():
        snapshot = xctx.capture()

        def run(i):
            for n in range(200):
                setattr(store, f"a{i}", n)
                setattr(store, f"b{i}", n)
                delattr(store, f"b{i}")
                assert getattr(store, f"a{i}") == n
                assert not hasattr(store, f"b{i}")

        run_threads(4, lambda i: snapshot.run(run, i))
        assert vars(store) == {f"a{i}": 199 for i in range(4)}


def test_it_ends_while_others_work_for_it():
    # What they store when it has ended goes with it, or is their own, and nobody finds it later.
    def job(started, stop, snapshot):
        started.wait()
        snapshot.run(stores, stop)

    def stores(stop):
        while not stop.is_set():
            store.a = store.b = 1
            store.__dict__.get("a")
            store.a = 2

    for _ in range(20):
        started, stop = threading.Barrier(3), threading.Event()
        with xctx.work():
            snapshot = xctx.capture()
            threads = [threading.Thread(target=job, args=(started, stop, snapshot)) for _ in range(2)]
            for thread in threads:
                thread.start()
            started.wait()
        with xctx.work():
            assert not hasattr(store, "a")
        stop.set()
        for thread in threads:
            thread.join()
        assert not vars(store)


def test_many_names_and_what_can_be_done_with_them():
    with xctx.work():
        for i in range(40):
            setattr(store, f"n{i}", i)
        assert [getattr(store, f"n{i}") for i in range(40)] == list(range(40))
        for i in range(0, 40, 2):
            delattr(store, f"n{i}")
        assert vars(store) == {f"n{i}": i for i in range(1, 40, 2)}
        vars(store)["more"] = 1
        assert store.more == 1
        with pytest.raises(AttributeError):
            del store.n0
        store.__release_local__()
        assert not vars(store)


def test_debug_shows_what_is_kept_for_it():
    with xctx.work() as unit:
        store.a = 1
        assert debug.stores_of(unit) == [(store, {"a": 1})]
        assert (unit, {"a": 1}) in debug.units_of(store)
    assert debug.stores_of(unit) == []


def test_a_store_that_dies_releases_what_it_has(thing, no_collector):
    with xctx.work():
        mine = xctx.local(key=keys.work)
        mine.a = value = thing()
        ref = weakref.ref(value)
        del value
        assert ref() is not None
        del mine
        assert ref() is None


def test_a_value_that_refers_to_its_store_is_collected(thing):
    with xctx.work():
        mine = xctx.local(key=keys.work)
        mine.a = value = thing()
        value.store = mine
        ref = weakref.ref(value)
        del value, mine
        gc.collect()
        assert ref() is None
