"""What the tests of the integrations carry, importable by every process that takes part."""

from typing import Annotated

import xctx


class Current(xctx.xlocal):
    request_id: Annotated[str, xctx.carried("request-id")]
    attempt: Annotated[int, xctx.carried]
    secret: str


current = Current()


def request_id():
    return getattr(current, "request_id", None)
