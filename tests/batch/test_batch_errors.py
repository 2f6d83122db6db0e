"""What becomes of the exceptions that a source raises."""

import itertools

import pytest
from batch_checker import Made
from batch_threads import Gate, in_thread, joined
from helpers.waiting import LONG, eventually

from xctx import BatchExecutor


def test_values_come_before_the_exception_that_followed_them():
    answers = iter([1, 2, Made("third"), 4, 5, 6])

    def source():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    executor = BatchExecutor(source, 3)
    assert [executor.load(), executor.load()] == [1, 2]
    with pytest.raises(Made, match="third"):
        executor.load()
    assert [executor.load() for _ in range(3)] == [4, 5, 6]
    assert executor.stats.fills == 2


def test_the_exception_reaches_the_caller_whose_value_it_would_have_been():
    gate = Gate(stop_at=2)

    def source():
        if gate() == 2:
            raise Made
        return "value"

    executor = BatchExecutor(source, 7)
    filler = in_thread(executor.load)
    assert gate.there.wait(LONG)
    waiting = [in_thread(executor.load) for _ in range(2)]
    eventually(lambda: executor.stats.waits == 2)
    gate.stop_at = None
    gate.go.set()
    assert joined(filler) == "value"
    first, second = (joined(thread) for thread in waiting)
    # Of the two that waited, one has the second value; the other's would have been the third.
    assert sorted([type(first), type(second)], key=str) == sorted([str, Made], key=str)


def test_an_exception_is_raised_once():
    calls = itertools.count()

    def source():
        if next(calls) == 0:
            raise Made
        return "value"

    executor = BatchExecutor(source, 5)
    with pytest.raises(Made) as caught:
        executor.load()
    assert caught.traceback[-1].name == "source"
    assert executor.load() == "value"


@pytest.mark.parametrize("at", range(8))
def test_raising_at_any_call(at):
    calls = itertools.count()

    def source():
        call = next(calls)
        if call == at:
            raise Made
        return call

    executor = BatchExecutor(source, 3)
    outcomes = []
    for _ in range(10):
        try:
            outcomes.append(executor.load())
        except Made:
            outcomes.append(None)
    assert outcomes == [None if call == at else call for call in range(10)]


def test_stop_iteration_ends_an_iteration():
    assert list(BatchExecutor(iter(range(10)).__next__, 4)) == list(range(10))


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_meant_for_the_unit_goes_to_it_at_once(error):
    calls = itertools.count()

    def source():
        call = next(calls)
        if call == 2:
            raise error
        return call

    executor = BatchExecutor(source, 5)
    with pytest.raises(error):
        executor.load()
    assert [executor.load() for _ in range(3)] == [0, 1, 3]


def test_when_the_filler_dies_a_waiting_caller_takes_over():
    gate = Gate(stop_at=0)

    def source():
        number = gate()
        if number == 0:
            raise SystemExit
        return number

    executor = BatchExecutor(source, 1)
    filler = in_thread(executor.load)
    assert gate.there.wait(LONG)
    waiting = [in_thread(executor.load) for _ in range(3)]
    eventually(lambda: executor.stats.waits == 3)
    gate.stop_at = None
    gate.go.set()
    assert isinstance(joined(filler), SystemExit)
    assert sorted(joined(thread) for thread in waiting) == [1, 2, 3]
