"""What a generator binds hides what others bind meanwhile, and is hidden by what its callees and delegates bind."""

import contextlib
import contextvars
import gc

import pytest
from stepping import Stack, reader, sees_nothing, steps

import xctx

pytestmark = pytest.mark.sampled


def test_it_hides_what_the_consumer_binds_meanwhile(x, bound):
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


def test_what_the_generator_calls_hides_it_in_turn(x):
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
