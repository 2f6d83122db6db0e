"""local while interpreters end: silence on stderr and exit code 0, whatever is still alive and whatever it does."""

import sys

import pytest
from helpers.packages import FREE_THREADED, installed

PRELUDE = """
import contextvars, os, signal, sys, threading
import xctx
from xctx import debug, keys

key = {key}

class Value:
    def __init__(self, store=None, write=os.write, **more):
        self.store, self.write = store, write
    def __del__(self):
        self.write(1, b"x")
        if self.store is not None:
            self.store.again = 1
            getattr(self.store, "missing", None)
            self.store.__dict__.clear()
"""

KEYS = {
    "process": "keys.process",
    "thread": "keys.thread",
    "greenlet": "keys.greenlet",
    "task": "keys.task",
    "work": "keys.work",
    "context": "keys.context",
    "callable": "keys.Key(threading.get_ident)",
}


@pytest.fixture(params=KEYS)
def script(request, python):
    """Runs a script after the prelude, for each key; gives how many values were finalised."""

    def run(source):
        told = python(PRELUDE.format(key=KEYS[request.param]) + source)
        assert set(told) <= {"x"}
        return len(told)

    return run


def test_a_store_of_a_module(script):
    assert script("store = xctx.local(key=key); store.value = Value()") == 1


def test_a_store_whose_value_uses_it(script):
    script("store = xctx.local(key=key); store.value = Value(store)")


def test_a_store_whose_values_use_another_one(script):
    script(
        """
stores = [xctx.local(key=key) for _ in range(10)]
for store, other in zip(stores, stores[1:] + stores[:1]):
    store.value = Value(other)
    store.__dict__["more"] = Value(other)
del store, other
"""
    )


def test_a_store_kept_by_what_is_never_released(script):
    """It outlives the modules: the main thread's values go with the thread, very late."""
    script(
        """
import ctypes
store, untouched = xctx.local(key=key), xctx.local(key=keys.task)
class Late(Value):
    def __del__(self, xctx=None):
        self.store.again = 1
        getattr(self.store, "missing", None)
store.value = Late(untouched)
store.own = Late(store)
ctypes.pythonapi.Py_IncRef(ctypes.py_object(store))
"""
    )


def test_a_store_kept_by_a_builtin_module(script):
    script("store = sys.kept = xctx.local(key=key); store.value = Value(store); store.me = store")


def test_a_subclass_whose_init_is_called_at_the_end(script):
    script(
        """
class Initialised(xctx.local, key=key):
    def __init__(self, number):
        self.number = number
store = Initialised(1)
class Late(Value):
    def __del__(self):
        self.store.__release_local__()
        self.store.number = 2
sys.kept = Late(store)
"""
    )


def test_daemon_threads_that_use_stores(script):
    script(
        """
store = xctx.local(key=key)
started = threading.Semaphore(0)
def work():
    store.value = Value()
    started.release()
    while True:
        store.number = 1
        xctx.local(key=key).a = store
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
for _ in range(3):
    started.acquire()
"""
    )


@pytest.mark.skipif(not FREE_THREADED, reason="with a GIL nothing is promoted")
@pytest.mark.parametrize("_turn", range(20))
def test_daemon_threads_that_use_a_store_so_often_that_it_is_promoted(python, _turn):
    """That stops the world, beside collections, while the interpreter ends: it hung once in fifteen runs."""
    python(
        PRELUDE.format(key="keys.context")
        + """
store = xctx.local(key=key)
started = threading.Semaphore(0)
def work():
    started.release()
    while True:
        store.number = 1
        xctx.local(key=key).a = store
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
for _ in range(3):
    started.acquire()
"""
    )


def test_daemon_threads_that_wait(script):
    script(
        """
store = xctx.local(key=key)
started, never = threading.Semaphore(0), threading.Event()
class Slow(xctx.local, key=key):
    def __init__(self):
        if threading.current_thread() is not threading.main_thread():
            started.release()
            never.wait()
slow = Slow()
def work():
    store.value = Value()
    if key is keys.process:
        started.release()
    getattr(slow, "a", None)
    never.wait()
threading.Thread(target=contextvars.Context().run, args=(work,), daemon=True).start()
started.acquire()
"""
    )


def test_atexit(script):
    assert (
        script(
            """
import atexit
store = xctx.local(key=key)
store.value = Value()
def last():
    assert store.value
    del store.value
    store.value = Value()
atexit.register(last)
"""
        )
        == 2
    )


def test_sys_exit_in_a_unit(python):
    python("import sys, xctx; s = xctx.local(); s.a = s; sys.exit(3)", status=3)


def test_greenlets_left_suspended(script):
    if not installed("greenlet"):
        pytest.skip("greenlet is not installed")
    script(
        """
import greenlet
store = xctx.local(key=key)
main = greenlet.getcurrent()
def work(i):
    store.value = Value(store)
    try:
        main.switch()
    finally:
        store.late = i
made = [greenlet.greenlet(work) for _ in range(10)]
for i, each in enumerate(made):
    each.switch(i)
"""
    )


def test_greenlets_left_by_a_thread(script):
    if not installed("greenlet"):
        pytest.skip("greenlet is not installed")
    script(
        """
import greenlet
store = xctx.local(key=key)
left = []
def work():
    main = greenlet.getcurrent()
    def touch():
        store.value = Value()
        main.switch()
    for _ in range(5):
        left.append(greenlet.greenlet(touch))
        left[-1].switch()
for _ in range(3):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
"""
    )


def test_gevent_left_running(script):
    if not installed("gevent"):
        pytest.skip("gevent is not installed")
    script(
        """
import gevent
store = xctx.local(key=key)
def work():
    store.value = Value(store)
    gevent.sleep(1000)
jobs = [gevent.spawn(work) for _ in range(5)]
gevent.sleep(0)
"""
    )


def test_a_task_left_pending(script):
    script(
        """
import asyncio
store = xctx.local(key=key)
async def work():
    store.value = Value(store)
    await asyncio.Event().wait()
async def main():
    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
asyncio.run(main())
"""
    )


def test_threads_that_end_with_the_program(script):
    script(
        """
store = xctx.local(key=key)
def work():
    store.value = Value(store)
    threading.main_thread().join()
    store.late = Value()
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
"""
    )


@pytest.mark.skipif(sys.platform == "win32", reason="nothing forks there")
def test_a_forked_child_that_ends(script):
    script(
        """
store = xctx.local(key=key)
store.value = Value(store)
child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
else:
    signal.alarm(60)
    store.own = Value()
"""
    )
