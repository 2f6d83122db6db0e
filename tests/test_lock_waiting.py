"""Waiting for a lock: signals, gevent's hub, asyncio's loop."""

import asyncio
import gc
import os
import signal
import threading
import time
import warnings

import pytest
from lock_child import LONG, Child, eventually

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
        time.sleep(0.05)
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
        seen = []
        signal.signal(signal.SIGUSR1, lambda *args: seen.append(1))
        child.say("waits")
        with lock:
            assert seen
            child.say("got")

    with lock.exclusive():
        child = Child(work)
        assert child.hear() == "waits"
        time.sleep(0.02)
        child.kill(signal.SIGUSR1)
        time.sleep(0.02)
    with child:
        assert child.hear() == "got"
        assert child.wait() == 0


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
        gevent.sleep(0.02)
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
        gevent.sleep(0.02)
        child.kill()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            assert waiter.get(timeout=1)
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


# asyncio


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
            waiters = [asyncio.ensure_future(lock.acquire_async(exclusive)) for exclusive in (False, False)]
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
            waiter = asyncio.ensure_future(lock.acquire_async(mode != "shared"))
            await asyncio.sleep(0.02)
            assert not waiter.done()
            waiter.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiter
            if mode == "drain":
                async with lock:
                    pass
        # One that is cancelled as it gets the lock gives it back.
        with held_elsewhere(lock) as other:
            waiter = asyncio.ensure_future(lock.acquire_async())
            await asyncio.sleep(0.02)
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
                assert not await asyncio.create_task(lock.acquire_async(timeout=0.01))

    run(main())
    assert not lock.locked()


def test_a_task_goes_on_when_a_process_has_died():
    lock = xctx.SharedLock()

    def work(child):
        lock.acquire()
        child.say("held")
        child.hear()

    async def main(child):
        waiter = asyncio.ensure_future(lock.acquire_async(exclusive=True))
        await asyncio.sleep(0.02)
        child.kill()
        assert await asyncio.wait_for(waiter, 1)

    with Child(work) as child:
        assert child.hear() == "held"
        asyncio.run(main(child))
    eventually(lambda: not lock.locked())
