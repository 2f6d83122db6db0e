"""What a decorator returns for a function of each kind: one of the same kind, each step of which runs inside something.

They are Python's own functions, so what they return are Python's own generators and coroutines.
"""

import functools
import sys
import types
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any

from xctx._runtime.functions import (
    ASYNC_GENERATOR,
    COROUTINE,
    GENERATOR,
    ITERABLE_COROUTINE,
    StepContext,
    Steps,
    kind_of,
)

_Function = Callable[..., Any]


def wrap(
    func: _Function,
    context: Callable[[], StepContext],
    verb: str,
    plain: Callable[[_Function], _Function] | None = None,
) -> _Function:
    """Gives `func` wrapped so that each step of a call runs inside a step context.

    A static method, class method or functools.partialmethod, as a decorator in the body of a class may get, stays one.

    Args:
        func: a callable of any kind.
        context: makes the step context of one call, in its first step.
        verb: what the message of the TypeError says that the caller does.
        plain: wraps a plain function. Default: as those of other kinds are.

    Returns:
        A function of the same kind.

    Raises:
        TypeError: `func` is not callable.
    """
    if isinstance(func, (staticmethod, classmethod)):
        return type(func)(wrap(func.__func__, context, verb, plain))
    if isinstance(func, functools.partialmethod):
        return type(func)(wrap(func.func, context, verb, plain), *func.args, **func.keywords)
    if not callable(func):
        raise TypeError(f"{verb} a function, not {func!r}")
    kind = kind_of(func)
    if kind == COROUTINE:
        return coroutine_function(func, context)
    if kind == ASYNC_GENERATOR:
        return async_generator_function(func, context)
    if kind == GENERATOR:
        return generator_function(func, context, False)
    if kind == ITERABLE_COROUTINE:
        return types.coroutine(generator_function(func, context, True))
    return plain_function(func, context) if plain is None else plain(func)


def plain_function(func: _Function, context: Callable[[], StepContext]) -> _Function:
    @functools.wraps(func)
    def function(*args: Any, **kwargs: Any) -> Any:
        return context().run_all(func, args, kwargs)

    return function


def generator_function(func: _Function, context: Callable[[], StepContext], awaits: bool) -> _Function:
    @functools.wraps(func)
    def generator(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        call = context()
        try:
            steps = Steps(call, func, args, kwargs, awaits)
            del args, kwargs  # they are the call's to keep, or to let go of
            while True:
                try:
                    return (yield from steps)
                except GeneratorExit as exit:
                    if not steps.passes_on(exit):
                        raise
        finally:
            call.close()

    return generator


def coroutine_function(func: _Function, context: Callable[[], StepContext]) -> _Function:
    @functools.wraps(func)
    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        call = context()
        try:
            steps = Steps(call, func, args, kwargs, True)
            del args, kwargs
            while True:
                try:
                    return await steps
                except GeneratorExit as exit:
                    if not steps.passes_on(exit):
                        raise
        finally:
            call.close()

    return coroutine


def async_generator_function(func: _Function, context: Callable[[], StepContext]) -> _Function:
    @functools.wraps(func)
    async def async_generator(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        call = context()
        try:
            generator = call.run(func, args, kwargs)
            del args, kwargs
            step, value = first_step, generator
            while True:
                steps = Steps(call, step, (value,), None, True)
                value = None  # keep nothing: an exception thrown in holds this frame
                try:
                    while True:
                        try:
                            item = [await steps]
                            break
                        except GeneratorExit as exit:
                            if not steps.passes_on(exit):
                                raise
                except StopAsyncIteration:
                    return
                try:
                    step, value = generator.asend, (yield item.pop())
                except BaseException as exc:  # GeneratorExit too: what comes of it is for the generator to say
                    step, value = generator.athrow, exc
        finally:
            call.close()

    return async_generator


def first_step(generator: AsyncGenerator[Any, Any]) -> Awaitable[Any]:
    """The first step of an async generator, of which the event loop is not told.

    It would close `generator` itself in the end, outside the step context and at the same time as its wrapper.
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return generator.asend(None)
    finally:
        sys.set_asyncgen_hooks(*hooks)
