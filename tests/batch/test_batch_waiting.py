"""Loads that wait for the filler, with a timeout and interrupted ones too; and close(), which ends all waits."""

import itertools
import os
import signal
import time

import pytest
from batch_threads import Gate, in_thread, joined
from helpers.waiting import LONG, eventually

from xctx import BatchExecutor

# --- waiting ----------------------------------------------------------------------------------------------------------


def test_a_load_waits_for_the_filler():
    gate = Gate(stop_at=1)
    executor = BatchExecutor(gate, 3)
    filler = in_thread(executor.load)
    assert gate.there.wait(LONG)
    waiting = in_thread(executor.load)
    eventually(lambda: executor.stats.waits == 1)
    assert waiting.is_alive()
    gate.go.set()
    assert (joined(filler), joined(waiting)) == (0, 1)


def test_a_load_that_must_not_wait_or_not_for_long():
    gate = Gate()
    executor = BatchExecutor(gate, 3)
    filler = in_thread(executor.load)
    assert gate.there.wait(LONG)
    for load in (executor.load, executor.as_local().load):
        with pytest.raises(BlockingIOError, match="another unit is filling"):
            load(block=False)
        with pytest.raises(BlockingIOError):
            load(False, 5)
        begin = time.monotonic()
        with pytest.raises(TimeoutError, match=r"timeout=0\.05"):
            load(timeout=0.05)
        assert 0.05 <= time.monotonic() - begin < 5
        with pytest.raises(TimeoutError):
            load(timeout=0)
    gate.go.set()
    assert joined(filler) == 0
    assert [executor.load(block=False), executor.load(timeout=0)] == [1, 2]
    # No unit fills now, so it is this caller's turn, and there is nothing to wait for.
    assert executor.load(block=False) == 3


@pytest.mark.parametrize(("timeout", "error"), [(-1, ValueError), (float("nan"), ValueError), ("1", TypeError)])
def test_a_timeout_is_a_number_of_seconds(timeout, error):
    executor = BatchExecutor(object, 3)
    executor.load()
    with pytest.raises(error):
        executor.load(timeout=timeout)


def test_a_timeout_leaves_no_trace():
    gate = Gate()
    executor = BatchExecutor(gate, 1)
    filler = in_thread(executor.load)
    assert gate.there.wait(LONG)
    for _ in range(5):
        with pytest.raises(TimeoutError):
            executor.load(timeout=0.01)
    waiting = in_thread(executor.load)
    eventually(lambda: executor.stats.waits == 6)
    gate.go.set()
    assert sorted([joined(filler), joined(waiting)]) == [0, 1]


@pytest.fixture
def interruptible():
    """Ctrl-C raises, also where this process was started to ignore it, as a shell starts background processes."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_control_c_interrupts_a_wait():
    gate = Gate()
    executor = BatchExecutor(gate, 1)
    filler = in_thread(executor.load)
    assert gate.there.wait(LONG)

    def interrupt():
        eventually(lambda: executor.stats.waits == 1)
        signal.raise_signal(signal.SIGINT) if os.name == "nt" else os.kill(os.getpid(), signal.SIGINT)

    helper = in_thread(interrupt)
    with pytest.raises(KeyboardInterrupt):
        executor.load()
    joined(helper)
    gate.go.set()
    assert joined(filler) == 0
    assert executor.load() == 1


def test_a_signal_that_does_not_raise_goes_on_waiting():
    seen = []
    before = signal.signal(signal.SIGINT, lambda *args: seen.append(args))
    try:
        gate = Gate()
        executor = BatchExecutor(gate, 2)
        filler = in_thread(executor.load)
        assert gate.there.wait(LONG)

        def interrupt():
            eventually(lambda: executor.stats.waits == 1)
            os.kill(os.getpid(), signal.SIGINT)
            eventually(lambda: seen)
            gate.go.set()

        helper = in_thread(interrupt)
        assert executor.load() in {0, 1}
        joined(helper)
        joined(filler)
    finally:
        signal.signal(signal.SIGINT, before)


# --- closing ----------------------------------------------------------------------------------------------------------


def test_close_gives_back_what_was_not_handed_out():
    executor = BatchExecutor(itertools.count().__next__, 5)
    assert executor.leftover is None
    assert executor.load() == 0
    left = executor.close()
    assert left == [1, 2, 3, 4]
    assert executor.close() is left is executor.leftover
    assert executor.closed


def test_a_with_block_closes():
    with BatchExecutor(itertools.count().__next__, 5) as executor:
        assert executor.load() == 0
    assert executor.leftover == [1, 2, 3, 4]
    with pytest.raises(ZeroDivisionError), BatchExecutor(object, 5) as executor:
        1 / 0
    assert executor.leftover == []


def test_use_after_close():
    executor = BatchExecutor(object, 5)
    local = executor.as_local()
    local.load()
    executor.close()
    for use in (executor.load, local.load, executor.__next__, local.__next__):
        with pytest.raises(ValueError, match="closed>: an open one is wanted"):
            use()


def test_close_wakes_waiting_callers_and_lets_the_filler_have_its_value():
    gate = Gate(stop_at=2)
    executor = BatchExecutor(gate, 7)
    filler = in_thread(executor.load)
    assert gate.there.wait(LONG)
    waiting = [in_thread(executor.load) for _ in range(3)]
    eventually(lambda: executor.stats.waits == 3)
    closing = in_thread(executor.close)
    for thread in waiting:
        assert isinstance(joined(thread), ValueError)
    assert closing.is_alive()
    gate.go.set()
    assert joined(filler) == 0
    assert joined(closing) == [1, 2]


def test_close_from_inside_the_source():
    executor = BatchExecutor(lambda: executor.close(), 3)
    with pytest.raises(RuntimeError, match="a call from outside the source is wanted"):
        executor.load()
    assert not executor.closed
    assert executor.close() == []
