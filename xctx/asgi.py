"""ASGI: each request or websocket is a unit of work, and runs with the names that its headers carry."""

import contextlib
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from xctx._carry.snapshot import AppliedBlock
from xctx._stores.works import work
from xctx._stores.xlocal import xlocal
from xctx._wire.intake import Intake
from xctx._wire.report import Report
from xctx._wire.request_id import RequestId

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
        accept: the names, as they are on the wire, that are taken in, whether declared or passed on; ``()`` for none,
            as suits a service that faces the public. Default: all.
        request_id: binds an id for each request, and answers with it: see :class:`xctx.wire.RequestId`.

    Raises:
        TypeError: `app` cannot be called, one of `xlocals` carries nothing, or an argument is of another type.

    Thread-safety: as the application's.
    """

    def __init__(
        self,
        app: _App,
        *xlocals: xlocal,
        report: Report | None = None,
        accept: Collection[str] | None = None,
        request_id: RequestId | None = None,
    ) -> None:
        if not callable(app):
            raise TypeError(f"{app!r} cannot be called: an ASGI application was wanted")
        self.app = app
        self._intake = Intake(xlocals, report, accept, request_id)
        self._id_header = None if request_id is None else request_id.header.lower().encode()

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = scope.get("headers") or ()
        ids = [] if self._id_header is None else _values(headers, self._id_header)
        snapshot, answer = self._intake.of(
            _values(headers, b"baggage"), b",".join(ids).decode("latin-1") if ids else None
        )
        if answer is not None:
            send = _answering(send, *(each.encode() for each in answer))
        with work(), contextlib.nullcontext() if snapshot is None else AppliedBlock(snapshot):
            await self.app(scope, receive, send)


def _values(headers: Collection[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for key, value in headers if key.lower() == name]


# The messages that begin a response, to a request or to the handshake of a websocket.
_BEGINNINGS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


def _answering(send: _Send, header: bytes, value: bytes) -> _Send:
    """A send that adds a header, unless the application has set it."""

    async def send_on(message: _Message) -> None:
        if message["type"] in _BEGINNINGS:
            headers = list(message.get("headers") or ())
            if not _values(headers, header.lower()):
                message = {**message, "headers": [*headers, (header.lower(), value)]}
        await send(message)

    return send_on
