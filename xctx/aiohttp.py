"""aiohttp: requests of a client session send the carried names along."""

from typing import Any

from xctx._stores.xlocal import xlocal
from xctx._wire.fields import chosen
from xctx._wire.report import Report
from xctx.wire import inject

__all__ = ["trace_config"]


def trace_config(*xlocals: xlocal, report: Report | None = None) -> Any:
    """A trace config that sends along, with each request of a session, the carried names bound where it is made::

        session = aiohttp.ClientSession(trace_configs=[xctx.aiohttp.trace_config()])

    A redirection has the names of its request.

    Args:
        xlocals: those whose bindings go. Default: each that declares carried names.
        report: called with what was left out, and why, in place of the log: see :mod:`xctx.wire`.

    Returns:
        An ``aiohttp.TraceConfig``.

    Raises:
        ImportError: aiohttp is not installed.
        TypeError: one of `xlocals` carries nothing.

    Thread-safety: may be called in any thread.
    """
    from aiohttp import TraceConfig

    chosen(xlocals)

    async def before(session: Any, context: Any, params: Any) -> None:
        inject(params.headers, *xlocals, report=report)

    config = TraceConfig()
    config.on_request_start.append(before)
    return config
