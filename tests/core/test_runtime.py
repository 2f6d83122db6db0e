"""The runtime under all rooms: what runs here, as the program's libraries know it; one cache for all stores; forks."""

import asyncio
import os
import sys
import threading
import time
import types

import pytest
from helpers.packages import offers

import xctx
from xctx import keys
from xctx._runtime import scheduling

# --- greenlet ---------------------------------------------------------------------------------------------------------

OLD_GREENLET = """
import ctypes, sys, types
capsule = ctypes.pythonapi.PyCapsule_New
capsule.restype, capsule.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
table, name = (ctypes.c_void_p * 8)(), ctypes.c_char_p(b"greenlet._C_API")
old = types.ModuleType("greenlet")
old._C_API, old.__version__ = capsule(ctypes.addressof(table), name, None), "1.1.3"
"""


def test_an_old_greenlet_is_refused_by_the_import(python):
    told = python(
        OLD_GREENLET
        + """
sys.modules["greenlet"] = old
try:
    import xctx
except ImportError as error:
    print(error, error.name)
"""
    )
    assert told == "xctx works with greenlet 2.0 or later, and this program has imported greenlet 1.1.3 greenlet\n"


def test_an_old_greenlet_is_refused_at_first_use(python):
    told = python(
        OLD_GREENLET
        + """
import xctx
from xctx import keys
sys.modules["greenlet"] = old
for key in (keys.greenlet, keys.task):
    try:
        key.current()
    except ImportError as error:
        print(error.name)
print(keys.thread.current().kind)
"""
    )
    assert told == "greenlet\ngreenlet\nthread\n"


def test_a_greenlet_that_is_being_imported_is_not_there_yet(python):
    assert (
        python(
            """
import sys, types
import xctx
half = sys.modules["greenlet"] = types.ModuleType("greenlet")
print(xctx.keys.greenlet.current().kind)
half._C_API = object()
print(xctx.keys.greenlet.current().kind)
"""
        )
        == "thread\nthread\n"
    )


# --- gevent -----------------------------------------------------------------------------------------------------------


def test_no_hub_without_gevent(python):
    told = python(
        "import sys; from xctx._runtime.scheduling import current_hub; print(current_hub(), 'gevent' in sys.modules)"
    )
    assert told == "None False\n"


def test_a_hub_module_that_is_being_imported_is_not_there_yet(monkeypatch):
    monkeypatch.setitem(sys.modules, "gevent._hub_local", types.ModuleType("gevent._hub_local"))
    assert scheduling.current_hub() is None


def test_the_hub_is_found_where_there_is_one_to_switch_to(gevent):
    found = []

    def in_a_thread():
        found.append(scheduling.current_hub())  # none yet
        hub = gevent.get_hub()
        found.append(scheduling.current_hub() is hub)
        gevent.spawn(lambda: found.append(scheduling.current_hub() is hub)).join()
        hub.loop.run_callback(lambda: found.append(scheduling.current_hub()))  # runs in the hub itself
        gevent.sleep(0)
        hub.destroy(destroy_loop=True)
        found.append(scheduling.current_hub())

    thread = threading.Thread(target=in_a_thread)
    thread.start()
    thread.join()
    assert found == [None, True, True, None, None]


def test_a_hub_without_a_loop_is_none(gevent):
    found = []

    def in_a_thread():
        hub = gevent.get_hub()
        loop, hub.loop = hub.loop, None
        found.append(scheduling.current_hub())
        hub.loop = loop
        hub.destroy(destroy_loop=True)

    thread = threading.Thread(target=in_a_thread)
    thread.start()
    thread.join()
    assert found == [None]


def test_a_system_thread_is_one_also_where_gevent_has_patched(gevent, python):
    told = python(
        """
import gevent.monkey
gevent.monkey.patch_all()
import _thread, gevent, time
from xctx._runtime.scheduling import start_system_thread, unpatched
idents, lock = [], unpatched("allocate_lock")()
lock.acquire()
def work(*args):
    idents.append((unpatched("get_ident")(), args))
    lock.release()
ident = start_system_thread(work, (1, 2))
lock.acquire()   # with no greenlet switch: a patched thread would never run
print(idents == [(ident, (1, 2))], ident != unpatched("get_ident")())
"""
    )
    assert told == "True True\n"


def test_a_half_imported_monkey_has_patched_nothing(monkeypatch):
    monkeypatch.setitem(sys.modules, "gevent.monkey", types.ModuleType("gevent.monkey"))
    assert scheduling.unpatched("get_ident")() == threading.get_ident()


def test_a_system_thread_gives_its_ident():
    done = threading.Event()
    found = []
    ident = scheduling.start_system_thread(lambda: (found.append(threading.get_ident()), done.set()))
    done.wait()
    assert found == [ident]


# --- asyncio and trio -------------------------------------------------------------------------------------------------


def test_the_running_task_and_loop():
    async def main():
        assert scheduling.running_task() is asyncio.current_task()
        assert scheduling.current_loop() is asyncio.get_running_loop()

    asyncio.run(main())
    assert (scheduling.running_task(), scheduling.current_loop()) == (None, None)


def test_a_callback_of_a_loop_runs_in_no_task():
    async def main():
        loop = asyncio.get_running_loop()
        found = loop.create_future()
        loop.call_soon(lambda: found.set_result((scheduling.running_task(), scheduling.current_loop() is loop)))
        return await found

    assert asyncio.run(main()) == (None, True)


def test_a_trio_task():
    trio = pytest.importorskip("trio")

    async def main():
        return scheduling.running_task() is trio.lowlevel.current_task(), scheduling.current_loop()

    assert trio.run(main) == (True, None)
    assert scheduling.running_task() is None


# --- time -------------------------------------------------------------------------------------------------------------


def test_the_clock_is_monotonic_and_counts_seconds():
    before, start = scheduling.monotonic(), time.monotonic()
    time.sleep(0.01)
    passed, apart = scheduling.monotonic() - before, time.monotonic() - start
    assert 0.01 <= passed <= apart + 1


# --- one cache for all stores -----------------------------------------------------------------------------------------


def test_stores_that_share_a_cache_entry_are_not_taken_for_each_other():
    stores = [make() for _ in range(70) for make in (xctx.local, xctx.xlocal, lambda: xctx.local(key=keys.thread))]
    for number, store in enumerate(stores):
        if isinstance(store, xctx.local):
            store.number = number
    for _ in range(3):
        for number, store in enumerate(stores):
            if isinstance(store, xctx.local):
                assert store.number == number
            else:
                with store(number=number):
                    assert store.number == number


def test_a_thread_that_takes_the_memory_of_another_finds_nothing_of_it():
    store = xctx.local(key=keys.thread)
    found = []

    def work():
        found.append(hasattr(store, "value"))
        store.value = 1
        found.append(store.value)

    for _ in range(20):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert found == [False, 1] * 20


# --- forks ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not offers("SharedLock"), reason="there are no locks here")
def test_all_rooms_see_the_same_fork(in_fork):
    store, lock, batch = xctx.local(), xctx.SharedLock(), xctx.BatchExecutor(object, 4)
    store.value = 1
    batch.load()
    kept = len(batch.__class__(object, 4).close()), batch.stats.loads

    def child():
        with lock:
            held = lock.mode
        return hasattr(store, "value"), held, batch.stats.fills, keys.process.current().alive

    with lock.exclusive():
        pass
    assert in_fork(child) == (False, "shared", 0, True)
    assert (store.value, kept) == (1, (0, 1))


@pytest.mark.skipif(not offers("SharedLock"), reason="there are no locks here")
def test_forks_of_several_threads_in_turn():
    """What is done before a fork is undone after it, in the parent and in each child."""
    lock, failed = xctx.SharedLock(), []

    def work():
        for _ in range(5):
            with lock:
                pid = os.fork()
                if pid == 0:
                    try:
                        with lock:
                            os._exit(0)
                    finally:
                        os._exit(1)
            failed.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [0] * 15
