"""gRPC: calls of a channel send the carried names along, in their metadata.

A server takes them in by ``with xctx.wire.extract(context.invocation_metadata()):``.
"""

from collections.abc import Callable
from typing import Any

from xctx._stores.xlocal import xlocal
from xctx._wire.fields import chosen
from xctx._wire.report import Report
from xctx.wire import inject

__all__ = ["aio_interceptors", "interceptor"]

METHODS = ("intercept_unary_unary", "intercept_unary_stream", "intercept_stream_unary", "intercept_stream_stream")


def interceptor(*xlocals: xlocal, report: Report | None = None) -> Any:
    """An interceptor that sends along, with each call of a channel, the carried names bound where it is made::

        channel = grpc.intercept_channel(channel, xctx.grpc.interceptor())

    Args:
        xlocals: those whose bindings go. Default: each that declares carried names.
        report: called with what was left out, and why, in place of the log: see :mod:`xctx.wire`.

    Returns:
        An interceptor of calls of all four kinds.

    Raises:
        ImportError: grpcio is not installed.
        TypeError: one of `xlocals` carries nothing.

    Thread-safety: may be called in any thread.
    """
    import grpc

    chosen(xlocals)

    def intercept(self: Any, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        metadata = inject(list(details.metadata or ()), *xlocals, report=report)
        return continuation(_Details(details, metadata), request)

    bases = (
        grpc.UnaryUnaryClientInterceptor,
        grpc.UnaryStreamClientInterceptor,
        grpc.StreamUnaryClientInterceptor,
        grpc.StreamStreamClientInterceptor,
    )
    return type("Interceptor", bases, dict.fromkeys(METHODS, intercept))()


def aio_interceptors(*xlocals: xlocal, report: Report | None = None) -> list[Any]:
    """The same for channels of ``grpc.aio``, which take a list::

        channel = grpc.aio.insecure_channel(address, interceptors=xctx.grpc.aio_interceptors())

    Args:
        xlocals, report: as for :func:`interceptor`.

    Returns:
        One interceptor for each of the four kinds of calls.

    Raises:
        ImportError: grpcio is not installed.
        TypeError: one of `xlocals` carries nothing.

    Thread-safety: may be called in any thread.
    """
    import grpc.aio

    chosen(xlocals)

    async def intercept(self: Any, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        metadata = grpc.aio.Metadata(*inject(list(details.metadata or ()), *xlocals, report=report))
        return await continuation(details._replace(metadata=metadata), request)

    # Its channels call an object as one of these four, even if it could be more.
    bases = (
        grpc.aio.UnaryUnaryClientInterceptor,
        grpc.aio.UnaryStreamClientInterceptor,
        grpc.aio.StreamUnaryClientInterceptor,
        grpc.aio.StreamStreamClientInterceptor,
    )
    return [type("Interceptor", (base,), {name: intercept})() for name, base in zip(METHODS, bases, strict=True)]


class _Details:
    """The details of a call with other metadata. To grpc, any object with these attributes will do."""

    def __init__(self, details: Any, metadata: Any) -> None:
        self._details = details
        self.metadata = metadata

    def __getattr__(self, name: str) -> Any:
        return getattr(self._details, name)
