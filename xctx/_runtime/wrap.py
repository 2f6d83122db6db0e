"""Running functions, coroutines and generators inside a context manager that each call makes anew."""

import functools
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractContextManager
from typing import Any


def wrap(func: Callable[..., Any], make: Callable[[], AbstractContextManager[Any]]) -> Callable[..., Any]:
    """Gives `func` wrapped so that its code runs inside ``with make():``.

    Args:
        func: a function, coroutine function, generator function or async generator function.
        make: a callable that returns a new context manager.

    Returns:
        A function of the same kind. A generator is inside while it runs, and outside while it is suspended.

    Raises:
        TypeError: `func` is not callable.
    """
    import inspect  # not at the top: importing xctx stays cheap

    if not callable(func):
        raise TypeError(f"a binding decorates a function, not {func!r}")

    if inspect.isasyncgenfunction(func):

        @functools.wraps(func)
        async def async_generator(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            steps = func(*args, **kwargs)
            step, value = unhooked, steps
            while True:
                try:
                    with make():
                        item = [await step(value)]
                except StopAsyncIteration:
                    return
                finally:
                    value = None  # keep nothing: an exception thrown in holds this frame
                try:
                    step, value = steps.asend, (yield item.pop())
                except BaseException as exc:  # GeneratorExit too: what it comes to, the generator says
                    step, value = steps.athrow, exc

        return async_generator

    if inspect.iscoroutinefunction(func):

        @functools.wraps(func)
        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            with make():
                return await func(*args, **kwargs)

        return coroutine

    if inspect.isgeneratorfunction(func):

        @functools.wraps(func)
        def generator(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            steps = func(*args, **kwargs)
            step, value = steps.send, None
            while True:
                try:
                    with make():
                        item = [step(value)]
                except StopIteration as stop:
                    return stop.value
                finally:
                    value = None  # keep nothing: an exception thrown in holds this frame
                try:
                    step, value = steps.send, (yield item.pop())
                except BaseException as exc:  # GeneratorExit too: what it comes to, the generator says
                    step, value = steps.throw, exc

        return generator

    @functools.wraps(func)
    def function(*args: Any, **kwargs: Any) -> Any:
        with make():
            return func(*args, **kwargs)

    return function


def unhooked(generator: AsyncGenerator[Any, Any]) -> Awaitable[Any]:
    """The first step of an async generator, which the event loop does not get to know.

    It would close `generator` itself in the end, outside the context manager and at the same time as its wrapper.
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return generator.asend(None)
    finally:
        sys.set_asyncgen_hooks(*hooks)
