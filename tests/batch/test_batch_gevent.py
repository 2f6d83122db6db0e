"""Greenlets: those of gevent wait without stopping their hub; a thread never waits for a plain greenlet of its own.

The hub of a thread outlives the test that made it, so a test that needs one runs in a thread, or a process, of its own.
"""

import gc
import itertools
import os
import subprocess
import sys
import threading
import time
import weakref

import pytest
from batch_checker import Ledger, Made, in_threads, law, loads
from helpers.waiting import LONG, eventually

from xctx import BatchExecutor

greenlet = pytest.importorskip("greenlet", reason="greenlets are what is tested")
gevent = pytest.importorskip("gevent", reason="greenlets are what is tested")


def in_hub_thread(work):
    """What `work()` gives in a new thread, whose hub is its own and is gone afterwards."""
    result = []

    def run():
        try:
            result.append(work())
        except BaseException as error:
            result.append(error)
        finally:
            gevent.get_hub().destroy(destroy_loop=True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]


def spawn(count, work):
    greenlets = [gevent.spawn(work, index) for index in range(count)]
    gevent.joinall(greenlets, raise_error=True, timeout=LONG)
    assert all(one.dead for one in greenlets)


@pytest.mark.parametrize("size", [1, 2, 7, 256, 100_000])
def test_a_thousand_greenlets(size):
    def work():
        ledger, got = Ledger(lambda number: gevent.sleep(0), max(1, size // 20)), []
        executor = BatchExecutor(ledger, size)
        spawn(1000, lambda index: loads(executor, 3, got))
        assert len(got) == 3000
        assert law(ledger.made, got, executor.close()) == ""

    in_hub_thread(work)


@pytest.mark.parametrize("size", [1, 7, 256])
def test_threads_and_greenlets_together(size):
    ledger, got = Ledger(lambda number: time.sleep(0.00001) if number % 2 else None, 5), []
    executor = BatchExecutor(ledger, size)

    def greenlets():
        def work(index):
            for _ in range(4):
                loads(executor, 1, got)
                gevent.sleep(0)

        spawn(250, work)

    def part(index):
        if index < 4:
            in_hub_thread(greenlets)
        else:
            loads(executor, 500, got)

    in_threads(8, part)
    assert len(got) == 4 * 1000 + 4 * 500
    assert law(ledger.made, got, executor.close()) == ""
    assert ledger.overlaps == 0


def test_the_hub_goes_on_while_a_greenlet_waits_for_a_thread():
    go, there = threading.Event(), threading.Event()

    def source():
        there.set()
        assert go.wait(LONG)
        return "value"

    executor = BatchExecutor(source, 2)
    filler = threading.Thread(target=executor.load)
    filler.start()
    assert there.wait(LONG)

    def work():
        ticks = []

        def tick():
            for _ in range(20):
                gevent.sleep(0.001)
                ticks.append(executor.stats.waits)
            begin.append(time.monotonic())
            go.set()

        begin = []
        ticker, waiter = gevent.spawn(tick), gevent.spawn(executor.load)
        value = waiter.get(timeout=LONG)
        # The thread has woken it, rather than its own timer.
        ticker.get(timeout=LONG)
        return len(ticks), value, time.monotonic() - begin[0] < 0.9

    assert in_hub_thread(work) == (20, "value", True)
    filler.join()


def test_a_thread_waits_for_a_greenlet():
    def source():
        eventually(lambda: executor.stats.waits, pause=gevent.sleep)  # the thread waits
        return "value"

    executor = BatchExecutor(source, 2)
    there = threading.Event()

    def work():
        filler = gevent.spawn(executor.load)
        gevent.sleep(0)
        there.set()
        return filler.get(timeout=LONG)

    hub = threading.Thread(target=in_hub_thread, args=(work,))
    hub.start()
    assert there.wait(LONG)
    assert executor.load() == "value"
    hub.join()
    assert executor.stats == (2, 1, 1)


def test_timeouts_of_greenlets():
    def work():
        go = gevent.event.Event()
        executor = BatchExecutor(lambda: go.wait(LONG) and "value", 1)
        filler = gevent.spawn(executor.load)
        gevent.sleep(0)
        with pytest.raises(TimeoutError):
            executor.load(timeout=0.01)
        with pytest.raises(BlockingIOError):
            executor.load(block=False)
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
            executor.load()
        go.set()
        assert executor.load(timeout=LONG) == "value"
        return filler.get(timeout=LONG)

    assert in_hub_thread(work) == "value"


def test_killing_a_waiting_greenlet():
    def work():
        ledger = Ledger(lambda number: gevent.sleep(0), 1)
        executor = BatchExecutor(ledger, 1)
        got = []
        waiting = [gevent.spawn(lambda: got.append(executor.load())) for _ in range(50)]
        for index in range(0, 50, 2):
            gevent.sleep(0)
            waiting[index].kill()
        gevent.joinall(waiting, timeout=LONG)
        assert all(one.dead for one in waiting)
        assert law(ledger.made, got, executor.close()) == ""

    in_hub_thread(work)


def test_killing_the_filler():
    """The values stay, and one of the waiting greenlets takes over."""

    def work():
        ledger = Ledger(lambda number: gevent.sleep(0), 1)
        executor = BatchExecutor(ledger, 20)
        got = []
        greenlets = [gevent.spawn(lambda: got.append(executor.load())) for _ in range(30)]
        while not all(one.dead for one in greenlets):
            gevent.sleep(0)
            for one in greenlets:
                if not one.dead and ledger.raised < 8:
                    one.kill()
                    break
        assert ledger.raised
        assert law(ledger.made, got, executor.close()) == ""

    in_hub_thread(work)


def test_a_filler_that_nobody_refers_to_any_more():
    """It is collected while it is suspended in the source: GreenletExit is raised there, and the values stay."""

    def source():
        number = next(numbers)
        if number == 2:
            main.switch()
        return number

    numbers = itertools.count()
    main = greenlet.getcurrent()
    executor = BatchExecutor(source, 5)
    filler = greenlet.greenlet(executor.load)
    filler.switch()
    died = weakref.ref(filler)
    del filler
    gc.collect()
    assert died() is None
    assert [executor.load() for _ in range(3)] == [0, 1, 3]


def test_a_filler_whose_thread_ended():
    """Its greenlet is suspended in the source for ever: its fill is given up when the thread ends."""
    kept = []

    def source():
        number = next(numbers)
        if number == 2:
            greenlet.getcurrent().parent.switch()
        return number

    numbers = itertools.count()
    executor = BatchExecutor(source, 5)

    def work():
        filler = greenlet.greenlet(executor.load)
        kept.append(filler)
        filler.switch()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [executor.load(timeout=10) for _ in range(3)] == [0, 1, 3]


def test_greenlets_without_a_hub_do_not_wait_for_their_own_thread():
    """The filler could only go on in this thread, so the other takes what there is, or calls the source itself."""

    def source():
        number = next(numbers)
        if number == 1:
            main.switch()
        return number

    def work():
        nonlocal main
        main = greenlet.getcurrent()
        filler = greenlet.greenlet(executor.load)
        filler.switch()
        inner = [executor.load(), executor.load()]
        with pytest.raises(RuntimeError, match="close"):
            executor.close()
        rest = filler.switch()
        return [*inner, rest]

    numbers, main = itertools.count(), None
    executor = BatchExecutor(source, 3)
    result = []
    thread = threading.Thread(target=lambda: result.extend(work()))
    thread.start()
    thread.join(30)
    assert sorted(result + executor.close()) == list(range(next(numbers)))
    assert result == [0, 2, 1]


def test_a_load_in_a_callback_of_the_hub():
    def work():
        executor = BatchExecutor(lambda: gevent.sleep(0.01) or next(numbers), 2)
        filler = gevent.spawn(executor.load)
        gevent.sleep(0)
        seen = []
        fast = BatchExecutor(lambda: next(numbers), 2)
        gevent.get_hub().loop.run_callback(lambda: seen.append(fast.load()))
        gevent.sleep(0)
        filler.get(timeout=LONG)
        return seen

    numbers = itertools.count()
    assert in_hub_thread(work) == [0]


@pytest.mark.parametrize("spawned", [True, False])
def test_the_helper_is_a_greenlet_where_the_hub_surely_runs(spawned):
    def work():
        here = threading.get_ident()
        fillers, made = set(), []

        def source():
            fillers.add((threading.get_ident(), greenlet.getcurrent()))
            gevent.sleep(0.0005)
            made.append(next(numbers))
            return made[-1]

        executor = BatchExecutor(source, 20, prefetch=10)

        def consume():
            got = []
            for _ in range(100):
                got.append(executor.load())
                # Not faster than the helper makes them: a helper that is a thread may be late.
                eventually(lambda: len(made) - len(got) >= 10, pause=gevent.sleep)
            return got

        got = gevent.spawn(consume).get(timeout=LONG) if spawned else consume()
        assert got == list(range(100))
        assert executor.stats.waits == 0
        executor.close()
        return len({one for _, one in fillers}) > 1, {ident == here for ident, _ in fillers}

    numbers = itertools.count()
    assert in_hub_thread(work) == (True, {True} if spawned else {True, False})


def test_an_exception_and_a_thousand_greenlets():
    def work():
        def act(number):
            gevent.sleep(0)
            raise Made

        ledger, got, raised = Ledger(act, 7), [], []
        executor = BatchExecutor(ledger, 16)
        spawn(1000, lambda index: raised.append(loads(executor, 2, got)))
        assert law(ledger.made, got, executor.close()) == ""
        assert sum(raised) in {ledger.raised, ledger.raised - 1}  # the last may be lost with close()

    in_hub_thread(work)


def test_close_lets_the_hub_run():
    def work():
        executor = BatchExecutor(lambda: eventually(lambda: executor.closed, pause=gevent.sleep) and "value", 10)
        filler = gevent.spawn(executor.load)
        gevent.sleep(0)
        waiting = gevent.spawn(executor.load)
        gevent.sleep(0)
        left = executor.close()
        assert filler.get(timeout=LONG) == "value"
        with pytest.raises(ValueError, match="closed"):
            waiting.get(timeout=LONG)
        return left

    assert in_hub_thread(work) == []


@pytest.mark.parametrize("loop", ["libev-cext", "libuv-cffi"])
@pytest.mark.parametrize("patch", [False, True])
def test_a_program_of_its_own(loop, patch):
    """Monkey-patched or not, on either loop: greenlets, real threads, a helper, a fork."""
    code = f"""
if {patch}:
    from gevent import monkey
    monkey.patch_all()
import gevent, gevent.os, gevent.threadpool, itertools, os, signal, time
from xctx import BatchExecutor
numbers = itertools.count()
executor = BatchExecutor(lambda: gevent.sleep(0.0001) or next(numbers), 16, prefetch=4)
got = []
pool = gevent.threadpool.ThreadPool(2)
jobs = [gevent.spawn(lambda: got.extend(executor.load() for _ in range(20))) for _ in range(20)]
jobs += [pool.spawn(lambda: got.extend([executor.load() for _ in range(100)])) for _ in range(2)]
assert len(gevent.joinall(jobs, timeout=30, raise_error=True)) == len(jobs)
pid = gevent.fork()
if pid == 0:
    signal.alarm(50)
    gevent.spawn(executor.load).get(timeout=40)
    os._exit(7)
assert os.waitstatus_to_exitcode(gevent.os.waitpid(pid, 0)[1]) == 7
left = executor.close()
assert sorted(got + left) == list(range(len(got) + len(left))), (got, left)
assert len(got) == 600
print("each once")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"GEVENT_LOOP": loop},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if "No module named '_cffi_backend'" in done.stderr:
        pytest.skip("gevent's loop on libuv needs cffi")
    assert (done.stdout, done.returncode) == ("each once\n", 0), done.stderr
