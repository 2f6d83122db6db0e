"""What a BatchExecutor promises, one sentence at a time."""

import copy
import gc
import itertools
import operator
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import weakref
from uuid import uuid4

import pytest
from batch_checker import Made

from xctx import BatchExecutor


class Gate:
    """A source that stops where it is told to, until it is let on."""

    def __init__(self, stop_at=0):
        self.numbers = itertools.count()
        self.stop_at = stop_at
        self.there = threading.Event()
        self.go = threading.Event()

    def __call__(self):
        number = next(self.numbers)
        if number == self.stop_at:
            self.there.set()
            assert self.go.wait(30)
        return number


def in_thread(work):
    """A running thread; `result` on it is what came of it, after a join."""

    def run():
        try:
            thread.result = work()
        except BaseException as error:
            thread.result = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def joined(thread):
    thread.join(30)
    assert not thread.is_alive()
    return thread.result


def until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


# Making one


@pytest.mark.parametrize("size", ["5", 2.0, None, b"1"])
def test_a_size_is_an_int(size):
    with pytest.raises(TypeError, match=r"an int is wanted"):
        BatchExecutor(object, size)


@pytest.mark.parametrize("size", [0, -1, -(10**30)])
def test_a_size_is_at_least_one(size):
    with pytest.raises(ValueError, match=rf"size {size} is not usable: 1 or more is wanted"):
        BatchExecutor(object, size)


def test_a_source_is_callable():
    with pytest.raises(TypeError, match=r"source 'no' is not usable: a callable is wanted"):
        BatchExecutor("no", 5)
    with pytest.raises(TypeError, match=r"source 'no' is not usable"):
        BatchExecutor.from_batches("no", 5)


@pytest.mark.parametrize(("prefetch", "error"), [("1", TypeError), (1.0, TypeError), (-1, ValueError)])
def test_a_mark_is_a_natural_number(prefetch, error):
    with pytest.raises(error, match="is wanted"):
        BatchExecutor(object, 5, prefetch=prefetch)


def test_what_it_says_of_itself():
    executor = BatchExecutor(uuid4, 5, prefetch=2)
    assert (executor.source, executor.size, executor.prefetch, executor.closed) == (uuid4, 5, 2, False)
    assert repr(executor) == f"<xctx.BatchExecutor of {uuid4!r}, size 5, holds 0>"
    assert repr(executor.as_local()) == f"<xctx.LocalBatch of {executor!r}>"
    for name in ("source", "size", "prefetch", "closed", "stats"):
        with pytest.raises(AttributeError):
            setattr(executor, name, 1)


def test_it_is_what_the_peer_is():
    """The whole interface of ft_utils' class."""
    executor = BatchExecutor(lambda: "result", 5)
    local = executor.as_local()
    assert local.wrapped is executor
    assert executor.load() == local.load() == "result"
    assert weakref.ref(executor)() is executor


@pytest.mark.parametrize("act", [copy.copy, copy.deepcopy, pickle.dumps])
def test_there_is_no_second_one(act):
    executor = BatchExecutor(object, 5)
    for value in (executor, executor.as_local()):
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            act(value)


def test_a_handle_is_of_an_executor():
    kind = type(BatchExecutor(object, 1).as_local())
    assert kind(BatchExecutor(int, 1)).load() == 0
    for wrong in ((), (None,), (object(),)):
        with pytest.raises(TypeError):
            kind(*wrong)
        with pytest.raises(TypeError):
            kind.__new__(kind, *wrong)


def test_none_is_made_without_a_source():
    with pytest.raises(TypeError):
        BatchExecutor.__new__(BatchExecutor)


def test_a_subclass_is_one_too():
    class Ids(BatchExecutor):
        def __init__(self, source, size):
            self.name = "ids"

    ids = Ids(itertools.count().__next__, 3)
    assert [ids.load() for _ in range(5)] == [0, 1, 2, 3, 4]
    assert repr(ids).startswith("<xctx.Ids of ")
    assert Ids.from_batches.__self__ is Ids


# What the source raises


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
    assert gate.there.wait(30)
    waiting = [in_thread(executor.load) for _ in range(2)]
    until(lambda: executor.stats.waits == 2)
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


def test_when_the_filler_dies_one_who_waits_takes_over():
    gate = Gate(stop_at=0)

    def source():
        number = gate()
        if number == 0:
            raise SystemExit
        return number

    executor = BatchExecutor(source, 1)
    filler = in_thread(executor.load)
    assert gate.there.wait(30)
    waiting = [in_thread(executor.load) for _ in range(3)]
    until(lambda: executor.stats.waits == 3)
    gate.stop_at = None
    gate.go.set()
    assert isinstance(joined(filler), SystemExit)
    assert sorted(joined(thread) for thread in waiting) == [1, 2, 3]


# Waiting


def test_a_load_waits_for_the_one_who_fills():
    gate = Gate(stop_at=1)
    executor = BatchExecutor(gate, 3)
    filler = in_thread(executor.load)
    assert gate.there.wait(30)
    waiting = in_thread(executor.load)
    until(lambda: executor.stats.waits == 1)
    assert waiting.is_alive()
    gate.go.set()
    assert (joined(filler), joined(waiting)) == (0, 1)


def test_a_load_that_does_not_want_to_wait():
    gate = Gate()
    executor = BatchExecutor(gate, 3)
    filler = in_thread(executor.load)
    assert gate.there.wait(30)
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
    # Nobody fills now, so it is this caller's turn, and there is nobody to wait for.
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
    assert gate.there.wait(30)
    for _ in range(5):
        with pytest.raises(TimeoutError):
            executor.load(timeout=0.01)
    waiting = in_thread(executor.load)
    until(lambda: executor.stats.waits == 6)
    gate.go.set()
    assert sorted([joined(filler), joined(waiting)]) == [0, 1]


@pytest.fixture
def interruptible():
    """Ctrl-C raises, also where this process was started to ignore it, as shells start what runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_control_c_interrupts_a_wait():
    gate = Gate()
    executor = BatchExecutor(gate, 1)
    filler = in_thread(executor.load)
    assert gate.there.wait(30)

    def interrupt():
        until(lambda: executor.stats.waits == 1)
        time.sleep(0.05)
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
        assert gate.there.wait(30)

        def interrupt():
            until(lambda: executor.stats.waits == 1)
            time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGINT)
            until(lambda: seen)
            gate.go.set()

        helper = in_thread(interrupt)
        assert executor.load() in {0, 1}
        joined(helper)
        joined(filler)
    finally:
        signal.signal(signal.SIGINT, before)


# Whole batches


def test_batches_from_a_database_sequence():
    database = sqlite3.connect(":memory:", check_same_thread=False)
    database.execute("create table ids (next integer)")
    database.execute("insert into ids values (100)")

    def source(count):
        (end,) = database.execute("update ids set next = next + ? returning next", (count,)).fetchone()
        return range(end - count, end)

    executor = BatchExecutor.from_batches(source, 10)
    assert [executor.load() for _ in range(25)] == list(range(100, 125))
    assert executor.stats == (25, 3, 0)
    assert executor.close() == list(range(125, 130))
    database.close()


def test_the_source_is_asked_for_a_batch_of_that_size():
    asked = []
    executor = BatchExecutor.from_batches(lambda count: asked.append(count) or [1, 2], 10)
    for _ in range(4):
        executor.load()
    assert asked == [10, 10]


@pytest.mark.parametrize("kind", [list, tuple, iter, dict.fromkeys, set, lambda values: (value for value in values)])
def test_any_iterable_is_a_batch(kind):
    executor = BatchExecutor.from_batches(lambda count: kind(range(count)), 5)
    assert sorted(executor.load() for _ in range(5)) == [0, 1, 2, 3, 4]


def test_random_bytes_are_a_batch_of_ints():
    executor = BatchExecutor.from_batches(os.urandom, 100)
    assert all(0 <= executor.load() < 256 for _ in range(250))


def test_a_batch_may_be_larger_than_asked_for():
    executor = BatchExecutor.from_batches(lambda count: range(3 * count), 2)
    assert [executor.load() for _ in range(6)] == list(range(6))
    assert executor.stats.fills == 1


def test_a_batch_without_any_value():
    batches = iter([[1], [], [2], []])
    executor = BatchExecutor.from_batches(lambda count: next(batches), 5)
    assert executor.load() == 1
    with pytest.raises(LookupError, match="at least one is wanted"):
        executor.load()
    assert list(executor) == [2]


@pytest.mark.parametrize("batch", [None, 5, object()])
def test_a_batch_is_iterable(batch):
    executor = BatchExecutor.from_batches(lambda count: batch, 5)
    with pytest.raises(TypeError, match="an iterable of values is wanted"):
        executor.load()


def test_a_batch_that_raises_on_the_way():
    def source(count):
        yield from range(3)
        raise Made

    executor = BatchExecutor.from_batches(source, 5)
    assert [executor.load() for _ in range(3)] == [0, 1, 2]
    with pytest.raises(Made):
        executor.load()
    assert executor.load() == 0


def test_a_load_inside_a_source_of_batches():
    numbers = itertools.count()

    def source(count):
        start = next(numbers)
        if start == 0:
            return [("outer", executor.load()), "outer 2"]
        return [f"{start} first", f"{start} second"]

    executor = BatchExecutor.from_batches(source, 2)
    got = [executor.load() for _ in range(3)]
    assert got == ["1 second", ("outer", "1 first"), "outer 2"]


# Prefetch


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
        # As fast as the helper: on a busy machine it may be long on its way.
        until(lambda: len(made) - len(got) >= 20)
        time.sleep(0.0005)
    assert got == list(range(200))
    assert executor.stats.waits == 0
    assert callers - {threading.get_ident()}
    assert executor.close() == list(range(200, next(numbers)))


def test_a_waiting_load_gets_the_first_value_that_the_helper_makes():
    gate = Gate(stop_at=5)
    executor = BatchExecutor(gate, 4, prefetch=3)
    got = [executor.load()]  # three are left, so the helper makes 4, and stops at 5
    assert gate.there.wait(30)
    got += [executor.load() for _ in range(4)]
    with pytest.raises(TimeoutError):
        executor.load(timeout=0.02)
    gate.go.set()
    got.append(executor.load(timeout=30))
    assert got == [0, 1, 2, 3, 4, 5]
    executor.close()


def test_what_the_helpers_source_raises_reaches_a_load():
    calls = itertools.count()

    def source():
        call = next(calls)
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
        time.sleep(0.005)
    assert outcomes == [0, 1, 2, 3, 4, 5, "made", 7]
    executor.close()


def test_a_helper_keeps_no_executor_alive():
    executor = BatchExecutor(object, 4, prefetch=2)
    for _ in range(4):
        executor.load()
    until(executor.__length_hint__)
    died = weakref.ref(executor)
    del executor
    until(lambda: died() is None)


def test_prefetch_in_many_threads():
    from batch_checker import Ledger, in_threads, law, loads

    ledger, got = Ledger(lambda number: time.sleep(0), 5), []
    executor = BatchExecutor(ledger, 32, prefetch=16)
    in_threads(8, lambda index: loads(executor, 500, got))
    assert law(ledger.made, got, executor.close()) == ""
    assert ledger.overlaps == 0


# Views


def test_iteration_and_length_hint():
    executor = BatchExecutor(itertools.count().__next__, 5)
    assert iter(executor) is executor
    assert operator.length_hint(executor) == 0
    assert next(executor) == 0
    assert operator.length_hint(executor) == operator.length_hint(executor.as_local()) == 4
    assert list(itertools.islice(executor.as_local(), 3)) == [1, 2, 3]


def test_stats():
    executor = BatchExecutor(object, 5)
    assert executor.stats == (0, 0, 0)
    for _ in range(7):
        executor.load()
    assert executor.stats == (7, 2, 0)
    assert executor.stats._fields == ("loads", "fills", "waits")
    assert len(executor.close()) == 3
    assert executor.stats.loads == 7


# Closing


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


def test_close_wakes_those_who_wait_and_lets_the_filler_have_its_value():
    gate = Gate(stop_at=2)
    executor = BatchExecutor(gate, 7)
    filler = in_thread(executor.load)
    assert gate.there.wait(30)
    waiting = [in_thread(executor.load) for _ in range(3)]
    until(lambda: executor.stats.waits == 3)
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


# Forking


def child(work):
    """What `work()` in a forked child gives, as text."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        signal.alarm(60)
        try:
            os.write(write, repr(work()).encode())
        except BaseException as error:
            os.write(write, repr(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as stream:
        text = stream.read()
    os.waitpid(pid, 0)
    return text


fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


@fork
def test_a_child_starts_with_an_empty_buffer():
    source = itertools.count()
    executor = BatchExecutor(source.__next__, 10)
    got = [executor.load() for _ in range(3)]
    text = child(lambda: (operator.length_hint(executor), executor.load(), executor.stats, executor.close()))
    assert text == repr((0, 10, executor.stats._replace(loads=1, fills=1), list(range(11, 20))))
    assert got + executor.close() == list(range(10))


@fork
def test_a_childs_handle_starts_empty_too():
    executor = BatchExecutor(itertools.count().__next__, 10)
    local = executor.as_local()
    assert local.load() == 0
    assert child(lambda: [local.load(), next(local)]) == "[10, 11]"


@fork
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
    assert child(work) == "10"  # its own ten
    assert died == []


@fork
def test_a_child_of_a_filler():
    """The fork happens in the source: parent and child each go on with their own half."""
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


@fork
def test_a_child_whose_filler_stayed_behind():
    gate = Gate(stop_at=1)
    executor = BatchExecutor(gate, 4)
    filler = in_thread(executor.load)
    assert gate.there.wait(30)
    waiting = in_thread(executor.load)
    until(lambda: executor.stats.waits == 1)
    assert child(lambda: executor.load(timeout=30)) == "2"
    gate.go.set()
    assert sorted([joined(filler), joined(waiting)]) == [0, 1]


@fork
def test_a_child_has_a_helper_of_its_own():
    executor = BatchExecutor(itertools.count().__next__, 10, prefetch=8)
    for _ in range(5):
        executor.load()
    until(lambda: executor.__length_hint__() > 8)

    def work():
        executor.load()
        until(lambda: executor.__length_hint__() > 8)
        return executor.load() >= 10

    assert child(work) == "True"
    executor.close()


# Lifetime


class Value:
    pass


def test_values_in_the_store_are_released_with_it():
    values = []

    def source():
        value = Value()
        values.append(weakref.ref(value))
        return value

    executor = BatchExecutor(source, 10)
    thread = threading.Thread(target=lambda load: [load(), load(), load()], args=(executor.load,))
    thread.start()
    thread.join()
    executor.load()
    gc.collect()
    assert sum(value() is not None for value in values) == 6
    del executor
    gc.collect()
    assert sum(value() is not None for value in values) == 0


def test_values_are_released_by_whoever_had_them():
    executor = BatchExecutor(Value, 10)
    value = weakref.ref(executor.load())
    gc.collect()
    assert value() is None


@pytest.mark.parametrize("kind", ["source", "value", "error", "handle", "stash"])
def test_cycles_are_collected(kind):
    class Source:
        def __call__(self):
            return self if kind in {"value", "stash"} else Value()

    source = Source()
    if kind == "error":
        executors = []

        def call():
            if not executors[0].stats.fills or executors[1:]:
                raise Made(executors)
            executors.append(None)
            return 1

        executors.append(BatchExecutor(call, 3))
        executor = executors[0]
        executor.load()
        del call, executors
    else:
        executor = BatchExecutor(source, 10)
        source.executor = executor.as_local() if kind == "handle" else executor
        for _ in range(4 if kind == "stash" else 1):
            executor.load()
    died = weakref.ref(executor)
    del executor, source
    gc.collect()
    assert died() is None


def test_a_value_whose_finaliser_loads():
    class Loads:
        def __del__(self):
            seen.append(executor.load())

    seen = []
    numbers = itertools.count()
    executor = BatchExecutor(numbers.__next__, 3)
    other = BatchExecutor(Loads, 4)
    other.load()
    del other
    gc.collect()
    assert sorted(seen) == [0, 1, 2, 3]


NO_GIL = not getattr(sys, "_is_gil_enabled", lambda: True)()


@pytest.mark.skipif(not NO_GIL, reason="references are counted the same way everywhere with the GIL")
def test_only_an_executor_that_threads_share_and_use_a_lot_is_promoted():
    def executor_after(threads, loads):
        executor = BatchExecutor(object, 100)
        workers = [threading.Thread(target=list, args=(itertools.islice(executor, loads),)) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return executor

    # The iterators of the workers take values through the executor, which is what is counted.
    assert sys.getrefcount(executor_after(2, 1000)) < 100
    assert sys.getrefcount(executor_after(1, 40_000)) < 100
    hot = executor_after(2, 40_000)
    if sys.version_info < (3, 14):
        assert sys.getrefcount(hot) > 2**31
    assert len(hot.close()) <= 200
    for threads, loads in [(2, 1000), (1, 40_000)]:
        died = weakref.ref(executor_after(threads, loads))
        gc.collect()
        assert died() is None


def output(code):
    """What a program writes that ends without a word on stderr."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_values_are_released_at_the_end_of_the_interpreter():
    code = """
from xctx import BatchExecutor

class Value:
    def __del__(self):
        print("released", flush=True)

kept = BatchExecutor(Value, 3)
kept.load()
print("end", flush=True)
"""
    assert output(code) == ["released", "end", "released", "released"]


def test_the_interpreter_ends_in_the_middle_of_everything():
    code = """
import threading, time
from xctx import BatchExecutor

slow = BatchExecutor(lambda: time.sleep(60), 3)
for _ in range(3):
    threading.Thread(target=slow.load, daemon=True).start()
helped = BatchExecutor(lambda: time.sleep(0.01), 10, prefetch=9)
for _ in range(20):
    helped.load()
print("end", flush=True)
"""
    assert output(code) == ["end"]
