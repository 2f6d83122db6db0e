"""WSGI: a request is a unit of work, and runs with what its headers carry to this service (PEP 3333)."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from xctx._carry.snapshot import Snapshot, snapshot_of
from xctx._stores.works import WorkSteps
from xctx._stores.xlocal import xlocal
from xctx._wire.fields import chosen
from xctx._wire.incoming import arrived
from xctx._wire.report import Report

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
        header = environ.get("HTTP_BAGGAGE")
        values = arrived({"baggage": header}, self._xlocals, self._report) if header else None
        request = _Request(snapshot_of(values.items(), barriers=False) if values else None)
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


class _Request:
    """The unit of work of a request, and the names that arrived with it."""

    __slots__ = ("_snapshot", "_steps")

    def __init__(self, snapshot: Snapshot | None) -> None:
        self._snapshot = snapshot
        self._steps = WorkSteps(True)

    def run(self, func: Callable[..., Any], *args: Any) -> Any:
        if self._snapshot is not None:
            return self._steps.run(self._snapshot.run, (func, *args), {})
        return self._steps.run(func, args, {})

    def end(self) -> None:
        self._steps.close()


class _Body:
    """A body that makes its parts, and is closed, in the unit of work of its request."""

    __slots__ = ("_body", "_parts", "_request")

    def __init__(self, body: Iterable[bytes], request: _Request) -> None:
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
