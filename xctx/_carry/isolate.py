"""Running coroutines and generators in a home: a context of their own, so that nobody sees what they bind."""

import functools
import types
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR, CO_ITERABLE_COROUTINE
from typing import Any, Protocol

from xctx._runtime.wrap import unhooked


class Home(Protocol):
    """A context of its own, in which steps run."""

    def run(self, step: Callable[..., Any], /, *args: Any) -> Any: ...
    def close(self) -> None: ...


def isolate(func: Callable[..., Any], flags: int, make_home: Callable[[], Home]) -> Callable[..., Any]:
    """Gives `func` wrapped so that each call runs in a new home.

    Args:
        func: a callable.
        flags: those of its code that say whether it runs in steps; 0 where it does not.
        make_home: makes a home, in the context of the call's first step.

    Returns:
        A function of the same kind.
    """
    if flags & CO_ASYNC_GENERATOR:

        @functools.wraps(func)
        async def async_generator(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            home = make_home()
            try:
                steps = home.run(functools.partial(func, *args, **kwargs))
                step, value = unhooked, steps
                while True:
                    try:
                        item = [await Steps(home, step(value))]
                    except StopAsyncIteration:
                        return
                    finally:
                        value = None  # keep nothing: an exception thrown in holds this frame
                    try:
                        step, value = steps.asend, (yield item.pop())
                    except BaseException as exc:  # GeneratorExit too: what it comes to, the generator says
                        step, value = steps.athrow, exc
            finally:
                home.close()

        return async_generator

    if flags & CO_COROUTINE:

        @functools.wraps(func)
        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            home = make_home()
            try:
                return await Steps(home, home.run(functools.partial(func, *args, **kwargs)))
            finally:
                home.close()

        return coroutine

    if flags & CO_GENERATOR:

        @functools.wraps(func)
        def generator(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            home = make_home()
            try:
                return (yield from run_steps(home, home.run(functools.partial(func, *args, **kwargs))))
            finally:
                home.close()

        return types.coroutine(generator) if flags & CO_ITERABLE_COROUTINE else generator

    @functools.wraps(func)
    def function(*args: Any, **kwargs: Any) -> Any:
        home = make_home()
        try:
            return home.run(functools.partial(func, *args, **kwargs))
        finally:
            home.close()

    return function


def run_steps(home: Home, steps: Any) -> Generator[Any, Any, Any]:
    """Drives a generator, or what has the methods of one, each step in its home."""
    step, value = steps.send, None
    while True:
        try:
            item = [home.run(step, value)]
        except StopIteration as stop:
            return stop.value
        except BaseException:
            steps = step = None
            raise
        finally:
            value = None  # keep nothing: an exception thrown in holds this frame
        try:
            step, value = steps.send, (yield item.pop())
        except BaseException as exc:
            step, value = steps.throw, exc


class Steps:
    """An awaitable whose steps run in a home."""

    __slots__ = ("awaitable", "home")

    def __init__(self, home: Home, awaitable: Awaitable[Any]) -> None:
        self.home = home
        self.awaitable = awaitable

    def __await__(self) -> Generator[Any, Any, Any]:
        return run_steps(self.home, self.awaitable.__await__())
