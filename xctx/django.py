"""Django: a request is a unit of work, and runs with what its headers carry to this service.

One line in the settings, the first of the list, so that all other middleware is in the unit of work as well::

    MIDDLEWARE = ["xctx.django.Middleware", ...]

It works under WSGI and ASGI, in ``runserver`` and in Django's test clients.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterator
from typing import Any, ClassVar

from xctx._stores.xlocal import xlocal
from xctx._wire.intake import Intake
from xctx._wire.report import Report
from xctx._wire.request import Request
from xctx._wire.request_id import RequestId

__all__ = ["Middleware"]


class Middleware:
    """Runs each request as a unit of work, with the carried names bound that its headers have.

    The middleware and views beneath are in the unit of work (:class:`xctx.work`), whether functions or coroutine
    functions, and so is the making of each part of a streamed body, in whatever thread or task Django does that. It
    ends when the response is closed, which the server does after the last byte, and also if the client hangs up.
    What is closed with the response and the receivers of ``request_finished`` are still in it. The names that a
    ``baggage`` header carries are bound for the same time.

    To name the xlocals, or give a report, write a function of the program's own in the list::

        def requests(get_response):
            return xctx.django.Middleware(get_response, current)

        requests.async_capable = True

    Args:
        get_response: what Django gives to each middleware.
        xlocals: those that may get something. Default: each that declares carried names.
        report: called with what was left out of a header, and why, in place of the log: see :mod:`xctx.wire`.
        accept, request_id: as for :class:`xctx.wsgi.Middleware`.

    Raises:
        TypeError: `get_response` cannot be called, one of `xlocals` carries nothing, or an argument is of another type.

    Thread-safety: may be called from any thread.
    """

    sync_capable: ClassVar[bool] = True
    async_capable: ClassVar[bool] = True

    def __init__(
        self,
        get_response: Callable[[Any], Any],
        /,
        *xlocals: xlocal,
        report: Report | None = None,
        accept: Collection[str] | None = None,
        request_id: RequestId | None = None,
    ) -> None:
        if not callable(get_response):
            raise TypeError(f"{get_response!r} cannot be called: Django's get_response was wanted")
        from asgiref.sync import iscoroutinefunction, markcoroutinefunction

        self.get_response = get_response
        self._intake = Intake(xlocals, report, accept, request_id)
        self._id_header = None if request_id is None else f"HTTP_{request_id.header.upper().replace('-', '_')}"
        self._is_awaited = iscoroutinefunction(get_response)
        if self._is_awaited:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        id_sent = None if self._id_header is None else request.META.get(self._id_header)
        snapshot, answer = self._intake.of(request.META.get("HTTP_BAGGAGE"), id_sent)
        scope = Request(snapshot)
        if self._is_awaited:
            return self._answer(request, scope, answer)
        try:
            return until_closed(answering(scope.run(self.get_response, request), answer), scope)
        except BaseException:
            scope.end()
            raise

    async def _answer(self, request: Any, scope: Request, answer: tuple[str, str] | None) -> Any:
        try:
            with scope:
                response = await self.get_response(request)
            return until_closed(answering(response, answer), scope)
        except BaseException:
            scope.end()
            raise


def answering(response: Any, answer: tuple[str, str] | None) -> Any:
    """The response with one more header, unless the views have set it."""
    if answer is not None:
        response.headers.setdefault(*answer)
    return response


def until_closed(response: Any, scope: Request) -> Any:
    """The response; its parts are made, and it is closed, in the unit of work of its request."""
    # The parts of a file that the server may send by itself are left as they are.
    if response.streaming and getattr(response, "file_to_stream", None) is None:
        parts = response.streaming_content
        response.streaming_content = _AsyncParts(parts, scope) if response.is_async else _Parts(parts, scope)
    response.close = _Closing(response, scope)
    return response


class _Parts:
    """The parts of a body, each made in a step. Django has already noted how to close the body."""

    __slots__ = ("_parts", "_scope")

    def __init__(self, parts: Iterator[bytes], scope: Request) -> None:
        self._parts = parts
        self._scope = scope

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        part: bytes = self._scope.run(next, self._parts)
        return part


class _AsyncParts:
    """The same of an asynchronous body."""

    __slots__ = ("_parts", "_scope")

    def __init__(self, parts: AsyncIterator[bytes], scope: Request) -> None:
        self._parts = parts
        self._scope = scope

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        with self._scope:
            return await anext(self._parts)


class _Closing:
    """A response's ``close``, in the last step of its unit of work."""

    __slots__ = ("_close", "_response", "_scope")

    def __init__(self, response: Any, scope: Request) -> None:
        self._response = response
        self._close: Callable[[], None] | None = response.close
        self._scope = scope

    def __call__(self) -> None:
        close = self._close
        self._response = self._close = None  # these refer to this object
        if close is None:
            return
        try:
            self._scope.run(close)
        finally:
            self._scope.end()

    def __reduce__(self) -> Any:
        # Django's cache keeps responses. One that is unpickled is closed as its class says: it has no attributes yet.
        return getattr, (self._response, "close")
