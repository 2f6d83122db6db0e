"""WSGI: a request runs with what its headers carry to this service (PEP 3333)."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from xctx._carry.snapshot import Snapshot, snapshot_of
from xctx._stores.xlocal import xlocal
from xctx._wire.fields import chosen
from xctx._wire.incoming import arrived
from xctx._wire.report import Report

__all__ = ["Middleware"]

_App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Middleware:
    """Runs a WSGI application with the carried names bound that a request's ``baggage`` header has::

        app = xctx.wsgi.Middleware(app)

    They are bound while the application is called, each time it yields a part of the body, and while the body is
    closed, in any thread or greenlet in which the server does that; never in between, when the server runs.

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
        if not header:
            return self.app(environ, start_response)
        values = arrived({"baggage": header}, self._xlocals, self._report)
        if not values:
            return self.app(environ, start_response)
        snapshot = snapshot_of(values.items(), barriers=False)
        body = snapshot.run(self.app, environ, start_response)
        # Servers look at what these are: how long a list is, or whether a file can be sent at once. None of this
        # runs code of the application.
        wrapper = environ.get("wsgi.file_wrapper")
        if type(body) in (list, tuple) or (isinstance(wrapper, type) and isinstance(body, wrapper)):
            return body
        return _Body(body, snapshot)


class _Body:
    """A body that makes its parts, and is closed, with the names bound that arrived."""

    __slots__ = ("_body", "_parts", "_snapshot")

    def __init__(self, body: Iterable[bytes], snapshot: Snapshot) -> None:
        self._body = body
        self._snapshot = snapshot
        self._parts: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._parts is None:
            self._parts = self._snapshot.run(iter, self._body)
        return self._snapshot.run(next, self._parts)

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            self._snapshot.run(close)
