"""Bindings go where a snapshot or a carried function goes, whatever the program runs it in."""

import asyncio
import concurrent.futures
import contextvars
import signal
import threading

import pytest
from carry_module import ALL, look

import xctx
import xctx.concurrent


def in_thread(func):
    seen = []
    thread = threading.Thread(target=lambda: seen.append(func()))
    thread.start()
    thread.join()
    return seen.pop()


def in_thread_pool(func):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        return pool.submit(func).result()


def in_task(func):
    async def work():
        return func()

    async def main():
        return await asyncio.create_task(work())

    return asyncio.run(main())


def in_to_thread(func):
    return asyncio.run(asyncio.to_thread(func))


def in_loops_executor(func):
    async def main():
        return await asyncio.get_running_loop().run_in_executor(None, func)

    return asyncio.run(main())


def in_copied_context(func):
    return contextvars.copy_context().run(func)


def in_empty_context(func):
    return contextvars.Context().run(func)


def in_signal_handler(func):
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(func()))
    try:
        signal.raise_signal(signal.SIGUSR1)  # to this thread: another one's is handled later
    finally:
        signal.signal(signal.SIGUSR1, before)
    return seen.pop()


def in_gevent_greenlet(func):
    return pytest.importorskip("gevent").spawn(func).get()


def in_gevent_pool(func):
    pytest.importorskip("gevent")
    from gevent.pool import Pool

    return Pool(1).apply_async(func).get()


def in_gevent_threads(func):
    pytest.importorskip("gevent")
    from gevent.threadpool import ThreadPool

    pool = ThreadPool(1)
    try:
        return pool.spawn(func).get()
    finally:
        pool.kill()


CARRIERS = [
    *(in_thread, in_thread_pool, in_task, in_to_thread, in_loops_executor, in_copied_context, in_empty_context),
    *(in_signal_handler, in_gevent_greenlet, in_gevent_pool, in_gevent_threads),
]


@pytest.fixture(params=CARRIERS, ids=lambda carrier: carrier.__name__)
def carrier(request):
    if "gevent" in request.param.__name__:
        request.getfixturevalue("gevent")
    return request.param


@pytest.fixture
def x(key_name):
    """An xlocal of a module, as those that cross processes are."""
    return ALL[key_name]


def test_carry_takes_bindings_into(carrier, x, key_name):
    with x(a=1, b=2):
        with x(b=3):
            carried = xctx.carry(lambda: (look(key_name), look(key_name)))
        seen = carrier(carried)
    assert seen == ({"a": 1, "b": 3}, {"a": 1, "b": 3})


def test_a_snapshot_applied_by_hand_in(carrier, x, key_name):
    with x(a=1):
        snapshot = xctx.capture(x)

    def work():
        before = look(key_name)
        with snapshot:
            inside = look(key_name)
        return before, inside, look(key_name)

    assert carrier(work) == ({}, {"a": 1}, {})


def test_atexit_callbacks(key_name, python):
    told = python(f"""
import atexit, threading
import xctx
key = "{key_name}"
x = xctx.xlocal(key=xctx.keys.Key(threading.get_ident) if key == "callable" else getattr(xctx.keys, key))
with x(a=1):
    atexit.register(xctx.carry(lambda: print(vars(x))))
    atexit.register(print, "first")
""")
    assert told == "first\n{'a': 1}\n"


# Processes
