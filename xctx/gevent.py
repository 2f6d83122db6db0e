"""Greenlets and pools of gevent that take bindings along.

Each is used in place of the class or function of the same name in gevent. It takes along what its caller sees in all
xlocals when work is handed over: at ``spawn``, ``start``, ``map`` or the like, never in the worker. `bindings` is
``"copy"``, ``"share"`` or ``"empty"``, `work` is ``"same"`` or ``"new"``, and `xlocals` says which of them come along,
as for :mod:`xctx.concurrent`. Callbacks take bindings along likewise: `callback` of a pool, and those of a future.
Greenlets of gevent's own classes start empty. This module imports gevent.

Thread-safety: as the class or function of gevent that each extends.
"""

import contextvars as pep567
from collections.abc import Callable, Iterable
from typing import Any

import gevent
import gevent.pool
import gevent.threadpool

from xctx._carry.calls import SharedCall
from xctx._carry.policy import Bindings, Carrying, Work, carried, take_along
from xctx._stores.xlocal import xlocal

__all__ = ["Greenlet", "Group", "Pool", "ThreadPool", "ThreadPoolExecutor", "spawn", "spawn_later"]


class Greenlet(Carrying, gevent.Greenlet):
    """A :class:`gevent.Greenlet` that takes bindings along at ``start`` and ``start_later``.

    Args:
        bindings: ``"copy"``, ``"share"`` or ``"empty"``.
        contextvars: context variables that come along in a copy.
        work: ``"same"`` or ``"new"``.
        xlocals: those that come along in a copy. Default: all.
        args, kwargs: as for the class that it extends. Only these are passed to the greenlet's function.
    """

    _never_shared = None
    _run: Any  # gevent's: the function that the greenlet runs

    def _take_along(self) -> None:
        """Makes the greenlet run with what is seen now, unless it was started already."""
        if not (self.started or self.dead):
            greenlet: Any = self  # gevent has no types
            greenlet._run = carried(self, greenlet._run)
            enter_context(self, greenlet._run)

    def start(self) -> None:
        """Starts the greenlet, with what is seen now."""
        self._take_along()
        super().start()

    def start_later(self, seconds: float) -> None:
        """Starts the greenlet in so many seconds, to run with what is seen now."""
        self._take_along()
        super().start_later(seconds)


def enter_context(greenlet: Any, call: object) -> None:
    """Makes a greenlet that was not started run in the context in which a shared call was made."""
    if isinstance(call, SharedCall):
        greenlet.gr_context = call.context


def spawn(
    func: Callable[..., Any],
    *args: Any,
    bindings: Bindings = "copy",
    contextvars: Iterable[pep567.ContextVar[Any]] = (),
    work: Work = "same",
    xlocals: Iterable[xlocal] | None = None,
    **kwargs: Any,
) -> Greenlet:
    """As :func:`gevent.spawn`, with what is seen now in all xlocals.

    Args:
        bindings: ``"copy"``, ``"share"`` or ``"empty"``.
        contextvars: context variables that come along in a copy.
        work: ``"same"`` or ``"new"``.
        xlocals: those that come along in a copy. Default: all.
        func, args, kwargs: as for the function that it extends. The four arguments above are not passed to `func`.

    Returns:
        The greenlet, which was started.

    Raises:
        ValueError: `bindings` or `work` is none of these, or `xlocals` are given and `bindings` is not ``"copy"``.
        TypeError: `contextvars` are no context variables, `xlocals` no xlocals, or `func` is not callable.
    """
    greenlet = Greenlet(func, *args, bindings=bindings, contextvars=contextvars, work=work, xlocals=xlocals, **kwargs)
    greenlet.start()
    return greenlet


def spawn_later(
    seconds: float,
    func: Callable[..., Any],
    *args: Any,
    bindings: Bindings = "copy",
    contextvars: Iterable[pep567.ContextVar[Any]] = (),
    work: Work = "same",
    xlocals: Iterable[xlocal] | None = None,
    **kwargs: Any,
) -> Greenlet:
    """As :func:`gevent.spawn_later`, with what is seen in all xlocals by this call, not when the greenlet starts.

    Args:
        seconds: how long until the greenlet starts.
        func, args, bindings, contextvars, work, xlocals, kwargs: as for :func:`spawn`.

    Returns, raises: as :func:`spawn`.
    """
    greenlet = Greenlet(func, *args, bindings=bindings, contextvars=contextvars, work=work, xlocals=xlocals, **kwargs)
    greenlet.start_later(seconds)
    return greenlet


# For all of these, gevent's pools spawn the work later and from a greenlet of their own, where nothing would be seen.
_MAPPING = ("apply_async", "apply", "map", "map_async", "imap", "imap_unordered")


class _Spawning(Carrying):
    """What groups and pools of greenlets have in common."""

    _never_shared = None

    def spawn(self, /, *args: Any, **kwargs: Any) -> Any:
        """As gevent's ``spawn``, with what is seen now."""
        func, *rest = args
        group: Any = self
        call = carried(self, func)
        greenlet = group.greenlet_class(call, *rest, **kwargs)
        enter_context(greenlet, call)
        group.start(greenlet)
        return greenlet


@take_along(*_MAPPING)
class Group(_Spawning, gevent.pool.Group):
    """A :class:`gevent.pool.Group` that takes bindings along with all that it spawns and maps.

    Args:
        bindings: ``"copy"``, ``"share"`` or ``"empty"``.
        contextvars: context variables that come along in a copy.
        work: ``"same"`` or ``"new"``.
        xlocals: those that come along in a copy. Default: all.
        args: as for the class that it extends.
    """


@take_along(*_MAPPING)
class Pool(_Spawning, gevent.pool.Pool):
    """A :class:`gevent.pool.Pool` that takes bindings along with all that it spawns and maps.

    Args:
        bindings: ``"copy"``, ``"share"`` or ``"empty"``.
        contextvars: context variables that come along in a copy.
        work: ``"same"`` or ``"new"``.
        xlocals: those that come along in a copy. Default: all.
        args, kwargs: as for the class that it extends.
    """


@take_along("spawn", *_MAPPING)
class ThreadPool(Carrying, gevent.threadpool.ThreadPool):
    """A :class:`gevent.threadpool.ThreadPool` that takes bindings along with all that it spawns and maps.

    Args:
        bindings: ``"copy"`` or ``"empty"``.
        contextvars: context variables that come along.
        work: ``"same"`` or ``"new"``.
        xlocals: those that come along in a copy. Default: all.
        args, kwargs: as for the class that it extends.
    """


@take_along("submit")
class ThreadPoolExecutor(Carrying, gevent.threadpool.ThreadPoolExecutor):
    """A :class:`gevent.threadpool.ThreadPoolExecutor` that takes bindings along at ``submit`` and ``map``.

    Args:
        bindings: ``"copy"`` or ``"empty"``.
        contextvars: context variables that come along.
        work: ``"same"`` or ``"new"``.
        xlocals: those that come along in a copy. Default: all.
        args, kwargs: as for the class that it extends.
    """
