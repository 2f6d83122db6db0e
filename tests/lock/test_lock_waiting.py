"""Waiting for a lock: signals, gevent's hub, asyncio's loop."""

import asyncio
import contextlib
import gc
import os
import signal
import threading
import time
import warnings
import weakref
from collections.abc import Coroutine

import pytest
from lock_child import LONG, SOON, Child, eventually

import xctx

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")


class held_elsewhere:
    """Another thread holds the lock in the block."""

    def __init__(self, lock, exclusive=True):
        self.lock, self.exclusive = lock, exclusive
        self.held, self.leave = threading.Event(), threading.Event()

    def hold(self):
        self.lock.acquire(self.exclusive)
        self.held.set()
        self.leave.wait(LONG)
        self.lock.release()

    def __enter__(self):
        self.thread = threading.Thread(target=self.hold)
        self.thread.start()
        assert self.held.wait(LONG)
        return self

    def __exit__(self, *exc):
        self.leave.set()
        self.thread.join(LONG)


# Signals


@pytest.mark.parametrize("mode", ["shared", "exclusive", "upgradable", "upgrade"])
def test_ctrl_c_ends_a_wait_and_leaves_the_lock_as_it_was(mode):
    lock = xctx.SharedLock()

    def work(child):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if mode == "upgrade":
            lock.acquire_upgradable()
        child.say("waits")
        with pytest.raises(KeyboardInterrupt):
            if mode == "upgrade":
                lock.upgrade()
            elif mode == "upgradable":
                lock.acquire_upgradable()
            else:
                lock.acquire(mode == "exclusive")
        assert lock.mode == ("upgradable" if mode == "upgrade" else None)
        if lock.mode:
            lock.release()
        child.say("interrupted")
        child.hear()
        assert lock.acquire(exclusive=True, timeout=LONG)
        lock.release()

    lock.acquire(exclusive=mode != "upgrade")
    with Child(work) as child:
        assert child.hear() == "waits"
        eventually(lambda: lock.waiters)
        child.kill(signal.SIGINT)
        assert child.hear() == "interrupted"
        if mode == "upgrade":
            lock.release()
            assert lock.acquire(exclusive=True, blocking=False)  # no trace
        lock.release()
        child.say()
        assert child.wait() == 0
    assert not lock.locked()


def test_a_signal_whose_handler_raises_nothing_ends_no_wait():
    lock = xctx.SharedLock()

    def work(child):
        signal.signal(signal.SIGUSR1, lambda *args: child.say("handled"))
        child.say("waits")
        with lock:
            child.say("got")

    with lock.exclusive():
        child = Child(work)
        assert child.hear() == "waits"
        eventually(lambda: lock.waiters)
        child.kill(signal.SIGUSR1)
        assert child.hear() == "handled"
        assert child.says_nothing()
    with child:
        assert child.hear() == "got"
        assert child.wait() == 0


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_signal_handler_that_tries_the_lock_disturbs_no_wait(exclusive):
    lock = xctx.SharedLock()

    def work(child):
        tried = []

        def handler(*args):
            tried.extend([lock.acquire(not exclusive, False), lock.acquire(timeout=0.002), lock.mode])
            child.say("tried")

        signal.signal(signal.SIGUSR1, handler)
        child.say("waits")
        assert lock.acquire(exclusive, timeout=LONG)
        assert tried == [False, False, None]
        assert len(lock.holders()) == 1
        lock.release()
        assert lock.holders() == []

    with lock.exclusive():
        child = Child(work)
        assert child.hear() == "waits"
        eventually(lambda: lock.waiters)
        child.kill(signal.SIGUSR1)
        assert child.hear() == "tried"
    with child:
        assert child.wait() == 0
    assert lock.holders() == []


def interrupt_often(wait, lock):
    """Interrupts `wait()` at many moments, by a signal whose handler raises; each time nothing of it may be left."""
    waits, interrupted = [], 0

    def handler(*args):
        if waits:
            waits.clear()
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, handler)
    try:
        for number in range(1, 200):
            signal.setitimer(signal.ITIMER_REAL, number * 40e-6)
            try:
                waits.append(1)
                wait()
                waits.clear()
            except KeyboardInterrupt:
                interrupted += 1
            waits.clear()
            assert [holder[3] for holder in lock.holders()] == [1]  # the other, who holds it all the time
            assert lock.waiters == 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted > 50


@pytest.mark.parametrize("mode", ["shared", "exclusive", "drain"])
def test_an_interrupt_at_any_moment_leaves_no_trace(mode):
    lock = xctx.SharedLock()
    with held_elsewhere(lock, exclusive=mode != "drain"):
        interrupt_often(lambda: lock.acquire(mode != "shared", timeout=0.006), lock)
        if mode == "drain":
            with lock:
                pass
    assert lock.holders() == []
    with lock.exclusive():
        pass


# gevent


@pytest.fixture
def gevent():
    return pytest.importorskip("gevent")


def test_greenlets_are_holders_of_their_own(gevent):
    lock = xctx.SharedLock()
    order = []

    def work(number):
        with lock.exclusive():
            order.append(number)
            gevent.sleep(0.001)
            order.append(number)

    gevent.joinall([gevent.spawn(work, number) for number in range(20)], timeout=LONG, raise_error=True)
    assert len(order) == 40
    assert order[::2] == order[1::2]
    assert not lock.locked()


def test_the_hub_runs_while_a_greenlet_waits_for_another_thread(gevent):
    lock = xctx.SharedLock()
    ticks = []

    def tick():
        while len(ticks) < 10:
            gevent.sleep(0.001)
            ticks.append(1)
        other.leave.set()

    def come_and_go(exclusive):
        got = lock.acquire(exclusive, timeout=LONG)
        lock.release()
        return got

    with held_elsewhere(lock) as other:
        ticker = gevent.spawn(tick)
        waiters = [gevent.spawn(come_and_go, exclusive) for exclusive in (False, True, True)]
        gevent.joinall([ticker, *waiters], timeout=LONG, raise_error=True)
        assert len(ticks) == 10
        assert all(waiter.value for waiter in waiters)
    assert not lock.locked()


def test_the_main_greenlet_lets_the_hub_run_too(gevent):
    lock = xctx.SharedLock()
    with held_elsewhere(lock) as other:
        gevent.spawn_later(0.01, other.leave.set)
        assert lock.acquire(timeout=LONG)
        lock.release()


def test_a_greenlet_gives_up_in_time(gevent):
    lock = xctx.SharedLock()
    with held_elsewhere(lock):
        for exclusive in (False, True):
            waiter = gevent.spawn(lock.acquire, exclusive, timeout=0.02)
            assert waiter.get(timeout=LONG) is False
    assert lock.holders() == []
    with held_elsewhere(lock, exclusive=False):
        lock.acquire_upgradable()
        assert not lock.upgrade(timeout=0.02)
        lock.release()


@pytest.mark.parametrize("mode", ["shared", "exclusive", "drain"])
def test_a_greenlet_killed_while_it_waits_leaves_no_trace(gevent, mode):
    lock = xctx.SharedLock()
    with held_elsewhere(lock, exclusive=mode != "drain"):
        waiter = gevent.spawn(lock.acquire, mode != "shared")
        eventually(lambda: lock.waiters, pause=gevent.sleep)
        assert not waiter.ready()
        waiter.kill(timeout=LONG)
        assert waiter.ready()
        if mode == "drain":
            with lock:
                pass
    assert lock.holders() == []
    with lock.exclusive():
        pass


@pytest.mark.parametrize("mode", ["shared", "exclusive", "upgradable"])
def test_a_greenlet_killed_while_it_holds_gives_back(gevent, mode):
    lock = xctx.SharedLock()

    def work():
        if mode == "upgradable":
            lock.acquire_upgradable()
        else:
            lock.acquire(mode == "exclusive")
        gevent.sleep(LONG)

    holder = gevent.spawn(work)
    gevent.sleep(0)
    assert lock.locked()
    holder.kill(timeout=LONG)
    gevent.sleep(0)
    gc.collect()
    assert not lock.locked()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with lock.exclusive():
            pass
    assert len(told) == (mode == "exclusive")


def test_a_greenlet_is_told_of_the_death_of_a_process(gevent):
    lock = xctx.SharedLock()

    def work(child):
        lock.acquire(exclusive=True)
        child.say("held")
        child.hear()

    with Child(work) as child:
        assert child.hear() == "held"
        waiter = gevent.spawn(lock.acquire, True, timeout=LONG)
        eventually(lambda: lock.waiters, pause=gevent.sleep)
        child.kill()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            assert waiter.get(timeout=SOON)
        assert [warning.category for warning in told] == [xctx.OwnerDiedWarning]


def test_many_greenlets_wait_at_once(gevent):
    lock = xctx.SharedRLock()
    total = []

    def work(number):
        for turn in range(3):
            if (number + turn) % 3:
                with lock:
                    gevent.sleep(0)
            else:
                with lock.exclusive():
                    total.append(1)
                    gevent.sleep(0)

    workers = [gevent.spawn(work, number) for number in range(100)]
    gevent.joinall(workers, timeout=6 * LONG, raise_error=True)
    assert len(total) == 100
    assert not lock.locked()


@pytest.mark.parametrize("mode", ["shared", "exclusive", "drain"])
def test_an_interrupt_of_a_greenlet_at_any_moment_leaves_no_trace(gevent, mode):
    lock = xctx.SharedLock()
    gevent.sleep(0)
    with held_elsewhere(lock, exclusive=mode != "drain"):
        interrupt_often(lambda: lock.acquire(mode != "shared", timeout=0.006), lock)
        if mode == "drain":
            with lock:
                pass
        # Nor does it leave anything in the hub that goes on for ever.
        gevent.sleep(0.15)
    assert lock.holders() == []
    with lock.exclusive():
        pass


@pytest.mark.parametrize("mode", ["shared", "exclusive"])
def test_greenlets_that_are_one_unit(gevent, mode):
    """Under the key `thread` a second greenlet is no second holder: it does not touch what the first one waits for."""
    lock = xctx.SharedLock(key=xctx.keys.thread)
    with held_elsewhere(lock) as other:
        waiter = gevent.spawn(lock.acquire, mode == "exclusive", timeout=LONG)
        eventually(lambda: lock.waiters, pause=gevent.sleep)
        assert not lock.acquire(exclusive=mode != "exclusive", blocking=False)
        assert not lock.acquire(timeout=0.01)
        other.leave.set()
        assert waiter.get(timeout=LONG)
        assert lock.mode == mode
        with pytest.raises(ValueError, match=r"re-entrant|upgrade"):
            lock.acquire()
        lock.release()
    assert lock.holders() == []


def test_one_lock_for_greenlets_and_tasks(gevent):
    lock = xctx.SharedLock()

    async def task():
        assert await lock.acquire_async(exclusive=True, timeout=LONG)
        lock.release()

    results = []

    def loop():
        asyncio.run(task())
        results.append(True)

    with held_elsewhere(lock) as other:
        waiter = gevent.spawn(lock.acquire, timeout=LONG)
        eventually(lambda: lock.waiters, pause=gevent.sleep)
        thread = threading.Thread(target=loop)
        thread.start()
        gevent.sleep(0.02)
        other.leave.set()
        assert waiter.get(timeout=LONG)
        del waiter
        gevent.sleep(0)
        thread.join(LONG)
    assert results == [True]
    assert not lock.locked()


def test_a_child_forked_in_the_middle_of_a_greenlets_wait_waits_on_its_own(gevent):
    lock = xctx.SharedLock()

    def work(child):
        waiter = gevent.spawn(lock.acquire, timeout=LONG)
        eventually(lambda: lock.waiters, pause=gevent.sleep)
        pid = gevent.os.fork()
        if pid == 0:
            status = 1
            try:
                child.say("waits")
                status = 0 if lock.acquire(exclusive=False, timeout=LONG) else 1
            finally:
                os._exit(status)
        assert waiter.get(timeout=LONG)
        # gevent's: its hub watches what gevent forked, and may have seen the end of it already.
        assert os.waitstatus_to_exitcode(gevent.os.waitpid(pid, 0)[1]) == 0

    import gevent.os

    with held_elsewhere(lock) as other:
        with Child(work) as child:
            assert child.hear() == "waits"
            assert child.says_nothing()  # the child's child is on its way to wait: there are no more than these two
            other.leave.set()
            assert child.wait() == 0
    eventually(lambda: not lock.locked())


# asyncio


async def ask(lock, *args, **kwargs):
    """Asks for the lock in the task that runs this, which holds it then."""
    return await lock.acquire_async(*args, **kwargs)


async def waited_for(lock):
    until = time.monotonic() + LONG
    while not lock.waiters:
        assert time.monotonic() < until, "nobody waits"
        await asyncio.sleep(0.001)


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, LONG))


def test_tasks_are_holders_of_their_own():
    lock = xctx.SharedLock()
    order = []

    async def work(number):
        async with lock.exclusive() as got:
            assert got is lock
            order.append(number)
            await asyncio.sleep(0.001)
            order.append(number)
        async with lock:
            assert lock.mode == "shared"
        async with lock.upgradable():
            assert lock.mode == "upgradable"

    async def main():
        await asyncio.gather(*[work(number) for number in range(10)])

    run(main())
    assert order[::2] == order[1::2]
    assert len(order) == 20
    assert not lock.locked()


def test_the_loop_runs_while_a_task_waits():
    lock = xctx.SharedLock()

    async def main():
        with held_elsewhere(lock) as other:
            waiters = [asyncio.ensure_future(ask(lock, exclusive)) for exclusive in (False, False)]
            for _ in range(10):
                await asyncio.sleep(0.001)
            assert not any(waiter.done() for waiter in waiters)
            other.leave.set()
            assert await asyncio.gather(*waiters) == [True, True]

    run(main())
    assert not lock.locked()  # the tasks have ended


def test_a_task_gives_up_in_time():
    lock = xctx.SharedLock()

    async def main():
        with held_elsewhere(lock):
            assert not await lock.acquire_async(timeout=0.02)
            assert not await lock.acquire_async(True, timeout=0.02)
            assert not await lock.acquire_upgradable_async(timeout=0)
        assert await lock.acquire_async(exclusive=True)
        lock.release()

    run(main())
    assert lock.holders() == []


@pytest.mark.parametrize("mode", ["shared", "exclusive", "drain"])
def test_cancelling_leaves_no_trace(mode):
    lock = xctx.SharedLock()

    async def main():
        with held_elsewhere(lock, exclusive=mode != "drain"):
            waiter = asyncio.ensure_future(ask(lock, mode != "shared"))
            await waited_for(lock)
            assert not waiter.done()
            waiter.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiter
            if mode == "drain":
                async with lock:
                    pass
        # One that is cancelled as it gets the lock gives it back.
        with held_elsewhere(lock) as other:
            waiter = asyncio.ensure_future(ask(lock))
            await waited_for(lock)
            other.leave.set()
            other.thread.join(LONG)
            waiter.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiter

    run(main())
    assert lock.holders() == []
    with lock.exclusive():
        pass


def test_misuse_by_a_task():
    lock = xctx.SharedLock()

    async def main():
        async with lock:
            with pytest.raises(ValueError, match="upgrade"):
                await lock.acquire_async(exclusive=True)
            with pytest.raises(ValueError, match="re-entrant"):
                await lock.acquire_async()
        with pytest.raises(ValueError, match="timeout"):
            await lock.acquire_async(timeout=-3)

    run(main())
    assert not lock.locked()


def test_a_reentrant_lock_in_tasks():
    lock = xctx.SharedRLock()

    async def main():
        async with lock.exclusive():
            async with lock:
                assert lock.count == 2
                assert not await asyncio.create_task(ask(lock, timeout=0.01))

    run(main())
    assert not lock.locked()


def test_a_task_goes_on_when_a_process_has_died():
    lock = xctx.SharedLock()

    def work(child):
        lock.acquire()
        child.say("held")
        child.hear()

    async def main(child):
        waiter = asyncio.ensure_future(ask(lock, exclusive=True))
        await waited_for(lock)
        child.kill()
        assert await asyncio.wait_for(waiter, SOON)

    with Child(work) as child:
        assert child.hear() == "held"
        asyncio.run(main(child))
    eventually(lambda: not lock.locked())


def test_an_upgrade_lets_tasks_that_read_go_on():
    lock = xctx.SharedLock()

    async def main():
        reading, leave = asyncio.Event(), asyncio.Event()

        async def read():
            async with lock:
                reading.set()
                await leave.wait()

        async def upgrade():
            await lock.upgrade_async()

        async with lock.upgradable():
            reader = asyncio.create_task(read())
            await reading.wait()
            assert not await lock.upgrade_async(timeout=0.001)
            assert lock.mode == "upgradable"
            asyncio.get_running_loop().call_later(0.02, leave.set)
            assert await lock.upgrade_async()
            assert (lock.mode, lock.count, reader.done(), lock.readers) == ("exclusive", 1, True, 0)
            with pytest.raises(ValueError, match="upgraded"):
                await lock.upgrade_async()
            lock.downgrade(upgradable=True)

            async with lock_of_another(lock):
                waiter = asyncio.create_task(upgrade())
                await asyncio.sleep(0)
                with pytest.raises(ValueError, match="upgraded"):  # another task: it does not hold it
                    await waiter
        assert lock.mode is None

    run(main())
    assert lock.holders() == []


class lock_of_another:
    """Another task reads in the block."""

    def __init__(self, lock):
        self.lock = lock
        self.held, self.leave = asyncio.Event(), asyncio.Event()

    async def read(self):
        async with self.lock:
            self.held.set()
            await self.leave.wait()

    async def __aenter__(self):
        self.task = asyncio.create_task(self.read())
        await self.held.wait()

    async def __aexit__(self, *exc):
        self.leave.set()
        await self.task


def test_an_upgrade_that_is_cancelled_is_upgradable_still():
    lock = xctx.SharedRLock()

    async def main():
        async with lock_of_another(lock):
            async with lock.upgradable():
                for upgrade in (lock.upgrade_async, lambda: lock.acquire_async(exclusive=True)):
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(0.01):
                            await upgrade()
                    assert (lock.mode, lock.count) == ("upgradable", 1)
                assert not await lock.acquire_async(exclusive=True, timeout=0.001)
                async with lock:
                    assert (lock.mode, lock.count) == ("upgradable", 2)
        async with lock.upgradable():
            async with lock.exclusive():
                assert (lock.mode, lock.count) == ("exclusive", 2)
            assert (lock.mode, lock.count) == ("upgradable", 1)

    run(main())
    assert lock.holders() == []


@pytest.mark.parametrize("key", ["greenlet", "thread", "process"])
def test_tasks_that_are_one_unit(key):
    """A second task is no second holder: it waits until the first is in, and is refused, or counted."""
    lock, again = xctx.SharedLock(key=getattr(xctx.keys, key)), xctx.SharedRLock(key=getattr(xctx.keys, key))

    def hold(child):
        with lock.exclusive(), again.exclusive():
            child.say("held")
            child.hear()

    async def main(child):
        first = asyncio.create_task(ask(lock, exclusive=True))
        await asyncio.sleep(0.01)
        assert not await lock.acquire_async(timeout=0.01)
        second = asyncio.create_task(ask(lock))
        tasks = [asyncio.create_task(ask(again, exclusive)) for exclusive in (True, True, False)]
        await asyncio.sleep(0.01)
        child.say()
        assert await first
        with pytest.raises(ValueError, match="re-entrant"):
            await second
        assert await asyncio.gather(*tasks) == [True] * 3
        assert (lock.count, again.count) == (1, 3)
        for _ in tasks:
            again.release()
        lock.release()

    with Child(hold) as child:
        assert child.hear() == "held"
        run(main(child))
        assert child.wait() == 0
    assert lock.holders() == again.holders() == []


def test_no_loop_is_kept_alive():
    lock = xctx.SharedLock()
    loops = []

    async def main():
        loops.append(weakref.ref(asyncio.get_running_loop()))
        with held_elsewhere(lock):
            assert not await lock.acquire_async(timeout=0.01)
            waiter = asyncio.create_task(ask(lock))
            await waited_for(lock)
            waiter.cancel()

    for _ in range(3):
        asyncio.run(main())
        with lock.exclusive():
            pass

    def kept():
        gc.collect()
        return [loop() for loop in loops if loop() is not None]

    eventually(lambda: not kept())


def test_what_leaves_a_block_is_a_coroutine_though_it_never_waits():
    lock = xctx.SharedLock()

    async def main():
        for leave in (asyncio.create_task, asyncio.shield, lambda left: asyncio.wait_for(left, 60), lambda left: left):
            block = lock.exclusive()
            assert await block.__aenter__() is lock
            left = block.__aexit__(None, None, None)
            assert isinstance(left, Coroutine)
            assert lock.mode is None  # already, so that no lack of memory comes between
            assert await leave(left) is None
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(lock.exclusive())
            assert lock.mode == "exclusive"
        assert lock.mode is None
        assert left.close() is None
        with pytest.raises(KeyError):
            left.throw(KeyError)
        with pytest.raises(LookupError, match="given"):
            left.throw(LookupError("given"))
        with pytest.raises(ValueError, match="hold"):
            lock.__aexit__(None, None, None)

    asyncio.run(main())


def test_an_awaitable_that_is_never_awaited_or_dropped_in_the_middle():
    lock = xctx.SharedLock()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lock.acquire_async()
        gc.collect()
    with held_elsewhere(lock):
        coroutine = lock.acquire_async(exclusive=True)
        with pytest.raises(RuntimeError, match="loop"):
            coroutine.send(None)  # no loop runs here
        coroutine = lock.acquire_async(exclusive=True)
    assert coroutine.send is not None
    with pytest.raises(StopIteration) as done:
        coroutine.send(None)  # nothing to wait for: no loop is needed
    assert done.value.value is True
    lock.release()
    assert lock.holders() == []
