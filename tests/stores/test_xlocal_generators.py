"""What a generator binds is seen only by what it runs, in the context in which it binds; copies of that keep it."""

import asyncio
import contextlib
import contextvars
import gc
import signal
import sys
import threading
import types
import weakref

import pytest
from helpers.units import in_thread

import xctx

pytestmark = pytest.mark.sampled


@pytest.fixture(params=["scope", "snapshot", "snapshot of all", "by hand", "stack", "snapshot by hand"])
def bound(request, x):
    """Makes a context manager that binds `a`, in each of the ways that there are."""

    def make(value):
        opener = x(a=value)
        if "snapshot" in request.param:
            with opener:
                opener = xctx.capture() if request.param.endswith("all") else xctx.capture(x)
        if "hand" in request.param or request.param == "stack":
            return Stack(opener, request.param == "stack")
        return opener

    return make


class Stack:
    """As an ExitStack does, or hooks that somebody calls by hand. It is used in the generator's own frame."""

    def __init__(self, opener, stack):
        self.opener, self.stack = opener, stack


@contextlib.contextmanager
def nothing():
    yield


def steps(opened, read, times=3):
    """A generator that binds and reads in each of its steps."""
    if isinstance(opened, Stack) and opened.stack:
        with contextlib.ExitStack() as stack:
            stack.enter_context(opened.opener)
            for _ in range(times):
                yield read()
    elif isinstance(opened, Stack):
        opened.opener.__enter__()
        try:
            for _ in range(times):
                yield read()
        finally:
            opened.opener.__exit__(None, None, None)
    else:
        with opened:
            for _ in range(times):
                yield read()


async def async_steps(opened, read, times=3):
    if isinstance(opened, Stack) and opened.stack:
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(opened.opener)
            for _ in range(times):
                await asyncio.sleep(0)
                yield read()
    elif isinstance(opened, Stack):
        opened.opener.__enter__()
        try:
            for _ in range(times):
                await asyncio.sleep(0)
                yield read()
        finally:
            opened.opener.__exit__(None, None, None)
    else:
        with opened:
            for _ in range(times):
                await asyncio.sleep(0)
                yield read()


def reader(x):
    return lambda: getattr(x, "a", None)


def sees_nothing(x):
    assert not hasattr(x, "a")
    assert vars(x) == {}
    assert "a" not in dir(x)
    assert xctx.capture(x).run(lambda: dict(vars(x))) == {}
    assert xctx.capture().run(lambda: dict(vars(x))) == {}
    return True


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


# --- shadowing --------------------------------------------------------------------------------------------------------


def test_it_counts_for_more_than_what_the_consumer_binds_meanwhile(x, bound):
    generator = steps(bound("inner"), reader(x))
    assert next(generator) == "inner"
    with x(a="loop", b=2):
        assert x.a == "loop"
        assert next(generator) == "inner"
        assert vars(x) == {"a": "loop", "b": 2}
        assert x.a == "loop"
        assert contextvars.copy_context().run(lambda: x.b) == 2
        with x(b=3):
            assert next(generator) == "inner"
            assert vars(x) == {"a": "loop", "b": 3}
        assert vars(x) == {"a": "loop", "b": 2}
    assert sees_nothing(x)
    assert next(generator, None) is None
    assert sees_nothing(x)


def test_blocks_of_the_consumer_at_each_step(x):
    def generate():
        with x(a="inner", b="inner"):
            for number in range(3):
                with x(b=number):
                    yield dict(vars(x))
                    yield x.b

    steps = generate()
    for number in range(3):
        with x(a=number, c=1):
            assert next(steps) == {"a": "inner", "b": number, "c": 1}
            assert vars(x) == {"a": number, "c": 1}
        with x(b="loop"):
            assert vars(x) == {"b": "loop"}
            assert next(steps) == number
            assert vars(x) == {"b": "loop"}
    steps.close()
    assert sees_nothing(x)


def test_what_the_generator_calls_counts_for_more_still(x):
    def call():
        with x(a="called"):
            return x.a

    def generate():
        with x(a="inner"):
            while True:
                yield call(), x.a

    generator = generate()
    assert next(generator) == ("called", "inner")
    with x(a="loop"):
        assert next(generator) == ("called", "inner")
        assert x.a == "loop"


def test_a_snapshot_of_the_consumer_does_not_hide_it(x):
    def generate():
        with x(a="inner"):
            while True:
                yield dict(vars(x))

    generator = generate()
    with x(b=1):
        assert next(generator) == {"a": "inner", "b": 1}
    snapshot = xctx.capture()
    with x(b=2), snapshot:
        assert sees_nothing(x)
        assert next(generator) == {"a": "inner"}
        assert sees_nothing(x)


def test_two_generators_in_turn(x):
    def generate(name):
        with x(a=name, **{name: 1}):
            while True:
                yield dict(vars(x))

    one, two = generate("one"), generate("two")
    for _ in range(3):
        assert next(one) == {"a": "one", "one": 1}
        assert next(two) == {"a": "two", "two": 1}
        assert sees_nothing(x)
        with x(b=1):
            assert next(one) == {"a": "one", "one": 1, "b": 1}
            assert next(two) == {"a": "two", "two": 1, "b": 1}
            assert vars(x) == {"b": 1}
    one.close()
    assert next(two) == {"a": "two", "two": 1}


@pytest.mark.parametrize("driver", ["for", "from"])
def test_a_generator_within_one(x, driver):
    def inner():
        with x(a="inner"):
            for _ in range(2):
                yield x.a, x.b

    def outer():
        with x(a="outer", b=1):
            if driver == "from":
                yield from inner()
            else:
                for seen in inner():
                    assert x.a == "outer"
                    yield seen
            yield x.a, x.b

    generator = outer()
    for seen in [("inner", 1), ("inner", 1), ("outer", 1)]:
        with x(a="loop"):
            assert next(generator) == seen
            assert vars(x) == {"a": "loop"}
        assert sees_nothing(x)
    generator.close()
    assert sees_nothing(x)


def test_recursion(x):
    def generate(depth):
        with x(depth=depth):
            assert x.depth == depth
            yield x.depth
            if depth:
                for seen in generate(depth - 1):
                    assert x.depth == depth
                    yield seen
            assert x.depth == depth
            yield x.depth

    seen = []
    for depth in generate(10):
        assert sees_nothing(x)
        seen.append(depth)
    assert seen == [*range(10, -1, -1), *range(11)]


def test_a_generator_that_is_begun_and_then_delegated_to(x):
    def inner():
        with x(a=1):
            yield
            with x(a=2):
                yield x.a
            yield x.a

    def outer():
        generator = inner()
        next(generator)
        assert sees_nothing(x)
        yield from generator

    assert list(outer()) == [2, 1]
    assert sees_nothing(x)


def test_a_part_of_it_that_binds_by_hand(x):
    def part(stack):
        stack.enter_context(x(a=1))
        yield x.a

    def whole():
        with contextlib.ExitStack() as stack:
            yield from part(stack)
            yield x.a
        yield getattr(x, "a", None)

    generator = whole()
    for seen in (1, 1, None):
        assert next(generator) == seen
        assert sees_nothing(x)


@pytest.mark.parametrize("end", ["close", "throw", "drop"])
def test_what_it_delegates_to_sees_it_at_its_end(x, bound, end):
    """CPython does not put the outer generator on the stack then."""
    seen = []

    def inner():
        try:
            yield x.a
        finally:
            seen.append(getattr(x, "a", None))

    def outer(opened):
        if isinstance(opened, Stack):
            with contextlib.ExitStack() as stack:
                stack.enter_context(opened.opener)
                yield from inner()
        else:
            with opened:
                yield from inner()

    opened = bound("outer")
    generator = outer(opened)
    assert next(generator) == "outer"
    assert sees_nothing(x)
    if end == "drop" and isinstance(opened, Stack):
        return  # it cannot be told apart from a binding that was made by hand and never left
    if end == "throw":
        with pytest.raises(KeyError):
            generator.throw(KeyError())
    elif end == "close":
        generator.close()
    del generator
    gc.collect()
    assert seen == ["outer"]
    assert sees_nothing(x)


def test_an_iterator_that_is_no_generator_in_the_middle(x):
    seen = []

    class Iterator:
        def __init__(self, inner):
            self.inner = inner

        def __iter__(self):
            return self

        def __next__(self):
            return next(self.inner)

        def throw(self, *exc):
            return self.inner.throw(*exc)

        def close(self):
            self.inner.close()

    def inner():
        try:
            yield x.a
        finally:
            seen.append(x.a)

    def outer():
        with x(a=1):
            yield from Iterator(inner())

    for end in ("close", "throw"):
        generator = outer()
        assert next(generator) == 1
        with contextlib.suppress(KeyError):
            generator.close() if end == "close" else generator.throw(KeyError())
    assert seen == [1, 1]
    assert sees_nothing(x)


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


# --- who drives it ----------------------------------------------------------------------------------------------------


def test_managers_bind_for_their_caller(x):
    @contextlib.contextmanager
    def inner(name):
        with x(**{name: 1}):
            yield

    @contextlib.contextmanager
    def outer():
        with x(a=1), inner("b"), contextlib.ExitStack() as stack:
            stack.enter_context(inner("c"))
            stack.enter_context(x(d=1))
            assert vars(x) == {"a": 1, "b": 1, "c": 1, "d": 1}
            yield

    with outer():
        assert vars(x) == {"a": 1, "b": 1, "c": 1, "d": 1}
    assert sees_nothing(x)

    @outer()
    def decorated():
        return dict(vars(x))

    assert decorated() == {"a": 1, "b": 1, "c": 1, "d": 1}
    assert sees_nothing(x)


def test_a_manager_that_delegates(x):
    def binds(name):
        with x(**{name: 1}):
            yield

    @contextlib.contextmanager
    def delegates():
        yield from binds("a")

    @contextlib.contextmanager
    def iterates():
        for each in binds("a"):
            assert sees_nothing(x)
            yield each

    with delegates():
        assert vars(x) == {"a": 1}
    with iterates():
        assert sees_nothing(x)
    assert sees_nothing(x)


def test_a_manager_in_a_generator(x):
    """What it binds is its caller's, and that is a generator: nothing tells so, as with a context variable."""

    @contextlib.contextmanager
    def manager():
        with x(a=1):
            yield

    def generate():
        with manager():
            yield x.a

    generator = generate()
    assert next(generator) == 1
    generator.close()
    assert sees_nothing(x)


def test_transparent(x):
    @xctx.transparent
    def binds(name="a"):
        with x(**{name: 1}):
            yield
            yield x.a

    def delegates():
        yield from binds()

    class Methods:
        @xctx.transparent
        def plain(self):
            yield from binds()

        @xctx.transparent
        @staticmethod
        def static():
            with x(a=1):
                yield

        @classmethod
        @xctx.transparent
        def of_class(cls):
            with x(a=1):
                yield

    for generator in (binds(), delegates(), Methods().plain(), Methods.static(), Methods.of_class()):
        next(generator)
        assert vars(x) == {"a": 1}
        generator.close()
        assert sees_nothing(x)
    assert xctx.transparent(binds) is binds
    assert not hasattr(binds, "__wrapped__")


def test_transparent_async_generators(x):
    @xctx.transparent
    async def binds():
        await asyncio.sleep(0)
        with x(a=1):
            yield

    async def main():
        generator = binds()
        await anext(generator)
        seen = dict(vars(x))
        await generator.aclose()
        return seen, dict(vars(x))

    assert asyncio.run(main()) == ({"a": 1}, {})


@pytest.mark.parametrize(
    "thing", [len, 3, lambda: 1, contextlib.contextmanager(steps), types.coroutine(lambda: (yield))]
)
def test_transparent_marks_generator_functions_alone(thing):
    with pytest.raises(TypeError, match="generator function"):
        xctx.transparent(thing)


def test_a_decorated_generator_that_binds(x):
    @x(a="decorated")
    def generate():
        yield x.a
        with x(a="inner"):
            yield x.a
            yield x.a
        yield x.a

    assert list(generate()) == ["decorated", "inner", "inner", "decorated"]
    assert sees_nothing(x)


# --- async generators -------------------------------------------------------------------------------------------------


def test_an_async_generators_consumer_does_not_see_it(x, bound):
    async def main():
        seen = []
        async for each in async_steps(bound("inner"), reader(x)):
            seen.append(each)
            assert sees_nothing(x)
            with x(a="loop"):
                await asyncio.sleep(0)
                assert x.a == "loop"
        assert sees_nothing(x)
        return seen

    assert asyncio.run(main()) == ["inner"] * 3


def test_an_async_generator_left_by_break(x, bound):
    async def main():
        async for _ in async_steps(bound("inner"), reader(x)):
            break
        assert sees_nothing(x)
        for _ in range(5):
            gc.collect()
            await asyncio.sleep(0)
            assert sees_nothing(x)

    asyncio.run(main())


def test_an_async_generator_that_is_kept(x, bound):
    async def main():
        kept = async_steps(bound("inner"), reader(x))
        assert await anext(kept) == "inner"
        assert sees_nothing(x)
        with x(a="loop"):
            assert await anext(kept) == "inner"
            assert x.a == "loop"
        return kept

    asyncio.run(main())


def test_a_step_that_is_dropped_in_the_middle_of_an_await(x):
    @types.coroutine
    def pause():
        yield

    async def generate():
        with x(a="inner"):
            await pause()
            yield x.a

    generator = generate()
    step = generator.asend(None)
    step.send(None)
    assert sees_nothing(x)
    del step
    assert sees_nothing(x)
    with contextlib.suppress(RuntimeError, StopIteration):
        generator.aclose().send(None)
    assert sees_nothing(x)


def test_a_decorated_async_generators_step_that_is_dropped(x):
    @types.coroutine
    def pause():
        yield

    @x(a="decorated")
    async def generate():
        await pause()
        yield x.a

    step = generate().asend(None)
    step.send(None)
    assert sees_nothing(x)


def test_async_generators_within_each_other_that_are_cancelled(x):
    seen = []

    async def inner(started):
        try:
            with x(b=2):
                started.set()
                await asyncio.sleep(60)
                yield
        finally:
            seen.append(dict(vars(x)))

    async def outer(started):
        with x(a=1):
            async for _ in inner(started):
                yield

    async def work(started):
        async for _ in outer(started):
            pass

    async def main():
        started = asyncio.Event()
        task = asyncio.create_task(work(started))
        await started.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(main())
    assert seen == [{"a": 1}]


def test_tasks_that_share_a_context(x, key_name):
    async def generate():
        with x(a="inner"):
            await asyncio.sleep(0)
            yield x.a
            await asyncio.sleep(0)
            yield x.a

    async def consume(seen):
        async for each in generate():
            seen.append(each)

    async def look(seen):
        for _ in range(10):
            seen.append(getattr(x, "a", None))
            await asyncio.sleep(0)

    async def main():
        context = contextvars.copy_context()
        one, other = [], []
        loop = asyncio.get_running_loop()
        await asyncio.gather(
            loop.create_task(consume(one), context=context), loop.create_task(look(other), context=context)
        )
        return one, other

    one, other = asyncio.run(main())
    assert one == ["inner"] * 2
    assert other == [None] * 10


def test_tasks_that_a_generator_starts_see_it(x, key_name):
    async def child():
        await asyncio.sleep(0)
        return getattr(x, "a", None)

    async def generate():
        with x(a="inner"):
            yield await asyncio.create_task(child())

    async def main():
        seen = [each async for each in generate()]
        assert sees_nothing(x)
        return seen

    assert asyncio.run(main()) == [None if key_name == "task" else "inner"]


def test_async_managers_bind_for_their_caller(x):
    @contextlib.asynccontextmanager
    async def manager(name):
        await asyncio.sleep(0)
        with x(**{name: 1}):
            await asyncio.sleep(0)
            yield

    @contextlib.asynccontextmanager
    async def outer():
        async with manager("a"), contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(manager("b"))
            stack.enter_context(x(c=1))
            yield

    async def main():
        async with outer():
            await asyncio.sleep(0)
            assert vars(x) == {"a": 1, "b": 1, "c": 1}
        assert sees_nothing(x)

    asyncio.run(main())


def test_a_coroutine_binds_by_hand_for_the_generator_that_awaits_it(x):
    async def part(stack):
        await asyncio.sleep(0)
        stack.enter_context(x(a=1))

    async def whole():
        async with contextlib.AsyncExitStack() as stack:
            await part(stack)
            yield x.a
            await asyncio.sleep(0)
            yield x.a

    async def main():
        seen = []
        async for each in whole():
            seen.append(each)
            assert sees_nothing(x)
        return seen

    assert asyncio.run(main()) == [1, 1]


def test_generators_that_are_coroutines(x):
    @types.coroutine
    def old_style():
        with x(a=1):
            yield
            return x.a

    class Awaited:
        def __await__(self):
            with x(b=1):
                yield
                return x.b

    async def work():
        with x(c=1):
            assert await old_style() == 1
            assert await Awaited() == 1
            await asyncio.sleep(0)
            return dict(vars(x))

    assert asyncio.run(work()) == {"c": 1}


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
