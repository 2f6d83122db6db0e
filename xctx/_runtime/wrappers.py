"""What a decorator returns for a function of each kind: one of that kind, whose steps run inside a step context.

They are functions in Python, so calling one gives a generator or coroutine of Python's own.
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

    A static method, class method or functools.partialmethod, which a decorator in a class body may get, stays one.

    Args:
        func: a callable of any kind.
        context: makes the step context of one call, in its first step.
        verb: what the caller does, for the message of the TypeError: "isolated decorates".
        plain: wraps a plain function. Default: plain_function.

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
            del args, kwargs  # so that only the call itself decides how long they live
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
                value = None  # an exception that is thrown in holds this frame, which is to keep nothing alive
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
                except BaseException as exc:  # GeneratorExit too, because the generator decides what comes of it
                    step, value = generator.athrow, exc
        finally:
            call.close()

    return async_generator


def first_step(generator: AsyncGenerator[Any, Any]) -> Awaitable[Any]:
    """The first step of an async generator, without the hooks by which the event loop learns of it.

    The loop would close `generator` itself in the end, outside the step context and while the wrapper closes it too.
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return generator.asend(None)
    finally:
        sys.set_asyncgen_hooks(*hooks)
