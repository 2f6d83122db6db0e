"""Dask: functions run on the workers as units of work, with the carried names bound where they were submitted.

``xctx.dask.install(client)`` does so for all functions that a client submits or maps; :func:`carrying` for one
function, which may be part of a ``dask.delayed`` graph. The workers must have imported the module that declares the
names; the module of a function that reads the names does that.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from xctx._stores.works import work
from xctx._stores.xlocal import xlocal
from xctx._wire.fields import chosen
from xctx._wire.report import Report
from xctx.wire import extract, inject

__all__ = ["carrying", "install"]

_P = ParamSpec("_P")
_R = TypeVar("_R")
_C = TypeVar("_C")


class Carrying:
    """A function, and the names that are to be bound when it is called. Dask shows it by the name of the function."""

    def __init__(self, func: Callable[..., Any], baggage: str) -> None:
        self.__name__ = getattr(func, "__name__", type(func).__name__)
        self.__wrapped__ = func
        self.baggage = baggage

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with work():
            return extract({"baggage": self.baggage}).run(self.__wrapped__, *args, **kwargs)

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        from dask.tokenize import normalize_token

        return "xctx.dask", normalize_token(self.__wrapped__), self.baggage

    def __repr__(self) -> str:
        return (
            f"<{self.__wrapped__!r} carrying {', '.join(each.partition('=')[0] for each in self.baggage.split(','))}>"
        )


async def carrying_on(func: Callable[..., Any], baggage: str, /, *args: Any, **kwargs: Any) -> Any:
    with work(), extract({"baggage": baggage}):
        return await func(*args, **kwargs)


def carrying(func: Callable[_P, _R], /, *xlocals: xlocal, report: Report | None = None) -> Callable[_P, _R]:
    """Wraps `func` so that it runs as a unit of work, with the carried names that are bound now, wherever it is run.

    Functions that carry different values are different functions to Dask, so no request gets the result of another.

    Args:
        func: a function or coroutine function that can be pickled.
        xlocals: those whose bindings go. Default: each that declares carried names.
        report: called with what was left out here, and why, in place of the log: see :mod:`xctx.wire`.

    Returns:
        A function of the same kind that can be pickled; `func` itself if no carried name is bound.

    Raises:
        TypeError: `func` cannot be called, or one of `xlocals` carries nothing.

    Thread-safety: may be called in any thread.
    """
    if not callable(func):
        raise TypeError(f"{func!r} cannot be called: a function was wanted")
    headers: dict[str, str] = inject({}, *xlocals, report=report)
    return as_work(func, headers["baggage"]) if headers else func


def as_work(func: Callable[_P, _R], baggage: str) -> Callable[_P, _R]:
    if inspect.iscoroutinefunction(func):
        return cast("Callable[_P, _R]", functools.partial(carrying_on, func, baggage))
    return Carrying(func, baggage)


def install(client: _C, *xlocals: xlocal, report: Report | None = None) -> _C:
    """From now on each function that this client submits or maps runs as a unit of work, with the carried names bound.

    Actors are left as they are, because they answer many requests; so are graphs (``dask.delayed``, arrays, data
    frames), because their results may be shared with other requests. Wrap their functions by :func:`carrying`.

    Args:
        client: a ``distributed.Client``.
        xlocals: those that take part. Default: each that declares carried names.
        report: called with what was left out, and why, in place of the log: see :mod:`xctx.wire`.

    Returns:
        The client.

    Raises:
        TypeError: `client` has no methods `submit` and `map`, or one of `xlocals` carries nothing.

    Thread-safety: call it before others use the client. Called again, it replaces what it did before.
    """
    chosen(xlocals)
    for name in ("submit", "map"):
        if not callable(getattr(client, name, None)):
            raise TypeError(f"{client!r} has no method {name!r}: a distributed.Client was wanted")
    for name in ("submit", "map"):
        original = getattr(client, name)
        original = getattr(original, "__xctx_original__", original)

        def carried(
            func: Callable[..., Any], *args: Any, original: Callable[..., Any] = original, **kwargs: Any
        ) -> Any:
            if kwargs.get("actor") or kwargs.get("actors") or not callable(func):
                return original(func, *args, **kwargs)
            headers: dict[str, str] = inject({}, *xlocals, report=report)
            return original(as_work(func, headers.get("baggage", "")), *args, **kwargs)

        functools.update_wrapper(carried, original)
        carried.__xctx_original__ = original  # type: ignore[attr-defined]
        setattr(client, name, carried)
    return client
