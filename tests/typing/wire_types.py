"""Carrying names across machines, and the types that a checker must see there. It also runs."""

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Annotated, Any, assert_type
from uuid import UUID

import xctx
import xctx.asgi
import xctx.dask
import xctx.django
import xctx.logging
import xctx.wsgi
from xctx import wire


class Current(xctx.xlocal):
    request_id: Annotated[str, xctx.carried]
    tenant: Annotated[UUID, xctx.carried("tenant-id", encode=str, decode=UUID)]
    attempts: Annotated[int, xctx.carried()] = 0
    deadline: Annotated[float, xctx.carried(accept=False)]


current = Current()


def declared() -> None:
    with current(request_id="r"):
        assert_type(current.request_id, str)
        assert_type(current.attempts, int)
    wire.declare(
        xctx.xlocal(), "a", b=int, c=xctx.carried("see"), d=Annotated[UUID, xctx.carried(encode=str, decode=UUID)]
    )


def out_and_in() -> None:
    headers = {"Accept": "*/*"}
    assert_type(wire.inject(headers), dict[str, str])
    assert_type(wire.inject(headers, current, report=print), dict[str, str])
    pairs: list[tuple[str, str]] = []
    assert_type(wire.inject(pairs), list[tuple[str, str]])
    arrived = wire.extract(headers, current)
    assert_type(arrived, xctx.Snapshot)
    assert_type(arrived.run(len, "abc"), int)
    with wire.extract(pairs), wire.extract(None):
        pass


def wsgi_application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    return [b""]


async def asgi_application(
    scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    pass


def middleware() -> None:
    assert_type(xctx.wsgi.Middleware(wsgi_application)({}, print), Iterable[bytes])
    xctx.asgi.Middleware(asgi_application, current, report=print)
    xctx.django.Middleware(print, current, report=print)
    ids = wire.RequestId(current, "request_id", header="Request-Id", valid=str.isalnum, make=lambda: "r")
    xctx.wsgi.Middleware(wsgi_application, accept=["request_id"], request_id=ids)
    xctx.asgi.Middleware(asgi_application, accept=(), request_id=ids)
    xctx.django.Middleware(print, accept={"request_id"}, request_id=wire.RequestId(current))
    assert_type(wire.extract({}, accept=["request_id"]), xctx.Snapshot)


class Client:
    event_hooks: dict[str, list[Any]] = {}


def clients() -> None:
    assert_type(xctx.httpx.install(Client(), current, report=print), Client)


def functions(a: int, b: str) -> float:
    return 0.5


def carried_to_workers() -> None:
    assert_type(xctx.dask.carrying(functions)(1, "b"), float)


def logs() -> None:
    handler = logging.NullHandler()
    handler.addFilter(xctx.logging.Filter(request_id=current, id=(current, "request_id"), missing=None))
    undo = xctx.logging.install(request_id=current)
    assert_type(undo, Callable[[], None])
    undo()
    xctx.logging.processor(request_id=current)(None, "info", {})["request_id"]


def misuses() -> None:
    xctx.carried(7)  # type: ignore[arg-type]
    xctx.carried(encode=str, decode=7)  # type: ignore[arg-type]
    wire.inject("headers")  # type: ignore[type-var]
    wire.inject({}, 7)  # type: ignore[arg-type]
    wire.extract({}, report=7)  # type: ignore[arg-type]
    xctx.wsgi.Middleware(7)  # type: ignore[arg-type]
    xctx.asgi.Middleware(wsgi_application)  # type: ignore[arg-type]
    xctx.django.Middleware(7)  # type: ignore[arg-type]
    wire.RequestId(current, make=7)  # type: ignore[arg-type]
    xctx.wsgi.Middleware(wsgi_application, request_id="id")  # type: ignore[arg-type]
    xctx.dask.carrying(functions)("a")  # type: ignore[call-arg, arg-type]


if __name__ == "__main__":
    declared()
    out_and_in()
    middleware()
    clients()
    carried_to_workers()
    logs()
