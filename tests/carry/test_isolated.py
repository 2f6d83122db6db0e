"""Generators whose bindings no other code sees or disturbs while they are suspended."""

import contextvars
import gc
import inspect
import types
import weakref

import pytest
from helpers.packages import FREE_THREADED

import xctx


async def work():
    pass


async def steps():
    yield


def generator():
    yield


@types.coroutine
def awaitable():
    return (yield)


@pytest.mark.parametrize("func", [work, steps, generator, awaitable, len], ids=lambda func: func.__name__)
def test_a_function_stays_of_its_kind(keep, func):
    kept = keep(func)
    for kind in (inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction):
        assert kind(kept) == kind(func)
    assert kept.__name__ == func.__name__
    assert kept.__wrapped__ is func


def test_a_plain_function(keep, x):
    var = contextvars.ContextVar("var")

    def bind(*args, **kwargs):
        x(a=1).__enter__()
        return vars(x), args, kwargs

    assert keep(bind)(1, b=2) == ({"a": 1}, (1,), {"b": 2}) if keep is xctx.isolated else True
    if keep is xctx.isolated:
        assert vars(x) == {}
        assert keep(lambda: var.set(1)) and var.get(None) is None


def test_what_a_generator_binds_stays_with_it(keep, x):
    var = contextvars.ContextVar("var", default=0)

    @keep
    def work():
        seen = []
        with x(a=1):
            var.set(1)
            seen.append((yield vars(x)))
            with x(b=2):
                seen.append((yield vars(x)))
                seen.append(var.get())
            yield vars(x)
        yield vars(x)
        return seen

    each = work()
    assert (next(each), vars(x), var.get()) == ({"a": 1}, {}, 0)
    with x(mine=3):
        assert (each.send("sent"), vars(x)) == ({"a": 1, "b": 2}, {"mine": 3})
        var.set(5)
    assert (each.send("again"), vars(x)) == ({"a": 1}, {})
    assert (next(each), vars(x)) == ({}, {})
    with pytest.raises(StopIteration) as stop:
        next(each)
    assert stop.value.value == ["sent", "again", 1]
    var.set(0)


def test_a_generator_sees_what_was_bound_at_its_first_step(x):
    @xctx.isolated
    def work():
        yield vars(x)
        yield vars(x)

    with x(a=1):
        each = work()
    with x(a=2):
        assert next(each) == {"a": 2}
    with x(a=3):
        assert next(each) == {"a": 2}


def test_throwing_into_a_generator(keep, x):
    @keep
    def work():
        with x(a=1):
            try:
                yield 1
            except ValueError as exc:
                yield str(exc), vars(x)
        raise KeyError("mine")

    each = work()
    next(each)
    assert each.throw(ValueError("thrown")) == ("thrown", {"a": 1})
    assert vars(x) == {}
    with pytest.raises(KeyError, match="mine"):
        next(each)
    with pytest.raises(StopIteration):
        next(each)


def test_closing_a_generator(keep, x):
    seen = []

    @keep
    def work():
        with x(a=1):
            try:
                yield
            finally:
                seen.append(vars(x))

    each = work()
    next(each)
    each.close()
    assert (seen, vars(x)) == ([{"a": 1}], {})
    work().close()  # never begun
    assert seen == [{"a": 1}]

    @keep
    def stubborn():
        try:
            yield
        except GeneratorExit:
            yield

    each = stubborn()
    next(each)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        each.close()


def test_yield_from_an_isolated_generator_and_in_one(keep, x):
    @keep
    def inner():
        with x(a=1):
            got = yield vars(x)
            return got, vars(x)

    @keep
    def outer():
        with x(b=2):
            result = yield from inner()
            yield result, vars(x)

    with x(c=3):
        each = outer()
        base = {} if keep is xctx.carry else {"c": 3}
        deeper = base if keep is xctx.carry else {"b": 2, **base}
        assert next(each) == {"a": 1, **deeper}
        assert vars(x) == {"c": 3}
        assert each.send("got") == (("got", {"a": 1, **deeper}), {"b": 2, **base})


def test_an_early_break_and_the_end_of_a_dropped_generator(keep, x, thing, no_collector):
    seen = []

    @keep
    def work(value):
        with x(a=value):
            try:
                yield 1
                yield 2
            finally:
                seen.append("a" in vars(x))

    value = thing()
    ref = weakref.ref(value)
    for _ in work(value):
        break
    del value
    assert vars(x) == {}
    assert seen == [True]
    assert ref() is None


def test_one_that_the_garbage_collector_ends(keep, x, thing):
    seen = []
    gc.collect()

    @keep
    def work(cycle):
        with x(a=cycle):
            try:
                yield 1
            finally:
                seen.append(sorted(vars(x)))  # only the names, because a value would keep the cycle alive

    cycle = [thing()]
    ref = weakref.ref(cycle[0])
    cycle.append(work(cycle))
    next(cycle[1])
    with x(mine=1):
        del cycle
        gc.collect()
        assert vars(x) == {"mine": 1}
    # Without the GIL the collector ends the objects of a cycle in any order. If it begins with the inner generator,
    # that runs in the context of the unit that collects.
    assert seen == [["a"]] or (FREE_THREADED and seen == [["mine"]])
    assert ref() is None


def test_resumed_in_another_unit_it_sees_what_it_saw(keep, x, unit_kind, other_unit, key_name):
    if unit_kind.name == "fork":
        pytest.skip("what a generator does in a child is the child's")

    def resume():
        inside = next(each)
        return inside, vars(x)

    @keep
    def work():
        with x(a=1):
            yield vars(x)
            with x(b=2):
                yield vars(x)
            yield vars(x)
        yield vars(x)

    each = work()
    assert next(each) == {"a": 1}
    if key_name == "callable":
        return  # what is bound for a value is seen where the value is the same
    assert other_unit(resume) == ({"a": 1, "b": 2}, {})
    assert resume() == ({"a": 1}, {})
    assert other_unit(resume) == ({}, {})


def test_a_step_that_lets_other_greenlets_run(keep, x, gevent, key_name):
    @keep
    def work(number):
        for _ in range(3):
            with x(a=number):
                gevent.sleep(0)
                yield vars(x)
                gevent.sleep(0)

    def drive(number):
        with x(mine=number):
            seen = []
            for each in work(number):
                seen.append((each, vars(x)))
            return seen

    greenlets = [gevent.spawn(drive, number) for number in range(3)]
    for number, greenlet in enumerate(greenlets):
        inside = {"a": number} if keep is xctx.carry else {"mine": number, "a": number}
        assert greenlet.get() == [(inside, {"mine": number})] * 3


def test_in_a_forked_child_it_goes_on(x, in_fork, key_name):
    @xctx.isolated
    def work():
        with x(a=1):
            yield 1
            yield vars(x)
        yield vars(x)

    each = work()
    next(each)
    # Only what is bound under `context` survives a fork.
    assert in_fork(lambda: (next(each), next(each), vars(x))) == ({"a": 1} if key_name == "context" else {}, {}, {})
    assert next(each) == {"a": 1}


# Coroutines
