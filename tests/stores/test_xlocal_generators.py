"""What a generator binds is seen only by what it runs, in the context in which it binds; copies of that keep it."""

import contextlib
import contextvars
import gc
import signal
import sys
import threading
import weakref

import pytest
from helpers.units import in_thread
from stepping import Stack, nothing, reader, sees_nothing, steps

import xctx

pytestmark = pytest.mark.sampled


# --- who sees it ------------------------------------------------------------------------------------------------------


def test_its_consumer_does_not_see_it(x, bound):
    generator = steps(bound("inner"), reader(x))
    for _ in range(3):
        assert next(generator) == "inner"
        assert sees_nothing(x)
    assert next(generator, "over") == "over"
    assert sees_nothing(x)


def test_its_consumer_sees_what_it_saw_before(x, bound):
    with x(a="outer", b=1):
        generator = steps(bound("inner"), reader(x))
        for _ in range(2):
            assert next(generator) == "inner"
            assert vars(x) == {"a": "outer", "b": 1}
        generator.close()
        assert vars(x) == {"a": "outer", "b": 1}
    assert sees_nothing(x)


def test_what_it_calls_sees_it(x):
    def call(depth):
        return call(depth - 1) if depth else (x.a, dict(vars(x)), "a" in dir(x), xctx.capture(x).run(lambda: x.a))

    def generate():
        with x(a=1):
            while True:
                yield call(5)

    generator = generate()
    for _ in range(2):
        assert next(generator) == (1, {"a": 1}, True, 1)
        assert sees_nothing(x)


@pytest.mark.parametrize("end", ["close", "drop", "throw", "finish", "send"])
def test_however_it_ends(x, bound, end):
    generator = steps(bound("inner"), reader(x), 1)
    assert next(generator) == "inner"
    assert sees_nothing(x)
    if end == "close":
        generator.close()
    elif end == "throw":
        with pytest.raises(KeyError):
            generator.throw(KeyError())
    elif end == "finish":
        assert next(generator, None) is None
    elif end == "send":
        with pytest.raises(StopIteration):
            generator.send(1)
    del generator
    gc.collect()
    assert sees_nothing(x)


def test_abandoned_it_is_not_seen_either(x, bound):
    kept = []
    for number in range(20):
        generator = steps(bound(number), reader(x))
        assert next(generator) == number
        kept.append(generator)
        assert sees_nothing(x)
    for number, generator in enumerate(kept):
        assert next(generator) == number
        assert sees_nothing(x)


def test_one_that_ignores_its_end(x):
    def generate():
        with x(a="inner"):
            try:
                yield
            except GeneratorExit:
                yield
            yield x.a

    for _ in range(5):  # the address of the last one may come back
        generator = generate()
        next(generator)
        with pytest.raises(RuntimeError, match="ignored"):
            generator.close()
        assert sees_nothing(x)
    gc.collect()
    assert sees_nothing(x)
    other = steps(nothing(), reader(x))
    assert next(other) is None


@pytest.mark.parametrize("end", ["drop", "close", "throw", "collect"])
def test_in_finally_it_is_seen(x, bound, end):
    seen = []

    def generate(opened):
        with contextlib.ExitStack() as stack, nothing() if isinstance(opened, Stack) else opened:
            if isinstance(opened, Stack):
                stack.enter_context(opened.opener)
            try:
                yield x.a
            finally:
                seen.append(getattr(x, "a", None))

    generator = generate(bound("inner"))
    assert next(generator) == "inner"
    if end == "close":
        generator.close()
    elif end == "throw":
        with pytest.raises(KeyError):
            generator.throw(KeyError())
    elif end == "collect":
        cycle = [generator]
        cycle.append(cycle)
        del cycle
    del generator
    gc.collect()
    assert seen == ["inner"]
    assert sees_nothing(x)


def test_its_value_is_released(x, bound):
    class Value:
        pass

    value = Value()
    dead = weakref.ref(value)
    generator = steps(bound(value), reader(x))
    assert next(generator) is value
    del value
    assert sees_nothing(x)
    generator.close()
    del generator
    gc.collect()
    assert dead() is None


# --- contexts ---------------------------------------------------------------------------------------------------------


def test_copies_of_the_context_keep_it(x, bound, key_name):
    def generate(opened):
        generator = steps(opened, contextvars.copy_context, 1)
        copied = next(generator)
        return generator, copied

    generator, copied = generate(bound("inner"))
    between = contextvars.copy_context()
    assert sees_nothing(x)
    for context in (copied, between):
        assert context.run(reader(x)) == "inner"
        assert context.run(lambda: contextvars.copy_context().run(reader(x))) == "inner"
        assert context.run(lambda: xctx.capture(x)).run(reader(x)) == "inner"
    generator.close()
    assert sees_nothing(x)
    for context in (copied, between):
        assert context.run(reader(x)) == "inner"


def test_blocks_in_a_copied_context(x):
    def generate():
        with x(a="inner"):
            yield contextvars.copy_context()

    copied = next(generate())

    def use():
        for _ in range(3):
            with x(b=1):
                assert vars(x) == {"a": "inner", "b": 1}
                generator = generate()
                with x(a="outer"):
                    next(generator)
                    assert vars(x) == {"a": "outer", "b": 1}
            assert vars(x) == {"a": "inner"}
            generator.close()
            assert vars(x) == {"a": "inner"}

    copied.run(use)


def test_a_step_in_another_context(x):
    def generate():
        with x(a="inner"):
            while True:
                yield getattr(x, "a", None)

    generator = generate()
    assert next(generator) == "inner"
    assert contextvars.Context().run(next, generator) is None
    assert contextvars.copy_context().run(next, generator) == "inner"
    assert sees_nothing(x)


def test_a_copied_context_in_a_step(x):
    def generate():
        with x(a="inner"):
            while True:
                yield contextvars.copy_context().run(reader(x))

    generator = generate()
    assert next(generator) == "inner"
    with x(a="loop"):
        assert next(generator) == "inner"


# --- other units, and what interrupts ---------------------------------------------------------------------------------


def test_a_generator_that_another_thread_runs(x):
    going, go_on = threading.Event(), threading.Event()

    def generate():
        with x(a="inner"):
            yield
            going.set()
            go_on.wait(60)
            yield

    generator = generate()
    next(generator)
    thread = threading.Thread(target=next, args=(generator,))
    thread.start()
    assert going.wait(60)
    try:
        assert sees_nothing(x)
        with x(b=1):
            assert vars(x) == {"b": 1}
    finally:
        go_on.set()
        thread.join()
    assert sees_nothing(x)


def test_a_greenlet_that_is_switched_out_in_the_middle_of_a_step(x, key_name):
    greenlet = pytest.importorskip("greenlet")
    contextvars.copy_context()
    seen = []

    def generate():
        with x(a="inner"):
            greenlet.getcurrent().parent.switch()
            yield x.a

    def work():
        seen.append(next(generate()))

    made = greenlet.greenlet(work)
    made.gr_context = greenlet.getcurrent().gr_context
    made.switch()
    assert sees_nothing(x)
    made.switch()
    assert seen == ["inner"]
    assert sees_nothing(x)


def test_a_greenlet_that_does_a_part_of_the_step(x, key_name):
    """As for SQLAlchemy's asyncio: it shares the context, and the generator waits for it."""
    greenlet = pytest.importorskip("greenlet")

    def generate():
        with x(a="inner"):
            while True:
                made = greenlet.greenlet(lambda: getattr(x, "a", None))
                made.gr_context = greenlet.getcurrent().gr_context
                yield made.switch()

    def consume():
        generator = generate()
        seen = next(generator)
        made = greenlet.greenlet(lambda: sees_nothing(x))
        made.gr_context = greenlet.getcurrent().gr_context
        assert made.switch()
        with x(a="loop"):
            assert next(generator) == seen
        return seen

    seen = contextvars.copy_context().run(consume)
    assert seen == (None if key_name in ("greenlet", "task", "work") else "inner")


def test_gevent_greenlets(x):
    gevent = pytest.importorskip("gevent")

    def generate(number):
        with x(a=number):
            for _ in range(3):
                gevent.sleep(0)
                yield x.a

    def work(number):
        for seen in generate(number):
            assert seen == number
            assert sees_nothing(x)
            with x(a="loop"):
                gevent.sleep(0)
                assert x.a == "loop"
        return sees_nothing(x)

    made = [gevent.spawn(work, number) for number in range(4)]
    gevent.joinall(made, raise_error=True)


@pytest.mark.skipif(not hasattr(signal, "raise_signal"), reason="there are no signals")
def test_a_signal_handler(x):
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append(getattr(x, "a", None)))

    def generate():
        with x(a="inner"):
            while True:
                signal.raise_signal(signal.SIGUSR1)
                yield

    try:
        generator = generate()
        next(generator)
        signal.raise_signal(signal.SIGUSR1)
        next(generator)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == ["inner", None, "inner"]


def test_a_finaliser_between_the_steps(x):
    seen = []

    class Thing:
        def __del__(self):
            seen.append(getattr(x, "a", None))

    def generate():
        with x(a="inner"):
            Thing()
            yield
            thing = Thing()
            yield thing

    generator = generate()
    next(generator)
    Thing()
    del generator
    assert seen == ["inner", None]


def test_generator_expressions(x):
    read = x(a="called")(reader(x))
    generator = (read() for _ in range(2))
    assert next(generator) == "called"
    assert sees_nothing(x)
    scope = x(a="inner")
    generator = ((scope.__enter__().a if number == 0 else scope.__exit__(None, None, None)) for number in range(2))
    assert next(generator) == "inner"
    assert sees_nothing(x)
    assert next(generator) is False
    assert sees_nothing(x)


def test_a_tracing_function_sees_what_is_traced(x):
    seen = set()

    def trace(frame, event, arg):
        if frame.f_code.co_name == "generate":
            seen.add((event, getattr(x, "a", None)))
        return trace

    def generate():
        with x(a="inner"):
            yield

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        next(generate())
    finally:
        sys.settrace(before)
    assert ("call", None) in seen
    assert ("line", "inner") in seen
    assert sees_nothing(x)


def test_exits_by_hand_of_one_scope_in_generators(x):
    """Each leaves its own block."""
    scope = x(a=1)

    def generate():
        scope.__enter__()
        yield
        scope.__exit__(None, None, None)
        yield getattr(x, "a", None)

    one, two = generate(), generate()
    next(one)
    next(two)
    with x(a="outer"):
        scope.__enter__()
        assert x.a == 1
        assert next(one) == "outer" or True
        assert x.a == 1
        scope.__exit__(None, None, None)
        assert x.a == "outer"
    assert next(two) is None
    assert sees_nothing(x)


def test_many_blocks_in_a_generators_step(x):
    """What a block costs does not grow with how many are open."""

    def generate():
        with x(a=0), contextlib.ExitStack() as stack:
            for number in range(3000):
                stack.enter_context(x(a=number))
                assert x.a == number
            yield x.a

    generator = generate()
    assert next(generator) == 2999
    assert sees_nothing(x)
    generator.close()
    assert sees_nothing(x)


def test_a_unit_that_has_no_context_yet(x, bound):
    def run():
        generator = steps(bound("inner"), reader(x))
        assert next(generator) == "inner"
        return sees_nothing(x)

    assert in_thread(run)
