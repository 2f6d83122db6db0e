"""A forked child starts with an empty buffer, and leaves what the parent holds alone."""

import itertools
import operator
import os
import signal

import pytest
from batch_threads import Gate, in_thread, joined
from helpers.units import in_fork
from helpers.waiting import LONG, eventually

from xctx import BatchExecutor

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


def test_a_child_starts_with_an_empty_buffer():
    source = itertools.count()
    executor = BatchExecutor(source.__next__, 10)
    got = [executor.load() for _ in range(3)]
    seen = in_fork(lambda: (operator.length_hint(executor), executor.load(), tuple(executor.stats), executor.close()))
    assert seen == (0, 10, executor.stats._replace(loads=1, fills=1), list(range(11, 20)))
    assert got + executor.close() == list(range(10))


def test_a_childs_handle_starts_empty_too():
    executor = BatchExecutor(itertools.count().__next__, 10)
    local = executor.as_local()
    assert local.load() == 0
    assert in_fork(lambda: [local.load(), next(local)]) == [10, 11]


def test_what_the_parent_hands_out_is_not_finalised_in_a_child():
    class Value:
        def __del__(self):
            died.append(os.getpid())

    died = []
    executor = BatchExecutor(Value, 10)
    executor.load()

    def work():
        executor.load()
        executor.close().clear()
        return len(died)

    died.clear()
    assert in_fork(work) == 10  # its own ten
    assert died == []


def test_a_child_of_a_filler():
    """The fork happens in the source: parent and child each go on with a fill of their own."""
    forked = []

    def source():
        number = next(numbers)
        if number == 2 and not forked:
            read, write = os.pipe()
            forked.append(read)
            pid = os.fork()
            if pid:
                os.close(write)
                with os.fdopen(read) as stream:
                    forked.append(stream)
                    forked.append(stream.read())
                os.waitpid(pid, 0)
            else:
                signal.alarm(60)
                forked.append(write)
                forked.append("child")
        return number

    numbers = itertools.count()
    executor = BatchExecutor(source, 4)
    first = executor.load()
    if forked[-1] == "child":
        try:
            os.write(forked[1], repr((first, [executor.load() for _ in range(4)])).encode())
        finally:
            os._exit(0)
    assert forked[-1] == "(2, [3, 4, 5, 6])"
    assert (first, [executor.load() for _ in range(3)]) == (0, [1, 2, 3])


def test_a_child_whose_filler_stayed_behind():
    gate = Gate(stop_at=1)
    executor = BatchExecutor(gate, 4)
    filler = in_thread(executor.load)
    assert gate.there.wait(LONG)
    waiting = in_thread(executor.load)
    eventually(lambda: executor.stats.waits == 1)
    assert in_fork(lambda: executor.load(timeout=LONG)) == 2
    gate.go.set()
    assert sorted([joined(filler), joined(waiting)]) == [0, 1]


def test_a_child_has_a_helper_of_its_own():
    executor = BatchExecutor(itertools.count().__next__, 10, prefetch=8)
    for _ in range(5):
        executor.load()
    eventually(lambda: executor.__length_hint__() > 8)

    def work():
        executor.load()
        eventually(lambda: executor.__length_hint__() > 8)
        return executor.load() >= 10

    assert in_fork(work)
    executor.close()
