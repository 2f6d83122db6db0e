"""How a store dies: before, after and in the midst of its units; and large numbers of both."""

import copy
import gc
import threading
import tracemalloc
import weakref

import pytest
from finalised import Value

import xctx
from xctx import debug, keys


class Worker:
    """A thread that runs what it is given, until it is told to end."""

    def __init__(self):
        self.given, self.done = threading.Semaphore(0), threading.Semaphore(0)
        self.func = None
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self):
        while True:
            self.given.acquire()
            if self.func is None:
                return
            self.func()
            self.func = None
            self.done.release()

    def run(self, func):
        self.func = func
        self.given.release()
        func = None
        self.done.acquire()

    def end(self):
        self.given.release()
        self.thread.join()


@pytest.fixture
def workers():
    made = [Worker() for _ in range(4)]
    yield made
    for worker in made:
        if worker.thread.is_alive():
            worker.end()


def released(log, count, workers):
    """Without the GIL a value goes when the thread that made it comes round to it."""
    for worker in workers:
        worker.run(lambda: None)
    return log == ["value"] * count


# --- a store dies -----------------------------------------------------------------------------------------------------


def test_values_die_with_the_store_in_every_unit(key, key_name, log, workers, no_collector):
    store = xctx.local(key=key)
    holder = [store]
    for worker in workers:
        worker.run(lambda: setattr(holder[0], "value", Value(log)))
    assert released(log, 3 if key_name == "process" else 0, workers)
    told = weakref.ref(store)
    del store
    holder.clear()
    assert told() is None
    assert released(log, 4, workers)


def test_a_store_dies_in_another_thread(key, log, workers, no_collector):
    holder = [xctx.local(key=key)]
    holder[0].value = Value(log)
    workers[0].run(lambda: setattr(holder[0], "value", Value(log)))
    workers[1].run(holder.clear)
    assert released(log, 2, workers)


def test_a_store_dies_before_its_greenlets(log, greenlet, no_collector):
    holder = [xctx.local()]
    main = greenlet.getcurrent()

    def work():
        holder[0].value = Value(log)
        main.switch()
        assert not holder

    made = [greenlet.greenlet(work) for _ in range(10)]
    for each in made:
        each.switch()
    holder.clear()
    assert log == ["value"] * 10
    for each in made:
        each.switch()
    assert all(each.dead for each in made)


def test_a_store_dies_with_its_last_value(log, in_thread, no_collector):
    """The value holds the store, and dies at the exit of the thread."""
    told = []

    def work():
        store = xctx.local()
        store.value = Value(log)
        told.append(weakref.ref(store))
        store.value.store = store  # a cycle, as long as the thread lives

    in_thread(work)
    assert log == ["value"]
    assert told[0]() is None


def test_a_finaliser_deletes_the_store_at_the_exit_of_its_thread(log, in_thread, no_collector):
    holder = {"store": xctx.local()}
    others = [xctx.local() for _ in range(5)]

    def work():
        for each in others:
            each.value = Value(log)
        holder["store"].value = Value(log, holder.clear)
        for each in others:
            each.other = Value(log, others.clear)

    in_thread(work)
    assert not holder and not others
    assert log == ["value"] * 11


def test_a_finaliser_deletes_stores_when_its_greenlet_ends(log, in_greenlet, no_collector):
    stores = [xctx.local() for _ in range(10)]

    def work():
        for each in stores:
            each.value = Value(log, stores.clear)

    for each in stores:
        each.value = Value(log)
    del each
    in_greenlet(work)
    assert log == ["value"] * 20


def test_a_finaliser_at_the_death_of_a_store_cannot_reach_it(key, log, no_collector):
    told = []

    class Told(xctx.local, key=key):
        pass

    store = Told()
    told.append(weakref.ref(store))
    seen = []
    store.value = Value(log, lambda: seen.append(told[0]()))
    del store
    assert (seen, log) == ([None], ["value"])


def test_a_store_that_is_brought_back_by_its_own_finaliser(key, no_collector):
    kept = []

    class Phoenix(xctx.local, key=key):
        def __del__(self):
            if not kept:
                kept.append(self)

    store = Phoenix()
    store.value = 1
    del store
    assert kept[0].value == 1
    kept[0].value = 2
    assert kept[0].__dict__ == {"value": 2}
    told = weakref.ref(kept[0])
    kept.append(kept.pop() and None)
    assert told() is None


def test_weak_reference_callbacks_at_the_death_of_a_store(key, log, no_collector):
    order = []
    store = xctx.local(key=key)
    store.value = value = Value(order)
    references = [
        weakref.ref(store, lambda _: order.append("store")),
        weakref.ref(value, lambda _: order.append("dead")),
    ]
    del value, store
    assert sorted(order) == ["dead", "store", "value"]
    assert [each() for each in references] == [None, None]


def test_a_store_in_itself(key, key_name):
    store = xctx.local(key=key)
    store.me = store
    store.__dict__["again"] = [store]
    told = weakref.ref(store)
    del store
    gc.collect()
    assert told() is None


def test_a_store_in_itself_in_units_that_are_gone(key, workers):
    class Slotted(xctx.local, key=key):
        __slots__ = ("me",)

    holder = [Slotted()]
    holder[0].me = holder[0]
    for worker in workers:
        worker.run(lambda: setattr(holder[0], "again", {"store": holder[0]}))
    workers[0].end()
    told = weakref.ref(holder.pop())
    gc.collect()
    assert told() is None


def test_the_collector_leaves_what_is_in_use(key):
    store = xctx.local(key=key)
    inner = xctx.local(key=key)
    store.inner, inner.outer = inner, store
    store.value = [Value([])]
    for _ in range(3):
        gc.collect()
    assert store.inner.outer.value[0].name == "value"


def test_finalisers_of_a_cycle_use_the_store(key, log):
    """The collector finalises before it clears, so the store is still whole."""
    store = xctx.local(key=key)
    seen = []

    class InCycle:
        def __init__(self, store):
            self.store = store

        def __del__(self):
            seen.append(self.store.word)
            self.store.word = "written"
            del self.store.word
            self.store.again = "written"

    store.word = "word"
    store.value = InCycle(store)
    told = weakref.ref(store)
    del store
    gc.collect()
    gc.collect()
    assert seen == ["word"]
    assert told() is None


@pytest.mark.sampled
@pytest.mark.parametrize("cls", [xctx.local, type("Derived", (xctx.local,), {})])
@pytest.mark.parametrize("many", [0, 20])
def test_stores_in_stores_as_deep_as_they_like(key, cls, many, no_collector):
    told = []
    store = None
    for depth in range(100_000):
        outer = cls() if depth % 2 else cls(key=key)
        if many and depth % 1000 == 0:
            for i in range(many):
                setattr(outer, f"n{i}", i)
        outer.inner = store
        store = outer
        if depth % 10_000 == 0:
            told.append(weakref.ref(store))
    del outer, store
    assert [each() for each in told] == [None] * 10


def test_a_thread_exits_while_its_stores_die_elsewhere(log):
    """Both sides at once, many times."""
    for _ in range(100):
        stores = [xctx.local() for _ in range(20)]
        filled, go = threading.Barrier(3), threading.Event()

        def work(stores=stores, filled=filled, go=go):
            for each in stores:
                each.value = Value(log)
            del each, stores
            filled.wait()
            go.wait()

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        filled.wait()
        work = None
        go.set()
        stores.clear()
        for thread in threads:
            thread.join()
        del thread, threads
    gc.collect()
    assert len(log) == 100 * 20 * 2


# --- large numbers ----------------------------------------------------------------------------------------------------


def test_ten_thousand_stores(log, in_thread, no_collector):
    stores = [xctx.local() for _ in range(10_000)]

    def work():
        for each in stores:
            assert not hasattr(each, "value")
            each.value = Value(log)
        assert all(each.value.name == "value" for each in stores)

    work()
    in_thread(work)
    assert len(log) == 10_000
    assert len(debug.stores_of(keys.greenlet.current())) >= 10_000
    # Every other one dies; those that are left are still found, and so are new ones in their place.
    del stores[::2]
    assert len(log) == 15_000
    stores += [xctx.local() for _ in range(5_000)]
    for i, each in enumerate(stores):
        assert hasattr(each, "value") == (i < 5_000)
        each.value = Value(log)
    stores.clear()
    del each
    assert len(log) == 30_000


def test_stores_that_come_and_go_in_a_unit_that_lives_on(in_thread, no_collector):
    kept = [xctx.local() for _ in range(100)]

    def work():
        for each in kept:
            each.value = 1
        used = []
        tracemalloc.start()
        for turn in range(20):
            for _ in range(2_000):
                xctx.local().value = turn
            used.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        assert all(each.value == 1 for each in kept)
        return used

    used = in_thread(work)
    assert max(used) < 20_000


def test_a_hundred_thousand_greenlets(greenlet, log, no_collector):
    store = xctx.local()
    main = greenlet.getcurrent()

    def work(i):
        store.number = i
        main.switch()
        assert store.number == i
        if i % 1000 == 0:
            log.append(i)

    # They share one function: only what the store keeps is counted below.
    made = [greenlet.greenlet(work) for _ in range(100_000)]
    for i, each in enumerate(made):
        each.switch(i)
    assert len(debug.units_of(store)) == 100_000
    for each in made[:50_000]:
        each.switch()
    del made[:50_000], each
    assert len(debug.units_of(store)) == 50_000
    assert len(log) == 50
    made.clear()
    assert debug.units_of(store) == []


def test_the_memory_of_a_unit_is_flat(greenlet, no_collector):
    store = xctx.local()
    main = greenlet.getcurrent()

    def touch():
        store.number = 1
        main.switch()

    def bare():
        main.switch()

    def cost(work, count):
        tracemalloc.start()
        made = [greenlet.greenlet(work) for _ in range(count)]
        for each in made:
            each.switch()
        used = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        del made, each
        return used / count

    cost(touch, 100)
    # What is not allocated through Python's allocators is not seen here; that it is flat is what is tested.
    few, many = cost(touch, 1_000) - cost(bare, 1_000), cost(touch, 8_000) - cost(bare, 8_000)
    assert many <= few + 50
    assert many <= 400
    assert debug.units_of(store) == []


@pytest.mark.sampled
def test_what_units_leave_behind(key, key_name, other_unit, unit_kind, no_collector):
    """Nothing: after many units the process is no larger."""
    if unit_kind.name == "fork":
        pytest.skip("leaves nothing by its nature")
    if key_name == "callable":
        pytest.skip("values that compare by equality are kept until they are forgotten")
    store = xctx.local(key=key)

    def touch():
        store.a = 1
        store.b = [store.a]

    def growth(func):
        used = []
        for count in 10, 30:
            for _ in range(count):
                other_unit(func)
            gc.collect()
            used.append(tracemalloc.get_traced_memory()[0])
        return used[1] - used[0]

    tracemalloc.start()
    try:
        # The least of three, because other things go on in this process, and a leak would be in all three.
        bare = max(growth(lambda: None) for _ in range(3))  # asyncio has some
        touched = min(growth(touch) for _ in range(3))
    finally:
        tracemalloc.stop()
    assert touched - bare < 30 * 50
    assert len(debug.units_of(store)) <= 3


def test_copies_die_alone(key, log, no_collector):
    store = xctx.local(key=key)
    store.value = Value(log)
    for _ in range(10):
        other = copy.copy(store)
        other.own = Value(log, name="own")
        del other
    assert log == ["own"] * 10
    del store
    assert log[-1] == "value"
