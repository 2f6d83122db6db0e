"""Bindings taken along by everything that runs work elsewhere, under every key; each carrier is the real thing."""

import asyncio
import concurrent.futures
import contextvars
import multiprocessing
import multiprocessing.pool
import os
import signal
import sys
import threading

import pytest
from carry_module import ALL, VAR, look, look_and_set, look_at_var

import xctx
import xctx.concurrent

WAYS = ["copy", "empty"]
START_METHODS = [name for name in ("fork", "spawn", "forkserver") if name in multiprocessing.get_all_start_methods()]


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
        os.kill(os.getpid(), signal.SIGUSR1)
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


@pytest.fixture(scope="module", params=START_METHODS)
def start_method(request):
    return multiprocessing.get_context(request.param)


@pytest.fixture(scope="module")
def process_pool(start_method):
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=start_method) as pool:
        yield pool


@pytest.fixture(scope="module")
def multiprocessing_pool(start_method):
    with start_method.Pool(1) as pool:
        yield pool
        pool.close()
        pool.join()


def test_process_pools(process_pool, x, key_name):
    with x(a=1):
        future = process_pool.submit(xctx.carry(look), key_name)
        assert list(process_pool.map(xctx.carry(look), [key_name])) == [{"a": 1}]
    assert future.result() == {"a": 1}
    assert process_pool.submit(look, key_name).result() == {}


def test_pools_of_multiprocessing(multiprocessing_pool, x, key_name):
    with x(a=1):
        assert multiprocessing_pool.apply(xctx.carry(look), (key_name,)) == {"a": 1}
        assert multiprocessing_pool.map(xctx.carry(look), [key_name] * 3) == [{"a": 1}] * 3
    assert multiprocessing_pool.apply(look, (key_name,)) == {}


def test_a_process_of_its_own(start_method, x, key_name):
    here, there = start_method.Pipe()
    with x(a=1):
        process = start_method.Process(target=xctx.carry(send), args=(there, key_name))
    process.start()
    assert here.recv() == {"a": 1}
    process.join()
    assert process.exitcode == 0


def send(pipe, key_name):
    pipe.send(look(key_name))


def test_an_executor_of_processes_that_carries(start_method, x, key_name):
    with xctx.concurrent.ProcessPoolExecutor(1, mp_context=start_method, contextvars=[VAR]) as pool:
        token = VAR.set(7)
        with x(a=1):
            futures = [pool.submit(look, key_name), pool.submit(look_at_var)]
            mapped = pool.map(look, [key_name] * 2)
        VAR.reset(token)
        assert [future.result() for future in futures] == [{"a": 1}, 7]
        assert list(mapped) == [{"a": 1}] * 2
        assert pool.submit(look, key_name).result() == {}
        assert pool.submit(look_at_var).result() is None


def test_a_pool_that_carries(start_method, x, key_name):
    with xctx.concurrent.Pool(1, context=start_method) as pool:
        with x(a=1):
            seen = [
                pool.apply(look, (key_name,)),
                pool.apply_async(look, (key_name,)).get(),
                *pool.map(look, [key_name]),
                *pool.map_async(look, [key_name]).get(),
                *pool.starmap(look, [(key_name,)]),
                *pool.starmap_async(look, [(key_name,)]).get(),
                *pool.imap(look, [key_name]),
                *pool.imap_unordered(look, [key_name]),
            ]
        assert seen == [{"a": 1}] * 8
        assert pool.apply(look, (key_name,)) == {}
        pool.close()
        pool.join()


class Sender(xctx.concurrent.Process):
    def __init__(self, pipe, key_name, **kwargs):
        super().__init__(**kwargs)
        self.pipe = pipe
        self.key_name = key_name

    def run(self):
        super().run()
        self.pipe.send(look(self.key_name))


@pytest.mark.sampled
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", START_METHODS)
def test_a_process_that_carries(method, x, key_name, way):
    # Of the default start method, which is the whole program's.
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(method, force=True)
    try:
        here, there = multiprocessing.Pipe()
        process = Sender(there, key_name, bindings=way)
        with x(a=1):
            process.start()
        assert here.recv() == ({"a": 1} if way == "copy" else {})
        process.join()
        plain = xctx.concurrent.Process(target=send, args=(there, key_name))
        with x(a=2):
            plain.start()
        assert here.recv() == {"a": 2}
        plain.join()
        assert (process.exitcode, plain.exitcode) == (0, 0)
    finally:
        multiprocessing.set_start_method(before, force=True)


def test_processes_that_start_empty(start_method, x, key_name):
    with xctx.concurrent.ProcessPoolExecutor(1, mp_context=start_method, bindings="empty") as pool:
        with x(a=1):
            assert pool.submit(look, key_name).result() == {}
    with xctx.concurrent.Pool(1, context=start_method, bindings="empty") as pool:
        with x(a=1):
            assert pool.apply(look, (key_name,)) == {}
        pool.close()
        pool.join()


# Threads


@pytest.mark.parametrize("way", WAYS)
def test_threads_that_carry(x, key_name, way):
    seen = []

    class Looker(xctx.concurrent.Thread):
        def run(self):
            seen.append(look(key_name))
            super().run()

    looker = Looker(target=lambda: seen.append(look(key_name)), bindings=way)
    plain = xctx.concurrent.Thread(target=lambda: seen.append(look(key_name)), bindings=way)
    with x(a=1):
        looker.start()
        plain.start()
    looker.join()
    plain.join()
    assert seen == [{"a": 1} if way == "copy" else {}] * 3


@pytest.mark.skipif(sys.version_info < (3, 14), reason="threads take a context from 3.14 on")
def test_a_thread_given_a_context_runs_in_it():
    context = contextvars.Context()
    context.run(VAR.set, "given")
    seen = []
    thread = xctx.concurrent.Thread(target=lambda: seen.append((VAR.get(), look("greenlet"))), context=context)
    with ALL["greenlet"](a=1):
        thread.start()
    thread.join()
    assert seen == [("given", {"a": 1})]


@pytest.mark.parametrize("way", WAYS)
def test_thread_pools_that_carry(x, key_name, way):
    expected = {"a": 1} if way == "copy" else {}
    with (
        xctx.concurrent.ThreadPoolExecutor(1, bindings=way) as pool,
        concurrent.futures.ThreadPoolExecutor(1) as inner,
        xctx.concurrent.CarryingExecutor(inner, bindings=way) as outer,
    ):
        with x(a=1):
            first = [pool.submit(look, key_name), outer.submit(look, key_name)]
            mapped = [*pool.map(look, [key_name]), *outer.map(look, [key_name])]
        assert [future.result() for future in first] == [expected] * 2
        assert mapped == [expected] * 2
        assert pool.submit(look, key_name).result() == {}
        assert outer.submit(look, key_name).result() == {}


def test_nothing_that_work_sets_reaches_later_work():
    with xctx.concurrent.ThreadPoolExecutor(1) as pool:
        assert pool.submit(look_and_set, 5).result() is None
        assert pool.submit(look_and_set, 6).result() is None
    with xctx.concurrent.ThreadPoolExecutor(1, contextvars=[VAR]) as pool:
        token = VAR.set(1)
        future = pool.submit(look_and_set, 5)
        VAR.reset(token)
        assert future.result() == 1
        assert pool.submit(look_at_var).result() is None


def test_a_pools_own_threads_are_hidden_from_work():
    """What an initializer leaves bound in a worker is not seen by work that took something along."""
    x = ALL["greenlet"]
    with xctx.concurrent.ThreadPoolExecutor(1, initializer=lambda: x(mine=1).__enter__()) as pool:
        assert pool.submit(look, "greenlet").result() == {}
        with x(a=1):
            assert pool.submit(look, "greenlet").result() == {"a": 1}


@pytest.mark.parametrize(
    "make",
    [
        lambda: xctx.concurrent.ThreadPoolExecutor(bindings="share"),
        lambda: xctx.concurrent.ProcessPoolExecutor(bindings="share"),
        lambda: xctx.concurrent.CarryingExecutor(None, bindings="share"),
        lambda: xctx.concurrent.Thread(bindings="share"),
        lambda: xctx.concurrent.Process(bindings="share"),
        lambda: xctx.concurrent.Pool(bindings="share"),
        lambda: asyncio.run(xctx.concurrent.to_thread(int, bindings="share")),
    ],
)
def test_those_that_run_at_the_same_time_share_no_context(make):
    with pytest.raises(ValueError, match="'copy' or 'empty' here, not 'share'"):
        make()


def test_an_unknown_way():
    with pytest.raises(ValueError, match="'copy', 'share' or 'empty', not 'some'"):
        xctx.concurrent.ThreadPoolExecutor(bindings="some")
    with pytest.raises(ValueError, match="'error' or 'skip', not 'some'"):
        xctx.concurrent.ProcessPoolExecutor(missing="some")


# asyncio


@pytest.mark.parametrize("way", ["copy", "share", "empty"])
def test_tasks_that_carry(x, key_name, way):
    expected = {} if way == "empty" else {"a": 1}

    async def work():
        seen = [look(key_name)]
        with x(b=2):
            await asyncio.sleep(0)
            seen.append(look(key_name))
        return [*seen, look(key_name)]

    async def main():
        with x(a=1):
            async with xctx.concurrent.TaskGroup() as group:
                tasks = [
                    xctx.concurrent.create_task(work(), bindings=way),
                    group.create_task(work(), bindings=way, name="mine"),
                ]
            assert tasks[1].get_name() == "mine"
            assert look(key_name) == {"a": 1}
        assert look(key_name) == {}
        return [await task for task in tasks]

    seen = asyncio.run(main())
    if way == "share" and key_name != "task":
        # One context and one unit for all: what one binds, the others see while it is bound.
        assert seen[0][0] == {"a": 1}
        assert all(each[1]["b"] == 2 for each in seen)
    else:
        assert seen == [[expected, {**expected, "b": 2}, expected]] * 2


def test_tasks_that_share_a_context_share_its_variables(key_name):
    async def work():
        return look_and_set(5)

    async def main():
        VAR.set(1)
        seen = [await xctx.concurrent.create_task(work(), bindings=way) for way in ("copy", "empty", "share")]
        return seen, VAR.get()

    assert asyncio.run(main()) == ([1, None, 1], 5)


def test_a_task_that_shares_leaves_nothing_in_the_context(x, thing, no_collector):
    import weakref

    value = thing()
    ref = weakref.ref(value)

    async def work():
        await asyncio.sleep(0)

    async def main(values):
        with x(a=values.pop()):
            await xctx.concurrent.create_task(work(), bindings="share")
        await asyncio.sleep(0)
        return ref() is None

    values = [value]
    del value
    assert asyncio.run(main(values))


def test_a_task_cancelled_before_it_began_warns_of_nothing(recwarn):
    async def work():
        raise AssertionError("it ran")

    async def main():
        task = xctx.concurrent.create_task(work())
        assert "work" in repr(task)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert not recwarn.list


def test_threads_of_asyncio(x, key_name):
    async def main():
        VAR.set(1)
        with x(a=1):
            with xctx.concurrent.ThreadPoolExecutor(1, contextvars=[VAR]) as pool:
                loop = asyncio.get_running_loop()
                seen = [
                    await xctx.concurrent.to_thread(lambda **kwargs: (look(key_name), VAR.get(), kwargs), b=2),
                    await xctx.concurrent.to_thread(lambda: (look(key_name), VAR.get(None)), bindings="empty"),
                    await xctx.concurrent.run_in_executor(None, look, key_name),
                    await xctx.concurrent.run_in_executor(None, look_at_var, contextvars=[VAR]),
                    await xctx.concurrent.run_in_executor(None, look, key_name, bindings="empty"),
                    await loop.run_in_executor(pool, look, key_name),
                    await loop.run_in_executor(pool, look_at_var),
                ]
        return seen

    assert asyncio.run(main()) == [({"a": 1}, 1, {"b": 2}), ({}, None), {"a": 1}, 1, {}, {"a": 1}, 1]


# gevent


@pytest.mark.parametrize("way", ["copy", "share", "empty"])
def test_greenlets_that_carry(gevent, x, key_name, way):
    import xctx.gevent

    expected = {} if way == "empty" else {"a": 1}

    class Looker(xctx.gevent.Greenlet):
        def _run(self):
            return look(key_name)

    with x(a=1):
        later = xctx.gevent.spawn_later(0.001, look, key_name, bindings=way)
        greenlets = [xctx.gevent.spawn(look, key_name, bindings=way), Looker(bindings=way), Looker.spawn(bindings=way)]
        greenlets[1].start()
        seen = [each.get() for each in greenlets]
        if way == "share":
            assert later.get() == expected
        assert look(key_name) == {"a": 1}
    if way == "share" and key_name in {"process", "thread", "flow", "context", "callable"}:
        assert look(key_name) == {}
    else:
        assert later.get() == expected
    assert seen == [expected] * 3
    assert look(key_name) == {}


@pytest.mark.parametrize("way", ["copy", "share", "empty"])
@pytest.mark.parametrize("kind", ["Pool", "Group", "ThreadPool", "ThreadPoolExecutor"])
def test_pools_of_gevent_that_carry(gevent, x, key_name, way, kind):
    import xctx.gevent

    if way == "share" and "Thread" in kind:
        with pytest.raises(ValueError, match="threads run at the same time"):
            getattr(xctx.gevent, kind)(1, bindings=way)
        return
    pool = xctx.gevent.Group(bindings=way) if kind == "Group" else getattr(xctx.gevent, kind)(1, bindings=way)
    with x(a=1):
        if kind == "ThreadPoolExecutor":
            seen = [pool.submit(look, key_name).result(), *pool.map(look, [key_name])]
        else:
            seen = [
                pool.spawn(look, key_name).get(),
                pool.apply(look, (key_name,)),
                pool.apply_async(look, (key_name,)).get(),
                *pool.map(look, [key_name]),
                *pool.map_async(look, [key_name]).get(),
                *pool.imap(look, [key_name, key_name]),
                *pool.imap_unordered(look, [key_name]),
            ]
        assert look(key_name) == {"a": 1}
    if "Thread" in kind:
        pool.shutdown() if kind == "ThreadPoolExecutor" else pool.kill()
    assert seen == [{} if way == "empty" else {"a": 1}] * len(seen)


def test_greenlets_that_share_a_context_share_its_variables(gevent):
    import xctx.gevent

    token = VAR.set(1)
    seen = [xctx.gevent.spawn(look_and_set, way, bindings=way).get() for way in ("copy", "empty", "share")]
    assert (seen, VAR.get()) == ([None, None, 1], "share")
    assert xctx.gevent.spawn(look_at_var, contextvars=[VAR]).get() == "share"
    assert xctx.gevent.Pool(1, bindings="share").apply(look_and_set, (8,)) == "share"
    assert VAR.get() == 8
    VAR.reset(token)
