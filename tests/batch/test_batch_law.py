"""Each value is handed out exactly once, whatever the source does, and whichever thread loads."""

import gc
import itertools
import random
import threading
import time

import pytest
from batch_checker import SCENARIOS, Ledger, Made, in_threads, law, loads
from helpers.effort import STRESS_SECONDS
from helpers.waiting import LONG, eventually

from xctx import BatchExecutor

SIZES = [1, 2, 7, 256, 100_000]


@pytest.mark.sampled
@pytest.mark.parametrize("threads", [1, 2, 4, 16])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", SCENARIOS)
def test_each_value_exactly_once(kind, size, threads):
    scenario = SCENARIOS[kind](BatchExecutor, size)
    assert scenario.run(threads, 320 // threads) == ""
    assert scenario.source.overlaps == 0


@pytest.mark.parametrize("size", SIZES)
def test_a_single_consumer_sees_the_order_of_the_source(size):
    executor = BatchExecutor(itertools.count().__next__, size)
    assert [executor.load() for _ in range(1000)] == list(range(1000))
    left = executor.close()
    assert left == list(range(1000, -(-1000 // size) * size))


@pytest.mark.parametrize("size", [1, 2, 7, 256])
def test_outcomes_are_those_of_the_source_itself(size):
    """For one consumer, a load is a call of the source: values and exceptions come in the order they were made."""

    def outcomes(call, count=400):
        for _ in range(count):
            try:
                yield call()
            except Made as error:
                yield repr(error)

    def source(chance):
        number = chance.random()
        if number < 0.2:
            raise Made(number)
        return number

    first, second = random.Random(5), random.Random(5)
    executor = BatchExecutor(lambda: source(first), size)
    assert list(outcomes(executor.load)) == list(outcomes(lambda: source(second)))


def test_handles_are_as_exact_as_the_executor():
    ledger, got = Ledger(lambda number: time.sleep(0), 10), []
    executor = BatchExecutor(ledger, 7)
    in_threads(8, lambda index: loads(executor.as_local() if index % 2 else executor, 500, got))
    assert law(ledger.made, got, executor.close()) == ""


def test_one_handle_may_be_shared():
    ledger, got = Ledger(), []
    handle = BatchExecutor(ledger, 7).as_local()
    in_threads(8, lambda index: loads(handle, 500, got))
    assert law(ledger.made, got, handle.wrapped.close()) == ""


def test_iteration_is_exact_too():
    ledger, got = Ledger(), []
    executor = BatchExecutor(ledger, 7)
    in_threads(8, lambda index: got.extend(itertools.islice(executor, 500)))
    assert law(ledger.made, got, executor.close()) == ""


def test_threads_that_come_and_go_lose_nothing():
    ledger, got = Ledger(), []
    executor = BatchExecutor(ledger, 64)
    for _ in range(40):
        in_threads(3, lambda index: loads(executor, random.randrange(1, 60), got))
    assert law(ledger.made, got, executor.close()) == ""
    assert len(ledger.made) <= len(got) + 64 * 3


def test_what_a_thread_took_along_goes_back_when_it_ends():
    ledger, got = Ledger(), []
    executor = BatchExecutor(ledger, 100)
    in_threads(1, lambda index: loads(executor, 40, got))
    loads(executor, 60, got)
    assert sorted(got) == list(range(100))
    assert executor.stats.fills == 1


def test_closing_takes_back_what_other_threads_hold():
    ledger, got = Ledger(), []
    executor = BatchExecutor(ledger, 100)
    loaded, closed = threading.Event(), threading.Event()

    def hold(index):
        loads(executor, 40, got)
        loaded.set()
        assert closed.wait(LONG)
        with pytest.raises(ValueError, match="open one is wanted"):
            executor.load()

    thread = threading.Thread(target=hold, args=(0,))
    thread.start()
    assert loaded.wait(LONG)
    left = executor.close()
    closed.set()
    thread.join()
    assert law(ledger.made, got, left) == ""
    assert left == list(range(40, 100))


def test_closing_in_the_middle_of_everything():
    for _ in range(30):
        ledger, got = Ledger(lambda number: time.sleep(0), 3), []
        executor = BatchExecutor(ledger, 16)

        def work(index, executor=executor, got=got):
            mine = []
            try:
                while True:
                    mine.append(executor.load())
            except ValueError:
                got.extend(mine)

        threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        enough = random.randrange(200)
        eventually(lambda ledger=ledger, enough=enough: ledger.next >= enough)
        left = executor.close()
        for thread in threads:
            thread.join(LONG)
            assert not thread.is_alive()
        assert law(ledger.made, got, left) == ""
        assert executor.close() is left


def test_no_newcomer_overtakes_for_ever():
    """With size 1 each load fills. A waiting thread gets its turn although another comes back at once each time."""
    executor = BatchExecutor(lambda: time.sleep(0.002), 1)
    counts = [0] * 4
    end = time.monotonic() + 60

    def work(index):
        while sum(counts) < 250 and time.monotonic() < end:
            executor.load()
            counts[index] += 1

    in_threads(4, work)
    assert min(counts) >= sum(counts) / 16


def test_a_source_that_returns_itself():
    class Source:
        def __call__(self):
            return self

    source = Source()
    executor = BatchExecutor(source, 7)
    assert all(executor.load() is source for _ in range(20))


def test_a_source_that_loads_from_itself_for_ever():
    executor = BatchExecutor(lambda: executor.load(), 3)
    with pytest.raises(RecursionError):
        executor.load()


def test_sources_that_load_from_each_other_are_nested_only_so_deep():
    """Each source is another executor's load, which is C calling C: only a count of the levels saves the stack."""
    executor = BatchExecutor(itertools.count().__next__, 1)
    for _ in range(50):
        executor = BatchExecutor(executor.load, 1)
    assert executor.load() == 0
    for _ in range(30_000):
        executor = BatchExecutor(executor.load, 1)
    with pytest.raises(RecursionError):
        executor.load()


def test_a_load_inside_the_source_takes_what_the_batch_has_so_far():
    log = []

    def source():
        log.append("call")
        if len(log) == 3:
            log.append(("inner", executor.load()))
        return len(log)

    executor = BatchExecutor(source, 4)
    first = executor.load()
    assert log[3] == ("inner", 1)
    assert first == 2


def test_a_source_without_anything_yet_calls_itself_for_a_load_inside():
    depth = []

    def source():
        depth.append(None)
        if len(depth) == 1:
            return ("outer", executor.load())
        return "inner"

    executor = BatchExecutor(source, 1)
    assert executor.load() == ("outer", "inner")
    assert executor.stats.loads == 2


@pytest.mark.stress
def test_stress_of_all_sources():
    end = time.monotonic() + STRESS_SECONDS
    chance = random.Random()
    while time.monotonic() < end:
        kind = chance.choice(sorted(SCENARIOS))
        size, threads = chance.choice([1, 2, 3, 7, 64, 256, 1000]), chance.randrange(1, 9)
        scenario = SCENARIOS[kind](BatchExecutor, size)
        wrong = scenario.run(threads, chance.randrange(1, 600))
        assert (wrong, scenario.source.overlaps) == ("", 0), (kind, size, threads)
        if chance.random() < 0.1:
            gc.collect()


@pytest.mark.stress
def test_stress_of_fast_sources():
    """Sources that never block, so that on a free-threaded build threads meet in the buffer itself."""
    end = time.monotonic() + STRESS_SECONDS
    chance = random.Random()
    while time.monotonic() < end:
        size, threads, made = chance.choice([1, 2, 3, 7, 100, 300]), chance.randrange(2, 5), itertools.count()
        executor = BatchExecutor(made.__next__, size)
        parts = [[] for _ in range(threads)]

        def work(index, executor=executor, parts=parts):
            for _ in range(2000):
                parts[index].append(executor.load())

        in_threads(threads, work)
        left = executor.close()
        count = next(made)
        assert law(range(count), list(itertools.chain(*parts)), left) == ""
        if size == 1:
            for part in parts:
                assert part == sorted(part)
