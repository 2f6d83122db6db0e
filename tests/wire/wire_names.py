"""What the tests of the integrations carry, importable by every process that takes part."""

import uuid
from typing import Annotated, Any

import xctx
from xctx import wire
from xctx._wire import fields


class Current(xctx.xlocal):
    request_id: Annotated[str, xctx.carried("request-id")]
    attempt: Annotated[int, xctx.carried]
    secret: str


current = Current()


def request_id():
    return getattr(current, "request_id", None)


def sent():
    return wire.inject({}, current)


def came(carrier, *stores, report=None):
    """What extract takes out of a carrier, by xlocal and name: what each that gets anything shows where it is bound."""
    snapshot = wire.extract(carrier, *stores, report=report)
    seen = [(store, snapshot.run(vars, store)) for store in stores or [store for store, _ in fields.carriers()]]
    return {store: names for store, names in seen if names}


class Everything(xctx.xlocal):
    request_id: Annotated[str, xctx.carried]
    tenant: Annotated[uuid.UUID, xctx.carried("tenant-id", encode=str, decode=uuid.UUID)]
    retries: Annotated[int, xctx.carried] = 0
    ratio: Annotated[float, xctx.carried]
    tags: Annotated[list[str] | dict[str, Any] | None, xctx.carried]
    anything: Annotated[Any, xctx.carried]
    user: object = None
