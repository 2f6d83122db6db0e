"""Stores and units made, used and dropped by many threads and greenlets at once, for XCTX_STRESS_SECONDS."""

import copy
import gc
import random
import threading
import time

import pytest
from helpers.effort import STRESS_SECONDS
from helpers.packages import installed

import xctx
from xctx import debug, keys

pytestmark = pytest.mark.stress

SECONDS = STRESS_SECONDS
THREADS = 8


class Counted:
    """Counts how many are alive, without a lock: a list's append and pop are atomic."""

    made = []
    died = []

    def __init__(self, owner):
        self.owner = owner
        self.made.append(None)

    def __del__(self):
        self.died.append(None)


@pytest.fixture(autouse=True)
def counted():
    Counted.made.clear()
    Counted.died.clear()
    yield
    for _ in range(3):
        gc.collect()
    assert len(Counted.made) == len(Counted.died)


def run_all(work, count=THREADS):
    """Runs work(random, stop) in so many threads until the time is over."""
    end = time.monotonic() + SECONDS
    errors = []

    def run(seed):
        try:
            work(random.Random(seed), lambda: errors or time.monotonic() > end)
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


OWN = pytest.mark.parametrize("key_name", ["thread", "greenlet", "task", "context"])


@OWN
def test_every_thread_finds_its_own(key):
    """On stores that all share, and that are replaced all the time."""
    stores = [xctx.local(key=key) for _ in range(8)]

    def work(random, stop):
        me = threading.get_ident()
        while not stop():
            for _ in range(100):
                at = random.randrange(len(stores))
                store = stores[at]
                name = f"n{random.randrange(20)}"
                choice = random.random()
                if choice < 0.5:
                    setattr(store, name, Counted(me))
                    assert getattr(store, name).owner == me
                elif choice < 0.8:
                    value = getattr(store, name, None)
                    assert value is None or value.owner == me
                elif choice < 0.9:
                    store.__dict__.pop(name, None)
                    assert not hasattr(store, name)
                elif choice < 0.95:
                    other = copy.copy(store)
                    assert dict(other.__dict__) == dict(store.__dict__)
                elif choice < 0.97:
                    store.__release_local__()
                else:
                    stores[at] = xctx.local(key=key)
                del store
            value = other = None

    run_all(work)
    stores.clear()


@pytest.mark.parametrize("key_name", ["process", "work", "callable"])
def test_threads_that_are_one_unit(key_name):
    key = keys.process if key_name == "process" else keys.Key(lambda: threading.get_ident() % 2)
    stores = [xctx.local(key=key) for _ in range(4)]

    def work(random, stop):
        while not stop():
            for _ in range(100):
                at = random.randrange(len(stores))
                store = stores[at]
                name = f"n{random.randrange(20)}"
                choice = random.random()
                if choice < 0.5:
                    setattr(store, name, Counted(None))
                elif choice < 0.8:
                    getattr(store, name, None)
                elif choice < 0.9:
                    try:
                        delattr(store, name)
                    except AttributeError:
                        pass
                elif choice < 0.95:
                    dict(copy.copy(store).__dict__)
                elif choice < 0.97 and key_name == "callable":
                    key.forget(random.randrange(2))
                else:
                    stores[at] = xctx.local(key=key)
                del store

    run_all(work)
    stores.clear()


@pytest.mark.parametrize("key_name", ["process", "thread", "greenlet", "task", "work", "context", "callable"])
def test_short_threads_and_short_stores(key):
    """Units die while stores die, and somebody looks on."""
    stores = [xctx.local(key=key) for _ in range(4)]

    def touch():
        for at in range(len(stores)):
            stores[at].a = Counted(None)
            stores[at].b = Counted(None)

    def work(random, stop):
        while not stop():
            choice = random.random()
            if choice < 0.6:
                thread = threading.Thread(target=touch)
                thread.start()
                thread.join()
            elif choice < 0.9:
                stores[random.randrange(len(stores))] = xctx.local(key=key)
            elif choice < 0.97:
                for unit, values in debug.units_of(stores[random.randrange(len(stores))]):
                    assert set(values) <= {"a", "b"}
                    debug.stores_of(unit)
            else:
                gc.collect()
        unit = values = thread = None

    run_all(work)
    stores.clear()


def test_init_is_called_once_in_each_of_many_units():
    class Counting(xctx.local):
        calls = []

        def __init__(self):
            self.calls.append(None)
            self.number = threading.get_ident()
            self.value = Counted(None)

    def work(random, stop):
        while not stop():
            made = Counting()
            before = len(threads)

            def touch(made=made):
                assert made.number == threading.get_ident()
                assert made.number == threading.get_ident()
                threads.append(None)

            group = [threading.Thread(target=touch) for _ in range(3)]
            for each in group:
                each.start()
            for each in group:
                each.join()
            stores.append(None)
            assert len(threads) >= before + 3
            made = touch = group = each = None

    threads, stores = [], []
    run_all(work, 4)
    assert len(Counting.calls) == len(threads) + len(stores)


@pytest.mark.skipif(not installed("greenlet"), reason="greenlet is not installed")
@pytest.mark.parametrize("key_name", ["greenlet", "task", "thread", "context"])
def test_greenlets_of_many_threads(key, key_name):
    import greenlet

    stores = [xctx.local(key=key) for _ in range(6)]
    own = key_name in ("greenlet", "task", "context")

    def work(random, stop):
        hub = greenlet.getcurrent()

        def live(me):
            for _ in range(random.randrange(1, 20)):
                store = stores[random.randrange(len(stores))]
                store.value = Counted(me)
                found = store
                del store
                hub.switch()
                value = getattr(found, "value", None)
                assert value is not None
                assert not own or value.owner is me
                del value, found

        crowd = []
        while not stop():
            for _ in range(50):
                choice = random.random()
                if choice < 0.3 or not crowd:
                    crowd.append(greenlet.greenlet(live))
                    crowd[-1].switch(object())
                elif choice < 0.9:
                    at = random.randrange(len(crowd))
                    crowd[at].switch()
                    if crowd[at].dead:
                        del crowd[at]
                elif choice < 0.95:
                    crowd.pop(random.randrange(len(crowd))).throw()
                elif choice < 0.98:
                    del crowd[random.randrange(len(crowd))]  # garbage while suspended
                else:
                    stores[random.randrange(len(stores))] = xctx.local(key=key)
        crowd.clear()

    run_all(work, 4)
    stores.clear()
