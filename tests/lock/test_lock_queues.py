"""Units of one hub or event loop that wait in line: which is woken, what it costs, and that no wake-up is lost."""

import asyncio
import gc
import os
import signal
import threading
import time

import pytest
from lock_child import LONG, Child, eventually

import xctx

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 6 * LONG))


async def until(true):
    """Waits until `true()` is, and lets other tasks run."""
    end = time.monotonic() + LONG
    while not true():
        assert time.monotonic() < end, "this never came true"
        await asyncio.sleep(0.001)


async def ask(lock, *args, **kwargs):
    """Asks for the lock in the task that runs this, which holds it then."""
    return await lock.acquire_async(*args, **kwargs)


async def come_and_go(lock, exclusive=True, timeout=LONG):
    got = await lock.acquire_async(exclusive, timeout=timeout)
    if got:
        lock.release()
    return got


@pytest.fixture
def gevent():
    return pytest.importorskip("gevent")


# How many wait


@pytest.mark.parametrize("exclusive", [False, True])
def test_threads_that_wait_are_counted(exclusive):
    lock = xctx.SharedLock()
    threads = [threading.Thread(target=lambda: (lock.acquire(exclusive), lock.release())) for _ in range(3)]
    with lock.exclusive():
        assert lock.waiters == 0
        for number, thread in enumerate(threads):
            thread.start()
            eventually(lambda number=number: lock.waiters == number + 1)
    for thread in threads:
        thread.join(LONG)
    assert lock.waiters == 0


def test_processes_that_wait_are_counted_until_they_die():
    lock = xctx.SharedLock()
    with lock.exclusive():
        with Child(lambda child: lock.acquire()) as first, Child(lambda child: lock.acquire(True)) as second:
            eventually(lambda: lock.waiters == 2)
            first.kill(signal.SIGKILL)
            eventually(lambda: lock.waiters == 1)
            second.kill(signal.SIGKILL)
            eventually(lambda: lock.waiters == 0)
        assert [holder[0] for holder in lock.holders()] == ["exclusive"]


def test_a_try_does_not_count_as_waiting_and_a_timeout_takes_it_back():
    lock = xctx.SharedLock()

    async def main():
        async with lock.exclusive():
            tries = [asyncio.create_task(ask(lock, exclusive, timeout=0.02)) for exclusive in (True, True, False)]
            await until(lambda: lock.waiters == 3)
            assert await asyncio.gather(*tries) == [False] * 3
            assert lock.waiters == 0
            assert not await asyncio.create_task(ask(lock, timeout=0))

    run(main())
    assert lock.holders() == []


# In order, and at what cost


def test_tasks_write_in_the_order_in_which_they_came():
    lock = xctx.SharedLock()
    order = []

    async def write(number):
        async with lock.exclusive():
            order.append(number)
            await asyncio.sleep(0)

    async def main():
        async with lock.exclusive():
            tasks = []
            for number in range(50):
                tasks.append(asyncio.create_task(write(number)))
                await until(lambda number=number: lock.waiters == number + 1)
        # One that comes as the lock is free stands behind those who wait.
        await write(50)
        await asyncio.gather(*tasks)

    run(main())
    assert order == list(range(51))


def test_greenlets_write_in_the_order_in_which_they_came(gevent):
    lock = xctx.SharedLock()
    order = []

    def write(number):
        with lock.exclusive():
            order.append(number)
            gevent.sleep(0)

    with lock.exclusive():
        greenlets = [gevent.spawn(write, number) for number in range(50)]
        eventually(lambda: lock.waiters == 50, pause=gevent.sleep)
    write(50)
    gevent.joinall(greenlets, timeout=LONG, raise_error=True)
    assert order == list(range(51))


def test_readers_that_wait_are_let_in_together_and_writers_in_turn():
    lock = xctx.SharedLock()
    events = []

    async def read():
        async with lock:
            events.append("in")
            await asyncio.sleep(0.001)
            events.append("out")

    async def write():
        async with lock.exclusive():
            events.append("write")
            await asyncio.sleep(0)

    async def main():
        async with lock.exclusive():
            tasks = [asyncio.create_task(kind()) for kind in (write, read, write, read, read)]
            await until(lambda: lock.waiters == 5)
        await asyncio.gather(*tasks)

    run(main())
    assert events == ["in"] * 3 + ["out"] * 3 + ["write"] * 2


def cost_of_tasks(lock, number):
    async def write():
        async with lock.exclusive():
            await asyncio.sleep(0)

    async def main():
        async with lock.exclusive():
            tasks = [asyncio.create_task(write()) for _ in range(number)]
            await until(lambda: lock.waiters == number)
            before = time.process_time()
        await asyncio.gather(*tasks)
        return time.process_time() - before

    return run(main())


def cost_of_greenlets(lock, number):
    import gevent

    def write():
        with lock.exclusive():
            gevent.sleep(0)

    with lock.exclusive():
        greenlets = [gevent.spawn(write) for _ in range(number)]
        eventually(lambda: lock.waiters == number, pause=gevent.sleep)
        before = time.process_time()
    gevent.joinall(greenlets, raise_error=True)
    return time.process_time() - before


@pytest.mark.parametrize("cost", [cost_of_tasks, cost_of_greenlets])
def test_what_a_turn_costs_does_not_grow_with_the_number_of_those_who_wait(cost):
    if cost is cost_of_greenlets:
        pytest.importorskip("gevent")
    few = min(cost(xctx.SharedLock(), 300) for _ in range(3))
    many = min(cost(xctx.SharedLock(), 1200) for _ in range(2))
    assert many <= 8 * few  # four times as many; sixteen times the cost where each looks at each turn


# Whoever gives up hands its turn on


@pytest.mark.parametrize("way", ["cancel", "timeout"])
@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
def test_a_task_that_gives_up_hands_its_turn_on(place, way):
    lock = xctx.SharedLock()

    async def main():
        got = []

        async def write(number):
            await lock.acquire_async(True, timeout=0.03 if way == "timeout" and number == place else -1)
            if lock.mode:
                got.append(number)
                lock.release()

        async with lock.exclusive():
            tasks = []
            for number in range(3):
                tasks.append(asyncio.create_task(write(number)))
                # On a busy machine the time may be up before all of them wait.
                await until(lambda: lock.waiters == len(tasks) - sum(task.done() for task in tasks))
            if way == "cancel":
                tasks[place].cancel()
            await until(lambda: lock.waiters == 2)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert got == [number for number in range(3) if number != place]

    run(main())
    assert lock.holders() == []


def test_a_task_that_was_woken_and_is_cancelled_hands_its_turn_on():
    """The lock is given back and the next in line is cancelled, before that one runs."""
    lock = xctx.SharedLock()

    async def main():
        for exclusive in (True, False):
            await lock.acquire_async(True)
            first = asyncio.create_task(come_and_go(lock))
            await until(lambda: lock.waiters == 1)
            second = asyncio.create_task(come_and_go(lock, exclusive))
            await until(lambda: lock.waiters == 2)
            lock.release()
            first.cancel()
            before = time.monotonic()
            assert await second
            assert time.monotonic() - before < LONG / 2
            with pytest.raises(asyncio.CancelledError):
                await first

    run(main())
    assert lock.holders() == []


@pytest.mark.parametrize("way", ["kill", "timeout"])
def test_a_greenlet_that_was_woken_and_is_killed_hands_its_turn_on(gevent, way):
    lock = xctx.SharedLock()

    def write():
        try:
            with gevent.Timeout(None if way == "kill" else LONG), lock.exclusive():
                return True
        except gevent.Timeout:
            return False

    for _ in range(20):
        with lock.exclusive():
            first, second = gevent.spawn(write), gevent.spawn(write)
            eventually(lambda: lock.waiters == 2, pause=gevent.sleep)
        if way == "kill":
            first.kill(block=False)
        else:
            first.kill(gevent.Timeout(0.001), block=False)
        assert second.get(timeout=LONG)
        first.join(LONG)
    assert lock.holders() == []
    assert lock.waiters == 0


@pytest.mark.parametrize("end", ["cancel", "timeout"])
def test_a_task_that_waits_for_readers_gives_up_and_the_next_goes_on(end):
    """The first writer in line has the right to write already and waits for a reader to leave."""
    lock = xctx.SharedLock()

    async def main():
        reading = asyncio.Event()

        async def read():
            async with lock:
                await reading.wait()

        reader = asyncio.create_task(read())
        await until(lambda: lock.readers == 1)
        first = asyncio.create_task(come_and_go(lock, timeout=0.03 if end == "timeout" else -1))
        await until(lambda: lock.waiters == 1)
        late = asyncio.create_task(come_and_go(lock, False))  # waits behind the first, and not for the reader
        await until(lambda: lock.waiters == 2)
        if end == "cancel":
            first.cancel()
        assert await late
        assert not reading.is_set()
        reading.set()
        await asyncio.gather(reader, first, return_exceptions=True)

    run(main())
    assert lock.holders() == []


def test_two_loops_and_a_hub_take_turns(gevent):
    lock = xctx.SharedLock()
    turns = {"a": 0, "b": 0, "hub": 0}
    going = [True]

    async def write(name):
        while going:
            async with lock.exclusive():
                turns[name] += 1
                await asyncio.sleep(0)

    async def main(name):
        await asyncio.gather(*[write(name) for _ in range(3)])

    def green():
        while going:
            with lock.exclusive():
                turns["hub"] += 1
                gevent.sleep(0)

    threads = [threading.Thread(target=asyncio.run, args=(main(name),)) for name in "ab"]
    for thread in threads:
        thread.start()
    greenlets = [gevent.spawn(green) for _ in range(3)]
    try:
        eventually(lambda: min(turns.values()) >= 20, seconds=6 * LONG, pause=gevent.sleep)
    finally:
        going.clear()
        gevent.joinall(greenlets, timeout=LONG, raise_error=True)
        for thread in threads:
            thread.join(LONG)
    eventually(lambda: not lock.locked())


def test_a_loop_that_stands_still_keeps_others_waiting_no_longer_than_it_holds_the_lock():
    lock = xctx.SharedLock()
    waits, go_on = threading.Event(), threading.Event()

    async def main():
        task = asyncio.create_task(come_and_go(lock))
        await until(lambda: lock.waiters == 1)
        waits.set()
        go_on.wait(LONG)
        await task

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    with lock.exclusive():
        thread.start()
        assert waits.wait(LONG)
    assert lock.acquire(True, timeout=LONG)
    lock.release()
    assert not go_on.is_set()
    go_on.set()
    thread.join(LONG)


def test_a_loop_that_was_closed_keeps_nobody_waiting():
    lock = xctx.SharedLock()

    async def begin():
        task = asyncio.ensure_future(ask(lock, True))
        await until(lambda: lock.waiters == 1)
        return task

    with lock.exclusive():
        loop = asyncio.new_event_loop()
        task = loop.run_until_complete(begin())
        loop.close()
    assert lock.acquire(True, timeout=LONG)
    lock.release()

    async def again():
        async with lock.exclusive():
            waiter = asyncio.create_task(come_and_go(lock))
            await until(lambda: lock.waiters == 2)
        assert await waiter

    run(again())
    task._log_destroy_pending = False
    del task
    gc.collect()
    assert lock.waiters == 0


# Forks and processes


def test_a_child_forked_while_greenlets_wait_has_none_of_them_wait_for_ever(gevent):
    lock = xctx.SharedLock()

    def work(child):
        got = []

        def write():
            with lock.exclusive():
                got.append(os.getpid())

        held = gevent.event.Event()

        def hold():
            with lock.exclusive():
                held.wait(LONG)

        greenlets = [gevent.spawn(hold)]
        gevent.sleep(0)
        greenlets += [gevent.spawn(write) for _ in range(3)]
        eventually(lambda: lock.waiters == 3, pause=gevent.sleep)
        pid = gevent.os.fork()
        if pid == 0:
            status = 1
            try:
                gevent.joinall(greenlets[1:], timeout=LONG)
                status = 0 if got == [os.getpid()] * 3 else 2
            finally:
                os._exit(status)
        held.set()
        gevent.joinall(greenlets, timeout=LONG)
        assert got == [os.getpid()] * 3
        assert os.waitstatus_to_exitcode(gevent.os.waitpid(pid, 0)[1]) == 0

    import gevent.event
    import gevent.os

    with Child(work) as child:
        assert child.wait() == 0
    eventually(lambda: not lock.locked())


def test_a_child_forked_while_threads_and_tasks_wait_uses_the_lock_on_its_own():
    lock = xctx.SharedLock()

    def child_of(child):
        assert lock.waiters == 4  # the parent's
        assert not lock.acquire(timeout=0.01)
        child.say("tried")
        with lock.exclusive():
            pass
        run(write())

    async def write():
        async with lock.exclusive():
            await asyncio.sleep(0)

    async def main():
        await asyncio.gather(write(), write(), write())

    with lock.exclusive():
        loop = threading.Thread(target=asyncio.run, args=(main(),))
        thread = threading.Thread(target=lambda: (lock.acquire(), lock.release()))
        loop.start()
        thread.start()
        eventually(lambda: lock.waiters == 4)
        child = Child(child_of)
        assert child.hear() == "tried"
    with child:
        assert child.wait() == 0
    loop.join(LONG)
    thread.join(LONG)
    assert lock.holders() == []
    assert lock.waiters == 0


@pytest.mark.parametrize("others", ["tasks", "greenlets"])
def test_processes_whose_units_queue_take_turns(others, request):
    """Neither of two processes, each with a queue that is never empty, keeps the other or a thread from writing."""
    if others == "greenlets":
        request.getfixturevalue("gevent")
    lock = xctx.SharedLock()

    def tasks(child):
        async def write():
            while True:
                async with lock.exclusive():
                    await asyncio.sleep(0.0005)

        async def main():
            await asyncio.gather(*[write() for _ in range(5)])

        asyncio.run(main())

    def greenlets(child):
        import gevent

        def write():
            while True:
                with lock.exclusive():
                    gevent.sleep(0.0005)

        gevent.joinall([gevent.spawn(write) for _ in range(5)])

    def writers():
        return {pid for mode, pid, _, _ in lock.holders() if mode == "exclusive"}

    with Child(locals()[others]) as first, Child(locals()[others]) as second:
        eventually(lambda: lock.waiters >= 8)
        changes, last = 0, None
        for _ in range(10):
            assert lock.acquire(True, timeout=LONG)
            lock.release()
            assert lock.acquire(timeout=LONG)
            lock.release()
        end = time.monotonic() + LONG
        while changes < 6 and time.monotonic() < end:
            now = writers()
            if len(now) == 1 and now != last:
                changes, last = changes + 1, now
        assert changes >= 6
        assert {first.pid, second.pid} >= last
