"""Generators that bind for their caller."""

from types import FunctionType

from xctx._runtime.functions import ASYNC_GENERATOR, GENERATOR, ITERABLE_COROUTINE
from xctx._stores.seen import set_transparent

TYPE_CHECKING = False  # importing xctx does not import typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    _F = TypeVar("_F", bound=Callable[..., Any])


def transparent(func: "_F") -> "_F":
    """Marks a generator function or async generator function: the caller of its generators sees what they bind.

    Without the mark only the code that the generator runs sees it. The mark is for generators that a driver of your
    own runs: one that takes a step of the generator, runs something, and takes the next step. Generators of which
    :func:`contextlib.contextmanager` and :func:`~contextlib.asynccontextmanager` make managers, and the fixtures of
    pytest, pytest-asyncio and anyio, bind for their caller without it.

    Args:
        func: the function, or a static or class method of one. The function itself is marked, so apply this before
            other decorators.

    Returns:
        `func`.

    Raises:
        TypeError: `func` is not such a function.

    Thread-safety: mark a function before it is called.
    """
    inner = func.__func__ if isinstance(func, (staticmethod, classmethod)) else func
    flags = inner.__code__.co_flags if isinstance(inner, FunctionType) else 0
    if not flags & (GENERATOR | ASYNC_GENERATOR) or flags & ITERABLE_COROUTINE:
        raise TypeError(f"transparent marks a generator function or an async generator function, not {func!r}")
    code = inner.__code__
    if code.co_consts[-1:] != (transparent,):
        inner.__code__ = code.replace(co_consts=(*code.co_consts, transparent))
    return func


set_transparent(transparent)
