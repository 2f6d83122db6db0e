"""Tasks, greenlets and threads that wait for one another in a circle, in one process and among processes."""

import asyncio
import importlib
import os
import queue
import shutil
import subprocess
import sys
import threading
import time

import pytest
from helpers.packages import installed
from helpers.units import in_thread
from lock_child import LONG, Child, eventually

import xctx
import xctx.debug

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="locks are for Linux")
KINDS = ["thread", "task", *(["greenlet"] if installed("gevent") else [])]
WORDS = {"thread": "thread {}", "task": "a task in thread {}", "greenlet": "a greenlet in thread {}"}


@pytest.fixture(autouse=True)
def gevent_that_knows_the_main_thread():
    """gevent takes the thread that imports it for the main one."""
    if installed("gevent"):
        importlib.import_module("gevent")


@pytest.fixture
def at_once():
    """Deadlocks are looked for at once, rather than after a second."""
    xctx.debug.track()
    yield
    xctx.debug.track(False)


def cross(held, wanted, tell):
    """Enters one block, and in it another. Gives what came of that."""
    try:
        with held:
            tell()
            with wanted:
                return "got it"
    except RuntimeError as error:
        return str(error)


async def cross_in_task(held, wanted, tell):
    try:
        async with held:
            await asyncio.get_running_loop().run_in_executor(None, tell)
            async with wanted:
                return "got it"
    except RuntimeError as error:
        return str(error)


def cross_as(kind, *arguments):
    if kind == "task":
        return asyncio.run(cross_in_task(*arguments))
    if kind == "greenlet":
        import gevent

        return gevent.spawn(cross, *arguments).get()
    return cross(*arguments)


class Crossing:
    """Units of the kinds given, each in a thread of its own, that hold a lock each and then want that of another."""

    def __init__(self, kinds, locks, modes):
        self.results = queue.SimpleQueue()
        self.together = threading.Barrier(len(kinds))
        self.threads = [
            threading.Thread(target=self.run, args=(kind, locks[at], locks[at - 1], mode))
            for at, (kind, mode) in enumerate(zip(kinds, modes, strict=True))
        ]
        for thread in self.threads:
            thread.start()

    def run(self, kind, held, wanted, mode):
        found = cross_as(kind, held.exclusive(), block(wanted, mode), lambda: self.together.wait(LONG))
        self.results.put((threading.get_native_id(), found))

    def told(self):
        """The message that one of them has got, when all have come to their end.

        More than one gets it if they look at the same moment, which threads without the GIL and processes may do.
        """
        results = [self.results.get(timeout=LONG) for _ in self.threads]
        for thread in self.threads:
            thread.join(LONG)
        messages = [found for _, found in results if found != "got it"]
        assert messages, "nobody was told"
        assert all(message.startswith("deadlock: ") for message in messages)
        return messages[0]


def block(lock, mode):
    return {"shared": lock.shared, "upgradable": lock.upgradable, "exclusive": lock.exclusive}[mode]()


@pytest.mark.parametrize("mode", ["shared", "upgradable", "exclusive"])
@pytest.mark.parametrize("other", KINDS)
@pytest.mark.parametrize("kind", KINDS)
def test_units_of_any_two_kinds(at_once, kind, other, mode):
    locks = xctx.SharedLock(), xctx.SharedLock()
    crossing = Crossing((kind, other), locks, (mode, mode))
    told = crossing.told()
    assert told.startswith("deadlock: ")
    assert told.endswith("held by the first")
    for each, thread in zip((kind, other), crossing.threads, strict=True):
        assert f"{WORDS[each].format(thread.native_id)} of process {os.getpid()}" in told
    assert [lock.holders() for lock in locks] == [[], []]
    assert [lock.waiters for lock in locks] == [0, 0]


def test_a_circle_of_many_kinds_is_found_after_a_second():
    kinds = KINDS * 2
    locks = [xctx.SharedLock() for _ in kinds]
    began = time.monotonic()
    told = Crossing(kinds, locks, ["exclusive", "shared"] * (len(kinds) // 2)).told()
    assert time.monotonic() - began > 0.9
    assert told.count(" waits for ") == len(kinds)


@pytest.mark.parametrize("number", [2, 3])
def test_tasks_of_one_loop(at_once, number):
    async def main():
        locks = [xctx.SharedLock() for _ in range(number)]
        together = []

        async def work(at):
            try:
                async with locks[at].exclusive():
                    together.append(at)
                    while len(together) < number:
                        await asyncio.sleep(0)
                    async with locks[at - 1]:
                        return "got it"
            except RuntimeError as error:
                return str(error)

        results = await asyncio.wait_for(asyncio.gather(*map(work, range(number))), LONG)
        (told,) = [result for result in results if result != "got it"]
        assert told.count(f"a task in thread {threading.get_native_id()} of process {os.getpid()}") == number
        return [lock.holders() for lock in locks]

    assert in_thread(lambda: asyncio.run(main())) == [[]] * number


def test_greenlets_of_one_hub(gevent, at_once):
    def main():
        first, second = xctx.SharedLock(), xctx.SharedLock()

        def work(held, wanted):
            return cross(held.exclusive(), wanted.exclusive(), lambda: gevent.sleep(0.01))

        greenlets = [gevent.spawn(work, first, second), gevent.spawn(work, second, first)]
        results = [greenlet.get(timeout=LONG) for greenlet in greenlets]
        assert sorted(result[:9] for result in results) == ["deadlock:", "got it"]
        gevent.get_hub().destroy()

    in_thread(main)


async def until(true):
    end = time.monotonic() + LONG
    while not true():
        assert time.monotonic() < end, "this never came true"
        await asyncio.sleep(0.002)


@pytest.mark.parametrize("last", ["holder", "waiter"])
def test_a_task_that_waits_behind_others(last):
    """These hold nothing, and so are on no circle; but they stand before it in the queue."""

    async def main():
        first, second = xctx.SharedLock(), xctx.SharedLock()
        results = {}

        async def cross(name, held, wanted, ready):
            try:
                async with held.exclusive():
                    await until(ready)
                    async with wanted.exclusive():
                        results[name] = "got it"
            except RuntimeError as error:
                results[name] = str(error)

        async def stand_before():
            await until(second.locked)
            async with second.exclusive():
                pass

        await asyncio.gather(
            cross("holder", second, first, lambda: second.waiters == (3 if last == "holder" else 2)),
            cross("waiter", first, second, lambda: second.waiters == 2 and (last == "holder" or first.waiters)),
            stand_before(),
            stand_before(),
        )
        return results

    results = asyncio.run(main())
    assert results.pop(last).startswith("deadlock: a task")
    assert list(results.values()) == ["got it"]


@pytest.mark.parametrize("holds", ["shared", "upgradable"])
def test_a_task_that_upgrades_and_one_that_reads(at_once, holds):
    """One has the writer slot, and waits for the other, which reads, to leave."""

    async def main():
        read, other = xctx.SharedLock(), xctx.SharedLock()

        async def reader():
            async with read:
                await until(other.locked)
                async with other.exclusive():
                    return "got it"

        async def writer():
            async with other.exclusive():
                await until(lambda: read.readers == 1)
                if holds == "shared":
                    async with read.exclusive():
                        return "got it"
                async with read.upgradable():
                    return await read.upgrade_async() and "got it"

        return await asyncio.gather(reader(), writer(), return_exceptions=True)

    results = asyncio.run(main())
    assert sorted(str(result)[:9] for result in results) == ["deadlock:", "got it"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_units_of_two_processes(tmp_path, at_once, kind, other):
    first, second = (xctx.SharedLock.at(tmp_path / name) for name in ("first", "second"))

    def work(child):
        child.say(in_thread(lambda: cross_as(other, first.exclusive(), second.exclusive(), lambda: tell(child))))

    def tell(child):
        child.say("holds")
        child.hear()

    def close_the_circle():
        assert child.hear() == "holds"
        child.say()
        eventually(lambda: second.waiters)
        time.sleep(0.01)  # this one comes later, and so it is told

    with Child(work) as child:
        told = in_thread(lambda: cross_as(kind, second.exclusive(), first, close_the_circle))
        assert child.hear() == "got it"
        assert child.wait() == 0
    for part in ("deadlock", first.path, second.path, f"process {child.pid}", f"process {os.getpid()}"):
        assert part in told


def test_units_that_hold_nothing_and_wait_for_long_are_on_no_circle():
    async def main():
        first, second = xctx.SharedLock(), xctx.SharedLock()
        entered = []

        async def wait():
            async with second.exclusive():
                entered.append(True)

        async with first.exclusive(), second.exclusive():
            tasks = [asyncio.create_task(wait()) for _ in range(20)]
            await asyncio.sleep(1.3)  # they look after a second
        await asyncio.gather(*tasks)
        assert len(entered) == 20

    asyncio.run(main())


def test_what_another_task_holds_is_not_in_the_way(at_once):
    """Each waits for the other's thread, but no task waits for itself: the holders go on."""

    async def main():
        first, second = xctx.SharedLock(), xctx.SharedLock()
        go = asyncio.Event()

        async def hold(lock):
            async with lock.exclusive():
                await go.wait()

        async def wait(lock):
            async with lock.exclusive():
                return "got it"

        holders = [asyncio.create_task(hold(lock)) for lock in (first, second)]
        await asyncio.sleep(0)
        waiters = [asyncio.create_task(wait(lock)) for lock in (first, second)]
        await until(lambda: first.waiters and second.waiters)
        await asyncio.sleep(0.3)
        go.set()
        await asyncio.gather(*holders)
        assert await asyncio.gather(*waiters) == ["got it", "got it"]

    asyncio.run(main())


def test_one_that_was_told_leaves_nothing_where_others_look(at_once):
    async def main():
        first, second = xctx.SharedLock(), xctx.SharedLock()

        async def hold():
            async with second.exclusive():
                async with first.exclusive():
                    pass

        for _ in range(3):
            async with first.exclusive():
                task = asyncio.create_task(hold())
                await until(lambda: first.waiters)
                with pytest.raises(RuntimeError, match="deadlock"):
                    await second.acquire_async()
            await task
        assert await second.acquire_async(exclusive=True)
        second.release()

    asyncio.run(main())


def test_threads_that_share_a_row(at_once):
    """A process has 32 rows of a lock, so further threads share one."""
    first, second = xctx.SharedLock(), xctx.SharedLock()
    go = threading.Event()

    def use():
        for lock in (first, second):
            with lock:
                pass
        go.wait(LONG)

    idle = [threading.Thread(target=use) for _ in range(40)]
    for thread in idle:
        thread.start()
    try:
        told = Crossing(("thread", "thread"), (first, second), ("exclusive", "exclusive")).told()
        assert f"a thread of process {os.getpid()}" in told
    finally:
        go.set()
    for thread in idle:
        thread.join(LONG)


HOLDER = """
import sys, xctx
with xctx.SharedLock.at(sys.argv[1]).exclusive():
    print("holds", flush=True)
    sys.stdin.readline()
"""
WAITER = """
import sys, xctx, xctx.debug
xctx.debug.track()
with xctx.SharedLock.at(sys.argv[1]).exclusive():
    print("got it", flush=True)
"""
CONTAINER = ["unshare", "--map-root-user", "--pid", "--fork", "--kill-child"]


@pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run([*CONTAINER, "true"], capture_output=True).returncode != 0,
    reason="no processes with numbers of their own can be started here",
)
def test_processes_with_the_same_number_in_two_containers(tmp_path):
    """Each is process 1 and thread 1, so these numbers do not tell who waits for whom."""

    def start(source):
        command = [*CONTAINER, sys.executable, "-c", source, str(tmp_path / "lock")]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    with start(HOLDER) as holder:
        assert holder.stdout.readline() == "holds\n"
        with start(WAITER) as waiter:
            lock = xctx.SharedLock.at(tmp_path / "lock", create=False)
            assert lock.owner == ("exclusive", 1, 1)
            eventually(lambda: lock.waiters)
            time.sleep(0.3)  # it looks each time it wakes, which is ten times a second
            holder.communicate("\n", timeout=LONG)
            assert waiter.communicate(timeout=LONG)[0] == "got it\n"
