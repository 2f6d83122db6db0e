"""ASGI: each request or websocket is a unit of work, and runs with the names that its headers carry."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from xctx._carry.snapshot import AppliedBlock
from xctx._stores.works import work
from xctx._stores.xlocal import xlocal
from xctx._wire.fields import chosen
from xctx._wire.report import Report
from xctx.wire import extract

__all__ = ["Middleware"]

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]


class Middleware:
    """Runs each request of an ASGI 3 application as a unit of work, with the names bound that its headers carry::

        app = xctx.asgi.Middleware(app)

    The unit of work (:class:`xctx.work`) is open, and the names of the ``baggage`` headers are bound, from the call of
    the application until it returns, raises or is cancelled, hence while it streams its response and runs its
    background tasks; for a websocket, as long as that is open. To make each message of a websocket a unit of work
    inside, use ``with xctx.work():``. The key of the xlocal says whether tasks that the application starts see the
    names.

    Args:
        app: the application.
        xlocals: those whose names may be bound. Default: each that declares carried names.
        report: called with what was left out of a header, and why, in place of the log: see :mod:`xctx.wire`.

    Raises:
        TypeError: `app` cannot be called, or one of `xlocals` carries nothing.

    Thread-safety: as the application's.
    """

    def __init__(self, app: _App, *xlocals: xlocal, report: Report | None = None) -> None:
        if not callable(app):
            raise TypeError(f"{app!r} cannot be called: an ASGI application was wanted")
        chosen(xlocals)
        self.app = app
        self._xlocals = xlocals
        self._report = report

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        with work(), AppliedBlock(extract(scope.get("headers") or (), *self._xlocals, report=self._report)):
            await self.app(scope, receive, send)
