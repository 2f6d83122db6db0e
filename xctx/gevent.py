"""Greenlets and pools of gevent that take bindings along.

Each takes the place of what has its name in gevent, and takes along what its caller sees in all xlocals when work is
handed over: at ``spawn``, ``start``, ``map`` or the like, never in the worker. `bindings` is ``"copy"``, ``"share"`` or
``"empty"``, as :mod:`xctx.concurrent` tells; gevent's own greenlets start empty. This module imports gevent.
"""

import contextvars as pep567
from collections.abc import Callable, Iterable
from typing import Any

import gevent
import gevent.pool
import gevent.threadpool

from xctx._carry.carry import current_context
from xctx._carry.spawn import Bindings, Call, SharedCall, Way

__all__ = ["Greenlet", "Group", "Pool", "ThreadPool", "ThreadPoolExecutor", "spawn", "spawn_later"]

_THREADS = "threads run at the same time, and cannot be in one context"


class Greenlet(gevent.Greenlet):
    """A :class:`gevent.Greenlet` that takes bindings along at ``start`` and ``start_later``.

    Args:
        bindings: ``"copy"``, ``"share"`` or ``"empty"``. It does not reach the function that the greenlet runs.
        contextvars: context variables that come along in a copy. Likewise.
        args, kwargs: as for the class that it extends.
    """

    def __init__(
        self,
        *args: Any,
        bindings: Bindings = "copy",
        contextvars: Iterable[pep567.ContextVar[Any]] = (),
        **kwargs: Any,
    ) -> None:
        self._way = Way(bindings, contextvars)
        super().__init__(*args, **kwargs)

    def _take(self) -> None:
        if not (self.started or self.dead):
            _take_along(self, self._way)

    def start(self) -> None:
        """Starts the greenlet, with what is seen now."""
        self._take()
        super().start()

    def start_later(self, seconds: float) -> None:
        """Starts the greenlet in so many seconds, with what is seen now."""
        self._take()
        super().start_later(seconds)


def _take_along(greenlet: Any, way: Way) -> None:
    """Makes a greenlet that was not started run with what is seen now."""
    if way.bindings == "share":
        greenlet.gr_context = current_context()
        greenlet._run = SharedCall(way.take(), greenlet._run)
    else:
        greenlet._run = way.call(greenlet._run)


def spawn(
    func: Callable[..., Any],
    *args: Any,
    bindings: Bindings = "copy",
    contextvars: Iterable[pep567.ContextVar[Any]] = (),
    **kwargs: Any,
) -> Greenlet:
    """As :func:`gevent.spawn`, with what is seen now in all xlocals.

    Args:
        bindings: ``"copy"``, ``"share"`` or ``"empty"``. It does not reach `func`.
        contextvars: context variables that come along in a copy. Likewise.
        func, args, kwargs: as for the function that it extends.
    """
    greenlet = Greenlet(func, *args, bindings=bindings, contextvars=contextvars, **kwargs)
    greenlet.start()
    return greenlet


def spawn_later(
    seconds: float,
    func: Callable[..., Any],
    *args: Any,
    bindings: Bindings = "copy",
    contextvars: Iterable[pep567.ContextVar[Any]] = (),
    **kwargs: Any,
) -> Greenlet:
    """As :func:`gevent.spawn_later`, with what is seen now, not later, in all xlocals.

    Arguments as for :func:`spawn`.
    """
    greenlet = Greenlet(func, *args, bindings=bindings, contextvars=contextvars, **kwargs)
    greenlet.start_later(seconds)
    return greenlet


class _Mapping:
    """What pools of greenlets and of threads map with.

    gevent's own spawn the work for all of these later, in a greenlet of theirs, where nothing would be seen.
    """

    _way: Way

    def apply_async(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """As gevent's, with what is seen now."""
        return super().apply_async(self._call(func), *args, **kwargs)  # type: ignore[misc]

    def apply(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """As gevent's, with what is seen now."""
        return super().apply(self._call(func), *args, **kwargs)  # type: ignore[misc]

    def map(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """As gevent's, with what is seen now."""
        return super().map(self._call(func), *args, **kwargs)  # type: ignore[misc]

    def map_async(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """As gevent's, with what is seen now."""
        return super().map_async(self._call(func), *args, **kwargs)  # type: ignore[misc]

    def imap(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """As gevent's, with what is seen now."""
        return super().imap(self._call(func), *args, **kwargs)  # type: ignore[misc]

    def imap_unordered(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """As gevent's, with what is seen now."""
        return super().imap_unordered(self._call(func), *args, **kwargs)  # type: ignore[misc]

    def _call(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """`func` with what is seen now; itself where that was taken already, by the method that called this one."""
        if isinstance(func, Call):
            return func
        if self._way.bindings == "share":
            return _InContext(self._way.take(), func)
        return self._way.call(func)


class _InContext(SharedCall[Any]):
    """A callable that wants to be run in the context in which it was made."""

    __slots__ = ("context",)

    def __init__(self, snapshot: Any, func: Callable[..., Any]) -> None:
        super().__init__(snapshot, func)
        self.context = current_context()


class Group(_Mapping, gevent.pool.Group):
    """A :class:`gevent.pool.Group` that takes bindings along with all that it spawns and maps.

    Args:
        bindings: ``"copy"``, ``"share"`` or ``"empty"``.
        contextvars: context variables that come along in a copy.
        args: as for the class that it extends.
    """

    def __init__(
        self, *args: Any, bindings: Bindings = "copy", contextvars: Iterable[pep567.ContextVar[Any]] = ()
    ) -> None:
        self._way = Way(bindings, contextvars)
        super().__init__(*args)

    def spawn(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """As gevent's, with what is seen now."""
        return _spawn_in(self, func, *args, **kwargs)


class Pool(_Mapping, gevent.pool.Pool):
    """A :class:`gevent.pool.Pool` that takes bindings along with all that it spawns and maps.

    Args:
        bindings: ``"copy"``, ``"share"`` or ``"empty"``.
        contextvars: context variables that come along in a copy.
        args, kwargs: as for the class that it extends.
    """

    def __init__(
        self,
        *args: Any,
        bindings: Bindings = "copy",
        contextvars: Iterable[pep567.ContextVar[Any]] = (),
        **kwargs: Any,
    ) -> None:
        self._way = Way(bindings, contextvars)
        super().__init__(*args, **kwargs)

    def spawn(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """As gevent's, with what is seen now."""
        return _spawn_in(self, func, *args, **kwargs)


def _spawn_in(group: Any, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    call = group._call(func)
    greenlet = group.greenlet_class(call, *args, **kwargs)
    if isinstance(call, _InContext):
        greenlet.gr_context = call.context
    group.start(greenlet)
    return greenlet


class ThreadPool(_Mapping, gevent.threadpool.ThreadPool):
    """A :class:`gevent.threadpool.ThreadPool` that takes bindings along with all that it spawns and maps.

    Args:
        bindings: ``"copy"`` or ``"empty"``.
        contextvars: context variables that come along.
        args, kwargs: as for the class that it extends.
    """

    def __init__(
        self,
        *args: Any,
        bindings: Bindings = "copy",
        contextvars: Iterable[pep567.ContextVar[Any]] = (),
        **kwargs: Any,
    ) -> None:
        self._way = Way(bindings, contextvars, shares=_THREADS)
        super().__init__(*args, **kwargs)

    def spawn(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """As gevent's, with what is seen now."""
        return super().spawn(self._call(func), *args, **kwargs)


class ThreadPoolExecutor(gevent.threadpool.ThreadPoolExecutor):
    """A :class:`gevent.threadpool.ThreadPoolExecutor` that takes bindings along at ``submit`` and ``map``.

    Args:
        bindings: ``"copy"`` or ``"empty"``.
        contextvars: context variables that come along.
        args, kwargs: as for the class that it extends.
    """

    def __init__(
        self,
        *args: Any,
        bindings: Bindings = "copy",
        contextvars: Iterable[pep567.ContextVar[Any]] = (),
        **kwargs: Any,
    ) -> None:
        self._way = Way(bindings, contextvars, shares=_THREADS)
        super().__init__(*args, **kwargs)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Schedules ``fn(*args, **kwargs)``, with what is seen now."""
        return super().submit(self._way.call(fn), *args, **kwargs)
