"""xctx.debug: what is kept, and for which unit."""

import faulthandler
import gc
import importlib.util
import os
import signal
import threading
import weakref

import pytest

import xctx
from xctx import debug, keys

unit_keys = pytest.mark.parametrize("key_name", ["process", "thread", "greenlet", "task", "callable"])


def found(pairs, store):
    """The values that are listed for the store."""
    return [values for each, values in pairs if each is store]


@unit_keys
@pytest.mark.parametrize("many", [0, 20])
def test_both_ways(key, many):
    store, other = xctx.local(key=key), xctx.local(key=key)
    unit = key.current()
    assert debug.units_of(store) == []
    assert found(debug.stores_of(unit), store) == []
    expected = {f"more{i}": i for i in range(many)}
    for name, value in expected.items():
        setattr(store, name, value)
    store.a = 1
    expected["a"] = 1
    assert debug.units_of(store) == [(unit, expected)]
    assert found(debug.stores_of(unit), store) == [expected]
    assert found(debug.stores_of(unit), other) == []


@unit_keys
def test_what_is_shown_is_a_copy(key):
    store = xctx.local(key=key)
    store.a = 1
    for as_dict in False, True:
        if as_dict:
            store.__dict__["b"] = 2
        debug.units_of(store)[0][1]["c"] = 3
        found(debug.stores_of(key.current()), store)[0].clear()
        assert store.__dict__ == ({"a": 1, "b": 2} if as_dict else {"a": 1})


@pytest.mark.parametrize("key_name", ["thread", "greenlet", "task"])
def test_from_another_thread(key):
    store = xctx.local(key=key)
    store.a = "main"
    filled, go = threading.Event(), threading.Event()
    units = []

    def work():
        store.a = "thread"
        units.append(key.current())
        filled.set()
        go.wait()

    thread = threading.Thread(target=work)
    thread.start()
    filled.wait()
    try:
        assert sorted(values["a"] for _, values in debug.units_of(store)) == ["main", "thread"]
        assert debug.stores_of(units[0]) == [(store, {"a": "thread"})]
        assert dict(debug.units_of(store))[units[0]] == {"a": "thread"}
        if key is keys.thread:
            assert debug.stores_of(keys.thread.of(thread)) == [(store, {"a": "thread"})]
    finally:
        go.set()
        thread.join()
    assert not units[0].alive
    assert debug.stores_of(units[0]) == []
    assert [values for _, values in debug.units_of(store)] == [{"a": "main"}]


def test_the_stores_of_a_suspended_greenlet(greenlet):
    stores = [xctx.local() for _ in range(30)]
    main = greenlet.getcurrent()

    def work():
        for i, store in enumerate(stores):
            store.number = i
        del store
        main.switch()

    made = greenlet.greenlet(work)
    made.switch()
    pairs = debug.stores_of(keys.greenlet.of(made))
    assert {id(store): values["number"] for store, values in pairs} == {id(store): i for i, store in enumerate(stores)}
    del pairs, stores[10:]
    assert len(debug.stores_of(keys.greenlet.of(made))) == 10
    made.throw()


def test_the_stores_of_a_task(in_asyncio):
    store = xctx.local(key=keys.task)

    def within():
        import asyncio

        store.a = 1
        return debug.stores_of(keys.task.of(asyncio.current_task()))

    assert in_asyncio(within) == [(store, {"a": 1})]


def test_the_stores_of_this_unit():
    store = xctx.local()
    store.a = 1
    assert found(debug.stores_of(keys.greenlet.current()), store) == [{"a": 1}]


@unit_keys
def test_looking_keeps_nothing_alive(key, thing, no_collector):
    store = xctx.local(key=key)
    store.value = value = thing()
    told = weakref.ref(value), weakref.ref(store)
    del value
    for _ in range(3):
        debug.units_of(store), debug.stores_of(key.current())
    del store
    assert [each() for each in told] == [None, None]


def test_looking_from_a_finaliser(in_thread):
    """In the middle of the death of what is looked at."""
    store, other = xctx.local(), xctx.local()
    seen = []

    class Value:
        def __del__(self):
            seen.append((debug.units_of(store), debug.stores_of(keys.greenlet.current())))

    def work():
        other.value = 1
        store.value = Value()

    in_thread(work)
    assert seen == [([], [])]


def test_a_store_whose_finaliser_looks():
    seen = []

    class Looking(xctx.local):
        def __del__(self):
            seen.append(found(debug.stores_of(keys.greenlet.current()), self))

    store = Looking()
    store.a = 1
    del store
    assert seen == [[{"a": 1}]]


def test_wrong_arguments():
    for func in debug.units_of, debug.stores_of:
        for wrong in None, 1, object(), threading.local():
            with pytest.raises(TypeError):
                func(wrong)
    with pytest.raises(TypeError):
        debug.stores_of(xctx.local())


def test_while_others_write_and_die():
    stores = [xctx.local() for _ in range(5)]
    stop = threading.Event()

    def work():
        i = 0
        while not stop.is_set():
            i += 1
            for store in stores:
                setattr(store, f"n{i % 30}", [i])
                if not i % 7:
                    store.__dict__.clear()
            xctx.local().a = i

    def short():
        while not stop.is_set():
            thread = threading.Thread(target=lambda: [setattr(store, "a", [1]) for store in stores])
            thread.start()
            thread.join()

    threads = [threading.Thread(target=work) for _ in range(2)] + [threading.Thread(target=short)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(200):
            for store in stores:
                for unit, values in debug.units_of(store):
                    assert all(isinstance(value, list) for value in values.values())
                    for other, _values in debug.stores_of(unit):
                        assert isinstance(other, xctx.local)
        gc.collect()
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a hang is to be survived, and nothing forks here")
@pytest.mark.skipif(not importlib.util.find_spec("_testcapi"), reason="this interpreter has no _testcapi")
@pytest.mark.parametrize("many", [8, 20])
@pytest.mark.parametrize("key", [keys.thread, keys.process], ids=["thread", "process"])
def test_no_lock_is_held_where_memory_fails(key, many):
    """Without the GIL those of the stores are held while it is looked, so what follows would wait for ever. There
    CPython 3.13 may crash where it has no memory for a list, which is none of this test's business."""

    def look(number):
        import _testcapi

        faulthandler.disable()
        signal.alarm(60)
        store, unit = xctx.local(key=key), key.current()
        for each in range(many):
            setattr(store, f"name{each}", each)
        for func, arg in (debug.units_of, store), (debug.stores_of, unit):
            func(arg)
            try:
                _testcapi.set_nomemory(number, number + 1)
                func(arg)
            except MemoryError:
                pass
            finally:
                _testcapi.remove_mem_hooks()
            store.name1 = number  # takes those of what is kept for this unit, and the next line that of all stores
            xctx.local(key=key).a = number

    for number in range(12):
        child = os.fork()
        if not child:
            try:
                look(number)
            finally:
                os._exit(0)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) != signal.SIGALRM
