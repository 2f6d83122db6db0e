"""httpx: requests of a client send the carried names along."""

from typing import Any, TypeVar

from xctx._stores.xlocal import xlocal
from xctx._wire.fields import chosen
from xctx._wire.report import Report
from xctx.wire import inject

__all__ = ["install"]

_C = TypeVar("_C")


def install(client: _C, *xlocals: xlocal, report: Report | None = None) -> _C:
    """From now on each request of this client has the carried names that are bound where it is made::

        client = xctx.httpx.install(httpx.AsyncClient())

    A redirection is a request too. Requests to services of others have the names as well: use another client for
    these.

    Args:
        client: an ``httpx.Client`` or ``httpx.AsyncClient``.
        xlocals: those whose bindings go. Default: each that declares carried names.
        report: called with what was left out, and why, in place of the log: see :mod:`xctx.wire`.

    Returns:
        The client.

    Raises:
        TypeError: `client` has no event hooks, or one of `xlocals` carries nothing.

    Thread-safety: call it once, before others use the client.
    """
    chosen(xlocals)
    hooks = getattr(client, "event_hooks", None)
    if not isinstance(hooks, dict):
        raise TypeError(f"{client!r} has no event hooks: an httpx.Client or AsyncClient was wanted")

    def before(request: Any) -> None:
        inject(request.headers, *xlocals, report=report)

    async def before_async(request: Any) -> None:
        before(request)

    is_async = hasattr(client, "aclose")
    client.event_hooks = {**hooks, "request": [*hooks.get("request", ()), before_async if is_async else before]}  # type: ignore[attr-defined]
    return client
