"""The middlewares accept, make and validate the id of a request, bind it, and answer with it."""

import asyncio
import contextlib
import re
import uuid
from typing import Annotated

import pytest

import xctx
from xctx import wire
from xctx.wire import RequestId


class Current(xctx.xlocal):
    request_id: str
    trace: Annotated[uuid.UUID, xctx.carried("trace-id")]
    name: Annotated[str, xctx.carried]


current = Current()
UUID = "12345678-1234-5678-1234-567812345678"


def by_wsgi(request_id, headers=(), own=(), name="request_id"):
    """What the application sees and what the client gets, as (bound, while streaming, headers)."""
    seen = []

    def app(environ, start_response):
        seen.append(getattr(current, name, None))
        start_response("200 OK", [("Content-Type", "text/plain"), *own])

        def body():
            seen.append(getattr(current, name, None))
            yield b""

        return body()

    got = []
    environ = {f"HTTP_{key.upper().replace('-', '_')}": value for key, value in headers}
    served = xctx.wsgi.Middleware(app, current, request_id=request_id)
    body = served(environ, lambda status, answered, exc_info=None: got.extend(answered))
    with contextlib.closing(body):
        list(body)
    return seen[0], seen[1], [(key.lower(), value) for key, value in got][1:]


def by_asgi(request_id, headers=(), own=(), name="request_id", kind="http", beginning="http.response.start"):
    seen, got = [], []

    async def app(scope, receive, send):
        seen.append(getattr(current, name, None))
        await send({"type": beginning, "status": 200, "headers": [(k.encode(), v.encode()) for k, v in own]})
        await send({"type": "http.response.body", "body": b""})
        seen.append(getattr(current, name, None))

    async def send(message):
        got.append(message)

    scope = {"type": kind, "headers": [(key.lower().encode(), value.encode("latin-1")) for key, value in headers]}
    asyncio.run(xctx.asgi.Middleware(app, current, request_id=request_id)(scope, None, send))
    assert got[1] == {"type": "http.response.body", "body": b""}
    return seen[0], seen[1], [(key.decode().lower(), value.decode()) for key, value in got[0]["headers"]]


pytestmark = pytest.mark.usefixtures("nothing_stays_bound")
both = pytest.mark.parametrize("served", [by_wsgi, by_asgi])


@both
def test_an_id_from_the_client_is_bound_and_answered(served):
    assert served(RequestId(current), [("X-Request-ID", "r-1")]) == ("r-1", "r-1", [("x-request-id", "r-1")])


@both
def test_one_is_made_where_none_came(served):
    first, while_streaming, headers = served(RequestId(current))
    assert first == while_streaming and re.fullmatch("[0-9a-f]{32}", first)
    assert headers == [("x-request-id", first)]
    assert served(RequestId(current))[0] != first
    made = RequestId(current, header="Request-Id", make=lambda: "made-1")
    assert served(made) == ("made-1", "made-1", [("request-id", "made-1")])


@both
@pytest.mark.parametrize(
    "wrong", ["", " ", "a b", "a" * 129, "ä", 'a"b', "a,b", "a\r\nX: y", "a\0b", "<script>", "a;b", "%41", "\x7f"]
)
def test_what_is_no_id_is_not_used(served, wrong):
    bound, _, headers = served(RequestId(current, make=lambda: "made"), [("X-Request-ID", wrong)])
    assert bound == "made" and headers == [("x-request-id", "made")]


@both
def test_the_program_judges(served):
    mine = RequestId(current, valid=lambda text: text.startswith("r"), make=lambda: "made")
    assert served(mine, [("X-Request-ID", "r<1>")])[0] == "r<1>"
    assert served(mine, [("X-Request-ID", "s-1")])[0] == "made"
    assert served(mine, [("X-Request-ID", "r\r\nX: y")])[0] == "made"


@both
def test_none_is_accepted_from_outside_if_the_program_says_so(served):
    closed = RequestId(current, "name", accept=False, make=lambda: "made")
    assert served(closed, [("X-Request-ID", "r"), ("baggage", "name=n")], name="name")[0] == "made"


@both
def test_two_headers_are_no_id(served):
    if served is by_asgi:
        twice = [("X-Request-ID", "a"), ("X-Request-ID", "b")]
    else:
        twice = [("X-Request-ID", "a,b")]  # as servers join them
    assert served(RequestId(current, make=lambda: "made"), twice)[0] == "made"


@both
def test_the_header_of_the_application_stays(served):
    own = [("x-request-ID", "mine")]
    assert served(RequestId(current), [("X-Request-ID", "r")], own=own)[2] == [("x-request-id", "mine")]


@both
def test_an_id_that_is_carried_is_of_its_type_and_comes_by_the_baggage_too(served):
    ids = RequestId(current, "trace")
    assert served(ids, [("X-Request-ID", UUID)], name="trace")[0] == uuid.UUID(UUID)
    assert served(ids, [("baggage", f"trace-id={UUID}")], name="trace") == (
        uuid.UUID(UUID), uuid.UUID(UUID), [("x-request-id", UUID)],
    )  # fmt: skip
    bound, _, headers = served(ids, [("X-Request-ID", "r-1")], name="trace")
    assert isinstance(bound, uuid.UUID) and headers == [("x-request-id", bound.hex)]


@both
def test_what_came_by_the_baggage_does_not_end_the_header(served):
    ids = RequestId(current, "name", make=lambda: "made")
    for text in ("a%0D%0AX:%20y", "%00", "", "a%20b"):
        bound, _, headers = served(ids, [("baggage", f"name={text}")], name="name")
        assert bound == "made" and headers == [("x-request-id", "made")]


@pytest.mark.parametrize("beginning", ["websocket.accept", "websocket.http.response.start"])
def test_websockets_are_answered_with_it(beginning):
    answered = by_asgi(RequestId(current), [("X-Request-ID", "r")], kind="websocket", beginning=beginning)
    assert answered == ("r", "r", [("x-request-id", "r")])


def test_an_id_that_cannot_be_answered_is_a_mistake_of_the_program():
    for made in ("a b", "", "a\n", None):
        with pytest.raises(ValueError, match="printable ASCII without spaces was wanted"):
            by_wsgi(RequestId(current, make=lambda made=made: made))


def test_arguments_are_checked():
    with pytest.raises(TypeError, match="is no xlocal"):
        RequestId(xctx.local())
    with pytest.raises(TypeError, match="declares no name 'id'"):
        RequestId(current, "id")
    with pytest.raises(ValueError, match="'X: y' cannot be the name of a header"):
        RequestId(current, header="X: y")
    for wrong in ({"valid": 7}, {"make": 7}):
        with pytest.raises(TypeError, match="7 cannot be called"):
            RequestId(current, **wrong)
    with pytest.raises(TypeError, match=r"'request_id' is no xctx\.wire\.RequestId"):
        xctx.wsgi.Middleware(print, current, request_id="request_id")


def test_it_goes_on_to_the_next_service():
    def app(environ, start_response):
        return [wire.inject({}, current)]

    served = xctx.wsgi.Middleware(app, current, request_id=RequestId(current, "name"))
    assert served({"HTTP_X_REQUEST_ID": "r"}, print) == [{"baggage": "name=r"}]
