"""When values and executors die: by themselves, through the collector, at the end of the interpreter."""

import gc
import itertools
import subprocess
import sys
import threading
import weakref

import pytest
from batch_checker import Made

from xctx import BatchExecutor


class Value:
    pass


def test_values_in_the_buffer_are_released_with_it():
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


def test_a_value_that_was_handed_out_is_kept_by_its_caller_alone():
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
