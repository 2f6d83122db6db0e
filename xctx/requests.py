"""requests: requests of a session send the carried names along."""

from typing import Any, TypeVar

from xctx._stores.xlocal import xlocal
from xctx._wire.fields import chosen
from xctx._wire.report import Report
from xctx.wire import inject

__all__ = ["install"]

_S = TypeVar("_S")


def install(session: _S, *xlocals: xlocal, report: Report | None = None) -> _S:
    """From now on each request of this session has the carried names that are bound where it is made::

        session = xctx.requests.install(requests.Session())

    A redirection is a request too. Requests to services of others have the names as well: use another session for
    these. A copy of the session that was pickled does not do this.

    Args:
        session: a ``requests.Session``.
        xlocals: those whose bindings go. Default: each that declares carried names.
        report: called with what was left out, and why, in place of the log: see :mod:`xctx.wire`.

    Returns:
        The session.

    Raises:
        TypeError: `session` cannot send requests, or one of `xlocals` carries nothing.

    Thread-safety: call it once, before others use the session.
    """
    chosen(xlocals)
    send = getattr(session, "send", None)
    if not callable(send) or not hasattr(session, "adapters"):
        raise TypeError(f"{session!r} cannot send requests: a requests.Session was wanted")

    def send_with_names(request: Any, **kwargs: Any) -> Any:
        inject(request.headers, *xlocals, report=report)
        return send(request, **kwargs)

    session.send = send_with_names  # type: ignore[attr-defined]
    return session
