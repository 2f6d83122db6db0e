"""Generators that bind for their caller."""

from types import FunctionType

from xctx._runtime.functions import ASYNC_GENERATOR, GENERATOR, ITERABLE_COROUTINE
from xctx._stores.blocks import set_transparent

TYPE_CHECKING = False  # importing xctx does not import typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    _F = TypeVar("_F", bound=Callable[..., Any])


def transparent(func: "_F") -> "_F":
    """Marks a generator function or async generator function: what its generators bind, their caller sees too.

    Otherwise it is seen only by what the generator runs. A driver of one's own needs it, one that takes a step of a
    generator, runs something, and takes the next step. Those that :func:`contextlib.contextmanager` and
    :func:`~contextlib.asynccontextmanager` make managers of, and the fixtures of pytest, pytest-asyncio and anyio, bind
    for their caller anyway.

    Args:
        func: the function. It is marked itself; of a method of any kind, the function in it.

    Returns:
        `func`.

    Raises:
        TypeError: `func` is neither, as one is that another decorator has made of it.
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
