"""The law of the batch, searched for a counterexample: whatever the source does, a batch hands out once."""

import contextlib
import itertools

import pytest
from batch_checker import Made, in_threads, law
from helpers.effort import examples

from xctx import BatchExecutor

hypothesis = pytest.importorskip("hypothesis", reason="the search needs hypothesis")
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies

# One call of the source: it makes a value, raises, or loads from inside first.
calls = st.sampled_from(["value", "value", "value", "raise", "inner", "interrupt"])
# One step of the consumer.
steps = st.sampled_from(["load", "load", "local", "next", "hint", "no wait"])


class Interrupt(BaseException):
    pass


class Source:
    def __init__(self, script):
        self.script = itertools.chain(script, itertools.repeat("value"))
        self.numbers = itertools.count()
        self.made = []
        self.inner = []
        self.raised = 0
        self.executor = None

    def __call__(self):
        kind = next(self.script)
        if kind == "raise":
            self.raised += 1
            raise Made
        if kind == "interrupt":
            raise Interrupt
        if kind == "inner":
            # Depth-first, as calls are; what the inner call raises is raised by this call of the source as well.
            self.inner.append(self.executor.load())
        number = next(self.numbers)
        self.made.append(number)
        return number

    def batch(self, count):
        return [self() for _ in range(count)]


@settings(max_examples=examples(300))
@given(st.integers(1, 9), st.lists(calls, max_size=40), st.lists(steps, max_size=40), st.booleans())
def test_one_consumer(size, script, consumer, batches):
    # A source that raises in the middle of making a list has made no value that could be handed out.
    source = Source([kind for kind in script if kind in {"value", "inner"}] if batches else script)
    make = BatchExecutor.from_batches if batches else BatchExecutor
    executor = source.executor = make(source.batch if batches else source, size)
    local, got, raised = executor.as_local(), [], 0
    for step in consumer:
        before = len(got) + len(source.inner)
        try:
            if step == "hint":
                held = executor.__length_hint__()
                assert held == len(source.made) - before
            elif step == "no wait":
                got.append(executor.load(block=False))
            elif step == "next":
                got.append(next(local))
            else:
                got.append((local if step == "local" else executor).load())
        except Made:
            raised += 1
        except Interrupt:
            pass
    left = executor.close()
    assert law(source.made, got + source.inner, left) == ""
    assert executor.stats.loads == len(got) + len(source.inner)
    if not source.inner:
        assert got == sorted(got)
        assert left == sorted(left)
    source.executor = None


@settings(max_examples=examples(40))
@given(st.integers(1, 20), st.lists(calls, max_size=60), st.lists(st.integers(0, 40), min_size=1, max_size=4))
def test_many_consumers(size, script, loads):
    source = Source(script)
    executor = source.executor = BatchExecutor(source, size)
    got = []

    def work(index):
        for _ in range(loads[index]):
            with contextlib.suppress(Made, Interrupt):
                got.append(executor.load())

    in_threads(len(loads), work)
    assert law(source.made, got + source.inner, executor.close()) == ""
    source.executor = None
