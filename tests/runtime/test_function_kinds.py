"""Every kind of callable, decorated in every way, behaves as the plain one does."""

import asyncio
import contextvars
import functools
import gc
import inspect
import itertools
import pickle
import sys
import types
import weakref

import pytest

import xctx
from xctx._runtime.functions import ASYNC_GENERATOR, COROUTINE, GENERATOR, ITERABLE_COROUTINE, PLAIN, kind_of

pytestmark = pytest.mark.sampled

current = xctx.xlocal()

with current(user=1):
    SNAPSHOT = xctx.capture(current)


def carry(func):
    with current(user=1):
        return xctx.carry(func)


def scoped_and_isolated(func):
    return current(user=1)(xctx.isolated(func))


# What binds `user` for the function, and what leaves it as it is.
DECORATORS = {
    "scope": (current(user=1), 1),
    "carry": (carry, 1),
    "snapshot": (SNAPSHOT, 1),
    "isolated": (xctx.isolated, None),
    "both": (scoped_and_isolated, 1),
    "twice": (lambda func: xctx.isolated(current(user=1)(func)), 1),
}
# A scope is entered until what it awaits is done, as a block in an async function is.
AS_A_BLOCK = [DECORATORS["scope"][0], DECORATORS["both"][0]]


@pytest.fixture(params=DECORATORS)
def decorator(request):
    """A decorator, and what a decorated function sees as `user`."""
    return DECORATORS[request.param]


# --- functions of each kind -------------------------------------------------------------------------------------------

# Each does what the caller says: `act` is called with what is sent in, and returns what is yielded.


def plain(act):
    return act(None)


def generator(act):
    got = None
    while True:
        given = act(got)
        try:
            got = yield given
        except BaseException as exc:
            got = exc


@types.coroutine
def iterable_coroutine(act):
    return (yield from generator(act))


@types.coroutine
def suspend(value):
    return (yield value)


async def coroutine(act):
    got = None
    while True:
        given = act(got)
        try:
            got = await suspend(given)
        except BaseException as exc:
            got = exc


async def async_generator(act):
    got = None
    while True:
        given = act(got)
        try:
            got = yield given
        except BaseException as exc:
            got = exc


async def suspending_async_generator(act):
    got = None
    while True:
        try:
            await suspend("suspended")
        except ValueError as exc:
            got = exc
        given = act(got)
        try:
            got = yield given
        except BaseException as exc:
            got = exc


KINDS = {
    plain: PLAIN,
    generator: GENERATOR,
    iterable_coroutine: ITERABLE_COROUTINE,
    coroutine: COROUTINE,
    async_generator: ASYNC_GENERATOR,
    suspending_async_generator: ASYNC_GENERATOR,
}


def own(func):
    """A function of the same kind that takes `self` first."""

    def as_method(self, act):
        return func(act)

    def as_generator(self, act):
        return (yield from func(act))

    @types.coroutine
    def as_iterable_coroutine(self, act):
        return (yield from func(act))

    async def as_coroutine(self, act):
        return await func(act)

    async def as_async_generator(self, act):
        inner = func(act)
        step, value = inner.asend, None
        while True:
            try:
                item = await step(value)
            except StopAsyncIteration:
                return
            try:
                step, value = inner.asend, (yield item)
            except BaseException as exc:
                step, value = inner.athrow, exc

    return {
        PLAIN: as_method,
        GENERATOR: as_generator,
        ITERABLE_COROUTINE: as_iterable_coroutine,
        COROUTINE: as_coroutine,
        ASYNC_GENERATOR: as_async_generator,
    }[KINDS[func]]


def callable_object(call):
    return type("Callable", (), {"__call__": call})()


# Ways to make a callable of a function.
SHAPES = {
    "function": lambda func: func,
    "bound method": lambda func: type("Has", (), {"method": own(func)})().method,
    "class method": lambda func: type("Has", (), {"method": classmethod(own(func))}).method,
    "static method": lambda func: type("Has", (), {"method": staticmethod(func)}).method,
    "static method itself": staticmethod,
    "partial": functools.partial,
    "partial of a partial": lambda func: functools.partial(functools.partial(func)),
    "partial of a bound method": lambda func: functools.partial(type("Has", (), {"m": own(func)})().m),
    "partial method": lambda func: type("Has", (), {"method": functools.partialmethod(own(func))})().method,
    "object": lambda func: callable_object(own(func)),
    "object that calls a static method": lambda func: callable_object(staticmethod(func)),
    "object that calls a class method": lambda func: callable_object(classmethod(own(func))),
    "object that calls a partial method": lambda func: callable_object(functools.partialmethod(own(func))),
    "object that calls an object": lambda func: callable_object(callable_object(own(func))),
    "partial of an object": lambda func: functools.partial(callable_object(own(func))),
    "wrapper proxy": xctx.LocalWrapper,
    "proxy": lambda func: xctx.LocalProxy(lambda: func),
    "isolated": xctx.isolated,
    "carried": xctx.capture(),
}


def shaped(shape, func):
    return SHAPES[shape](func)


@pytest.fixture(params=SHAPES)
def shape(request):
    return functools.partial(shaped, request.param)


def asked(func):
    """What the interpreter's own questions about a function answer."""
    return (
        inspect.isgeneratorfunction(func),
        inspect.iscoroutinefunction(func),
        inspect.isasyncgenfunction(func),
    )


@pytest.mark.parametrize("func", KINDS, ids=lambda func: func.__name__)
def test_the_kind_of_each_shape(func, shape):
    assert kind_of(shape(func)) == KINDS[func]


@pytest.mark.parametrize(
    "func", [len, int, type, print, [].append, str.join, functools.lru_cache(plain), object().__eq__]
)
def test_what_has_no_steps_is_plain(func):
    assert kind_of(func) == PLAIN


def test_a_class_is_plain_whatever_its_instances_are():
    class Handler:
        async def __call__(self):
            pass

    assert kind_of(Handler) == PLAIN
    assert kind_of(Handler()) == COROUTINE


def test_a_wrapper_is_what_it_is_itself():
    @functools.wraps(coroutine)
    def run(*args):
        return asyncio.run(coroutine(*args))

    assert kind_of(run) == PLAIN


def test_an_object_that_calls_itself_has_an_answer():
    class Loop:
        pass

    Loop.__call__ = Loop()
    assert kind_of(Loop()) == PLAIN


@pytest.mark.skipif(sys.version_info < (3, 12), reason="inspect.markcoroutinefunction came with 3.12")
@pytest.mark.parametrize(
    "make", [lambda f: f, functools.partial, callable_object], ids=["function", "partial", "object"]
)
def test_a_function_that_was_marked_is_a_coroutine_function(make, decorator):
    decorate, user = decorator

    def marked(*args):
        async def work():
            await asyncio.sleep(0)
            return getattr(current, "user", None)

        return work()

    func = make(marked)
    inspect.markcoroutinefunction(func if make is callable_object else marked)
    assert kind_of(func) == COROUTINE
    decorated = decorate(func)
    assert inspect.iscoroutinefunction(decorated)
    assert asyncio.run(decorated()) == user


def test_a_function_that_asyncio_takes_for_a_coroutine_function():
    from unittest.mock import AsyncMock

    mock = AsyncMock(return_value=5)
    assert kind_of(mock) == COROUTINE
    assert asyncio.run(xctx.isolated(mock)()) == 5


def test_an_awaitable_of_any_kind_is_awaited(decorator):
    """What a function returns that says it is a coroutine function, without being one."""
    decorate, _ = decorator

    class Awaitable:
        def __init__(self, gives):
            self.gives = gives

        def __await__(self):
            return self.gives

    def made_of(give):
        func = callable_object(lambda self: give())
        func.__code__ = coroutine.__code__
        return decorate(func)

    async def main():
        future = asyncio.get_running_loop().create_future()
        future.set_result("future")
        found = [await made_of(lambda: future)()]
        found.append(await made_of(lambda: returning("iterable"))())
        found.append(await made_of(lambda: Awaitable(iter(())))())
        for wrong in (5, Awaitable(5)):
            told = []
            for call in (made_of(lambda wrong=wrong: wrong), functools.partial(awaited, wrong)):
                with pytest.raises(TypeError) as raised:
                    await call()
                told.append(str(raised.value))
            if wrong == 5 or sys.version_info < (3, 15):
                assert told[0] == told[1]
        return found

    assert asyncio.run(main()) == ["future", "iterable", None]


async def awaited(awaitable):
    return await awaitable


@types.coroutine
def returning(value):
    yield from ()
    return value


# --- what comes of each step ------------------------------------------------------------------------------------------


def outcome(step, *args):
    """What a step gives: a value, or an exception told by its type and what is in it."""
    try:
        return step(*args)
    except BaseException as exc:
        return type(exc), str(exc), getattr(exc, "value", None), type(exc.__cause__)


def acting(plan, seen):
    """What a function of each kind does at each step: the next of the plan, called with what came in."""
    plan = iter(plan)

    def act(got):
        seen.append((repr(got), getattr(current, "user", None)))
        return next(plan, stop)(got)

    return act


def stop(got):
    raise StopPlan("at its end")


class StopPlan(Exception):
    pass


def gives(value):
    return lambda got: value


def fails(exc):
    def act(got):
        raise exc

    return act


def again(got):
    """Raises what came in, where that is an exception, or gives it."""
    if isinstance(got, BaseException):
        raise got
    return got


PLANS = {
    "goes on whatever comes": [gives(n) for n in range(9)],
    "passes on what comes": [gives(0), *[again] * 9],
    "fails at once": [fails(KeyError("first"))],
    "fails at its second step": [gives(0), fails(KeyError("second"))],
    "raises GeneratorExit itself": [gives(0), fails(GeneratorExit("mine"))],
    "raises StopIteration": [gives(0), fails(StopIteration("mine"))],
    "raises StopAsyncIteration": [gives(0), fails(StopAsyncIteration("mine"))],
    "gives exceptions and tuples": [gives(ValueError), gives((1, 2)), gives(None), gives(StopIteration(3))],
}

STEPS = {
    "next": lambda g: outcome(next, g) if hasattr(g, "__next__") else outcome(g.send, None),
    "send None": lambda g: outcome(g.send, None),
    "send": lambda g: outcome(g.send, "sent"),
    "throw": lambda g: outcome(g.throw, ValueError("thrown")),
    "throw a class": lambda g: outcome(g.throw, ValueError),
    "throw GeneratorExit": lambda g: outcome(g.throw, GeneratorExit("thrown")),
    "throw the class GeneratorExit": lambda g: outcome(g.throw, GeneratorExit),
    "throw StopIteration": lambda g: outcome(g.throw, StopIteration("thrown")),
    "close": lambda g: outcome(g.close),
}

SEQUENCES = [
    ["next", "send", "send None", "next"],
    ["send None", "throw", "next", "throw a class", "next"],
    ["next", "close", "close", "next"],
    ["next", "throw GeneratorExit", "next", "close", "next"],
    ["next", "throw the class GeneratorExit", "throw GeneratorExit", "throw"],
    ["next", "throw StopIteration", "next"],
    ["close", "next"],
    ["throw", "next"],
    ["send", "next"],
    ["throw GeneratorExit", "next"],
    ["next", "next", "next", "next", "next"],
]


def trace(func, plan, sequence, of=STEPS):
    """What all steps gave, what came in, how it ended, what was bound within, and for the caller between the steps.

    In a context of its own: a coroutine that will not be closed leaves there what a with statement in it bound.
    """
    return contextvars.copy_context().run(traced, func, plan, sequence, of)


def traced(func, plan, sequence, of):
    seen = []
    call = func(acting(plan, seen))
    outcomes = []
    bound = set()  # for the caller, between the steps
    for step in sequence:
        outcomes.append(of[step](call))
        bound.add(getattr(current, "user", None))
    ends = outcome(call.close) if of is STEPS else None
    # Before the call is dropped: two generators, one in the other, are closed by the collector one after the other.
    return outcomes, [came for came, _ in seen], ends, {user for _, user in seen}, bound


@pytest.mark.sampled
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("func", [generator, iterable_coroutine, coroutine], ids=lambda func: func.__name__)
def test_each_step_of_a_decorated_function_is_that_of_the_plain_one(decorator, func, unraisable):
    decorate, user = decorator
    decorated = decorate(func)
    for plan, sequence in itertools.product(PLANS, SEQUENCES):
        expected = trace(func, PLANS[plan], sequence)
        found = trace(decorated, PLANS[plan], sequence)
        assert found[:3] == expected[:3], (plan, sequence)
        assert found[3] <= {user}
        if func is generator or decorate not in AS_A_BLOCK:
            assert found[4] == {None}


@pytest.fixture
def unraisable(monkeypatch):
    """What is raised where nobody can catch it is not shown: it is the plain function's, too."""
    found = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: found.append(type(told.exc_value)))
    yield found
    gc.collect()


def finish(awaitable):
    """Runs an awaitable to its end, alone."""
    try:
        while True:
            got = awaitable.send(None)
            assert got == "suspended"
    except StopIteration as stop:
        return stop.value


ASYNC_STEPS = {
    "next": lambda g: outcome(finish, g.asend(None)),
    "send": lambda g: outcome(finish, g.asend("sent")),
    "throw": lambda g: outcome(finish, g.athrow(ValueError("thrown"))),
    "throw a class": lambda g: outcome(finish, g.athrow(ValueError)),
    "throw GeneratorExit": lambda g: outcome(finish, g.athrow(GeneratorExit("thrown"))),
    "throw StopAsyncIteration": lambda g: outcome(finish, g.athrow(StopAsyncIteration("thrown"))),
    "close": lambda g: outcome(finish, g.aclose()),
    "throw into the suspended": lambda g: outcome(interrupted, g.asend(None), ValueError("in the middle")),
    "throw GeneratorExit into the suspended": lambda g: outcome(interrupted, g.asend(None), GeneratorExit("middle")),
}
ASYNC_SEQUENCES = [
    ["next", "send", "next", "next"],
    ["next", "throw", "next", "throw a class", "next"],
    ["next", "close", "close", "next"],
    ["next", "throw GeneratorExit", "next", "close", "next"],
    ["next", "throw StopAsyncIteration", "next"],
    ["close", "next"],
    ["throw", "next"],
    ["send", "next"],
    ["next", "throw into the suspended", "next"],
    ["next", "throw GeneratorExit into the suspended", "next"],
    ["next", "next", "next", "next", "next"],
]


def interrupted(step, exc):
    """A step of an async generator into which something is thrown where it is suspended, if it is."""
    step.send(None)
    try:
        step.throw(exc)
    except StopIteration as stop:
        return stop.value
    return finish(step)


@pytest.mark.sampled
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("func", [async_generator, suspending_async_generator], ids=lambda func: func.__name__)
def test_each_step_of_a_decorated_async_generator_is_that_of_the_plain_one(decorator, func, unraisable):
    decorate, user = decorator
    decorated = decorate(func)
    for plan, sequence in itertools.product(PLANS, ASYNC_SEQUENCES):
        expected = trace(func, PLANS[plan], sequence, ASYNC_STEPS)
        found = trace(decorated, PLANS[plan], sequence, ASYNC_STEPS)
        assert found[:3] == expected[:3], (plan, sequence)
        assert found[3] <= {user}
        if func is async_generator or decorate not in AS_A_BLOCK:
            assert found[4] == {None}


@pytest.mark.parametrize("func", KINDS, ids=lambda func: func.__name__)
def test_each_shape_runs_with_what_is_bound(decorator, func, shape):
    decorate, user = decorator
    if shape.args == ("carried",):
        user = None  # by the snapshot in it, which was taken where nothing was bound
    decorated = decorate(shape(func))
    plan = [gives(0), gives(1), returns_nothing]
    seen = []
    call = decorated(acting(plan, seen))
    assert getattr(current, "user", None) is None
    if KINDS[func] == ASYNC_GENERATOR:
        assert [finish(call.asend(None)), finish(call.asend(None))] == [0, 1]
        assert outcome(finish, call.asend(None))[0] is StopPlan
    elif KINDS[func] != PLAIN:
        assert [call.send(None), call.send(None)] == [0, 1]
        assert outcome(call.send, None)[0] is StopPlan
    else:
        assert call == 0
    assert {each for _, each in seen} == {user}
    assert getattr(current, "user", None) is None


def returns_nothing(got):
    raise StopPlan


@pytest.mark.parametrize("func", KINDS, ids=lambda func: func.__name__)
def test_the_interpreter_takes_it_for_the_same(decorator, func):
    decorate, _ = decorator
    decorated = decorate(func)
    assert asked(decorated) == asked(func)
    assert inspect.signature(decorated) == inspect.signature(func)
    assert inspect.unwrap(decorated) is func
    assert (decorated.__name__, decorated.__qualname__, decorated.__module__) == (
        func.__name__,
        func.__qualname__,
        func.__module__,
    )
    if func is plain:
        return
    call, control = decorated(gives(0)), func(gives(0))
    for question in (inspect.isgenerator, inspect.iscoroutine, inspect.isasyncgen, inspect.isawaitable):
        assert question(call) == question(control)
    assert (type(call), call.__name__, call.__qualname__) == (type(control), control.__name__, control.__qualname__)
    for each in (call, control):
        if KINDS[func] == COROUTINE:
            each.close()  # or else it was never awaited


@pytest.mark.parametrize(
    "func", [each for each in KINDS if each is not suspending_async_generator], ids=lambda f: f.__name__
)
def test_in_the_body_of_a_class(decorator, func):
    decorate, user = decorator
    seen = []

    class Has:
        method = decorate(own(func))
        of_class = classmethod(decorate(own(func)))
        static = staticmethod(decorate(func))
        decorated_class_method = decorate(classmethod(own(func)))
        decorated_static_method = decorate(staticmethod(func))
        decorated_partial_method = decorate(functools.partialmethod(own(func)))

    for has in (Has(), Has):
        for name, each in vars(Has).items():
            if name.startswith("__") or (has is Has and name in ("method", "decorated_partial_method")):
                continue
            assert kind_of(getattr(has, name)) == KINDS[func]
            assert first(getattr(has, name)(acting([gives(name), again], seen))) == name
            assert asked(getattr(has, name)) == asked(func), each
    assert {each for _, each in seen} == {user}


def first(call):
    if hasattr(call, "asend"):
        return finish(call.asend(None))
    return call.send(None) if hasattr(call, "send") else call


# --- what a loop over them does ---------------------------------------------------------------------------------------


def test_a_loop_that_breaks_closes_it(decorator):
    decorate, user = decorator
    seen = []

    @decorate
    def rows():
        try:
            yield from (1, 2)
        finally:
            seen.append(getattr(current, "user", None))

    for _ in rows():
        break
    gc.collect()
    assert seen == [user]


def test_an_async_loop_that_breaks_has_it_closed(decorator):
    decorate, user = decorator
    seen = []

    @decorate
    async def rows():
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            seen.append(getattr(current, "user", None))

    async def main():
        async for _ in rows():
            break
        gc.collect()
        async with asyncio.timeout(60):
            while not seen:
                await asyncio.sleep(0)

    asyncio.run(main())
    assert seen == [user]


def test_it_is_delegated_to(decorator):
    decorate, _ = decorator

    @decorate
    def inner():
        got = yield 1
        return got, (yield 2)

    def outer():
        return (yield from inner())

    steps = outer()
    assert [next(steps), steps.send("a")] == [1, 2]
    assert outcome(steps.send, "b")[2] == ("a", "b")
    assert list(outer()) == [1, 2]


def test_a_returned_value_may_be_anything(decorator):
    decorate, _ = decorator
    for value in (None, 0, (1, 2), ValueError("made"), StopIteration(5), StopIteration):

        @decorate
        def generate(value=value):
            return value
            yield

        @decorate
        async def work(value=value):
            return value

        for call in (generate(), work()):
            with pytest.raises(StopIteration) as stop:
                call.send(None)
            assert stop.value.value is value


def test_a_cancelled_task(decorator):
    decorate, user = decorator
    seen = []

    @decorate
    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            seen.append(getattr(current, "user", None))

    async def main():
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert seen == [user]


def test_nothing_is_kept_of_what_went_in_and_came_out(decorator):
    decorate, _ = decorator

    class Thing:
        pass

    @decorate
    def generate(first):
        del first
        while True:
            got = yield Thing()
            del got

    def alive(make):
        thing = make()
        told = weakref.ref(thing)
        del thing
        return told() is not None

    thing = Thing()
    told = weakref.ref(thing)
    steps = generate(thing)
    del thing
    assert not alive(lambda: next(steps))
    assert told() is None
    thing = Thing()
    told = weakref.ref(thing)
    steps.send(thing)
    del thing
    assert told() is None
    told = weakref.ref(steps)
    del steps
    assert told() is None


def test_an_exception_that_was_thrown_in_is_not_kept(decorator):
    decorate, _ = decorator

    @decorate
    def generate():
        while True:
            try:
                yield
            except ValueError:
                pass

    steps = generate()
    next(steps)
    exc = type("Wrong", (ValueError,), {})()  # which can be referred to weakly
    told = weakref.ref(exc)
    steps.throw(exc)
    del exc
    assert told() is None
    next(steps)


def test_a_traceback_leads_to_the_line(decorator):
    decorate, _ = decorator

    @decorate
    def generate():
        yield
        raise KeyError("here")

    steps = generate()
    next(steps)
    with pytest.raises(KeyError) as raised:
        next(steps)
    assert raised.traceback[-1].name == "generate"
    assert raised.value.__context__ is None


@pytest.mark.parametrize("value", [None, 5, "f", property(len)])
def test_what_cannot_be_called_is_refused(decorator, value):
    decorate, _ = decorator
    with pytest.raises(TypeError, match="a function, not"):
        decorate(value)


def test_a_decorated_function_pickles_by_its_name():
    assert pickle.loads(pickle.dumps(by_name)) is by_name


@current(user=1)
def by_name():
    yield
