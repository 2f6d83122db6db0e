"""A helper makes the next batch before this one runs out."""

import itertools
import threading
import time
import weakref

import pytest
from batch_checker import Ledger, Made, in_threads, law, loads
from batch_threads import Gate
from helpers.waiting import LONG, eventually

from xctx import BatchExecutor


@pytest.mark.parametrize("batches", [False, True])
def test_a_helper_refills_before_anyone_waits(batches):
    numbers = itertools.count()
    callers, made = set(), []

    def source(count=1):
        callers.add(threading.get_ident())
        values = list(itertools.islice(numbers, count))
        made.extend(values)
        return values if batches else values[0]

    make = BatchExecutor.from_batches if batches else BatchExecutor
    executor = make(source, 50, prefetch=20)
    got = []
    for _ in range(200):
        got.append(executor.load())
        # Not faster than the helper makes them, which may take long to start on a busy machine.
        eventually(lambda: len(made) - len(got) >= 20)
    assert got == list(range(200))
    assert executor.stats.waits == 0
    assert callers - {threading.get_ident()}
    assert executor.close() == list(range(200, next(numbers)))


def test_a_waiting_load_gets_the_first_value_that_the_helper_makes():
    gate = Gate(stop_at=5)
    executor = BatchExecutor(gate, 4, prefetch=3)
    got = [executor.load()]  # three are left, so the helper makes 4, and stops at 5
    assert gate.there.wait(LONG)
    got += [executor.load() for _ in range(4)]
    with pytest.raises(TimeoutError):
        executor.load(timeout=0.02)
    gate.go.set()
    got.append(executor.load(timeout=30))
    assert got == [0, 1, 2, 3, 4, 5]
    executor.close()


def test_what_the_helpers_source_raises_reaches_a_load():
    calls, callers = itertools.count(), []

    def source():
        call = next(calls)
        callers.append(threading.get_ident())
        if call == 6:
            raise Made
        return call

    executor = BatchExecutor(source, 4, prefetch=2)
    outcomes = []
    for _ in range(8):
        try:
            outcomes.append(executor.load())
        except Made:
            outcomes.append("made")
        if len(outcomes) == 3:  # two values or fewer are left, so the helper has been asked for more
            eventually(lambda: len(callers) == 7)
            assert threading.get_ident() not in callers[4:]
    assert outcomes == [0, 1, 2, 3, 4, 5, "made", 7]
    executor.close()


def test_a_helper_keeps_no_executor_alive():
    executor = BatchExecutor(object, 4, prefetch=2)
    for _ in range(4):
        executor.load()
    eventually(executor.__length_hint__)
    died = weakref.ref(executor)
    del executor
    eventually(lambda: died() is None)


def test_prefetch_in_many_threads():
    ledger, got = Ledger(lambda number: time.sleep(0), 5), []
    executor = BatchExecutor(ledger, 32, prefetch=16)
    in_threads(8, lambda index: loads(executor, 500, got))
    assert law(ledger.made, got, executor.close()) == ""
    assert ledger.overlaps == 0
