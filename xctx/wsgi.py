"""WSGI (PEP 3333): each request is a unit of work, and runs with the names that its headers carry."""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from xctx._stores.xlocal import xlocal
from xctx._wire.intake import Intake
from xctx._wire.report import Report
from xctx._wire.request import Request
from xctx._wire.request_id import RequestId

__all__ = ["Middleware"]

_App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Middleware:
    """Runs each request of a WSGI application as a unit of work, with the names bound that its headers carry::

        app = xctx.wsgi.Middleware(app)

    The application is called in the unit of work (:class:`xctx.work`). It also makes each part of the body, and closes
    the body, in that unit of work, in whatever thread or greenlet the server asks for it. In between, when the server
    runs, what the headers carry is not bound; a block that the application entered by hand and has not left stays open
    until the unit of work ends. It ends when the server has closed the body, or as soon as the application has
    returned a list, a tuple or a file that the server sends. The names that a ``baggage`` header carries are bound for
    the same time.

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
            raise TypeError(f"{app!r} cannot be called: a WSGI application was wanted")
        self.app = app
        self._intake = Intake(xlocals, report, accept, request_id)
        self._id_header = None if request_id is None else f"HTTP_{request_id.header.upper().replace('-', '_')}"

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        id_sent = None if self._id_header is None else environ.get(self._id_header)
        snapshot, answer = self._intake.of(environ.get("HTTP_BAGGAGE"), id_sent)
        if answer is not None:
            start_response = _answering(start_response, *answer)
        request = Request(snapshot)
        try:
            body: Iterable[bytes] = request.run(self.app, environ, start_response)
        except BaseException:
            request.end()
            raise
        # Servers look at the type: how long a list is, or whether a file can be sent in one go. Sending these runs no
        # code of the application.
        wrapper = environ.get("wsgi.file_wrapper")
        if type(body) in (list, tuple) or (isinstance(wrapper, type) and isinstance(body, wrapper)):
            request.end()
            return body
        return _Body(body, request)


def _answering(start_response: Callable[..., Any], header: str, value: str) -> Callable[..., Any]:
    """A start_response that adds a header, unless the application has set it."""

    def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
        if all(name.lower() != header.lower() for name, _ in headers):
            headers = [*headers, (header, value)]
        return start_response(status, headers, *exc_info)

    return start


class _Body:
    """A body whose parts are made, and which is closed, in the unit of work of its request."""

    __slots__ = ("_body", "_parts", "_request")

    def __init__(self, body: Iterable[bytes], request: Request) -> None:
        self._body = body
        self._request = request
        self._parts: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._parts is None:
            self._parts = self._request.run(iter, self._body)
        part: bytes = self._request.run(next, self._parts)
        return part

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        try:
            if close is not None:
                self._request.run(close)
        finally:
            self._request.end()
