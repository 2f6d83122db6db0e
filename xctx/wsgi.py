"""WSGI: a request is a unit of work, and runs with what its headers carry to this service (PEP 3333)."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from xctx._stores.xlocal import xlocal
from xctx._wire.fields import chosen
from xctx._wire.report import Report
from xctx._wire.request import Request

__all__ = ["Middleware"]

_App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Middleware:
    """Runs each request of a WSGI application as a unit of work, with the carried names bound that its headers have::

        app = xctx.wsgi.Middleware(app)

    The application is called in the unit of work (:class:`xctx.work`), and so it makes each part of the body and closes
    it, in any thread or greenlet in which the server does that; never in between, when the server runs. The unit of
    work ends when the server has closed the body, or at once where that is a list, a tuple or a file that the server
    sends. The names that a ``baggage`` header carries are bound as long.

    Args:
        app: the application.
        xlocals: those that may get something. Default: each that declares carried names.
        report: told of what was left out of a header, and why, in place of the log: see :mod:`xctx.wire`.

    Raises:
        TypeError: `app` cannot be called, or one of `xlocals` carries nothing.

    Thread-safety: as the application's.
    """

    def __init__(self, app: _App, *xlocals: xlocal, report: Report | None = None) -> None:
        if not callable(app):
            raise TypeError(f"{app!r} cannot be called: a WSGI application was wanted")
        chosen(xlocals)
        self.app = app
        self._xlocals = xlocals
        self._report = report

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ.get("HTTP_BAGGAGE"), self._xlocals, self._report)
        try:
            body: Iterable[bytes] = request.run(self.app, environ, start_response)
        except BaseException:
            request.end()
            raise
        # Servers look at what these are: how long a list is, or whether a file can be sent at once. None of this
        # runs code of the application.
        wrapper = environ.get("wsgi.file_wrapper")
        if type(body) in (list, tuple) or (isinstance(wrapper, type) and isinstance(body, wrapper)):
            request.end()
            return body
        return _Body(body, request)


class _Body:
    """A body that makes its parts, and is closed, in the unit of work of its request."""

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
