"""WSGI (PEP 3333): each request is a unit of work, and runs with the names that its headers carry."""

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
    """Runs each request of a WSGI application as a unit of work, with the names bound that its headers carry::

        app = xctx.wsgi.Middleware(app)

    The application is called in the unit of work (:class:`xctx.work`). It also makes each part of the body, and closes
    the body, in that unit of work, in whatever thread or greenlet the server asks for it. In between, when the server
    runs, nothing is bound. The unit of work ends when the server has closed the body, or as soon as the application has
    returned a list, a tuple or a file that the server sends. The names that a ``baggage`` header carries are bound for
    the same time.

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
        # Servers look at the type: how long a list is, or whether a file can be sent in one go. Sending these runs no
        # code of the application.
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
    """A body whose parts are made, and which is closed, in the unit of work of its request."""

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
