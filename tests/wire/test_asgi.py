"""The ASGI middleware, behind uvicorn and hypercorn."""

import asyncio
import contextlib
import http.client
import os
import socket
import struct
import threading

import pytest
from helpers.asgi_servers import each_server
from wire_names import current, request_id

import xctx.asgi

pytestmark = pytest.mark.usefixtures("nothing_stays_bound")


@pytest.fixture(params=each_server())
def serve(request):
    """serve(app): starts a server in a thread, and gives its port."""
    with contextlib.ExitStack() as stack:
        yield lambda app: stack.enter_context(request.param(app))


def get(port, *headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.putrequest("GET", "/")
    for name, value in headers:
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body.decode()


async def lifespan(receive, send):
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


def application(handle):
    """An ASGI application, inside the middleware, whose requests `handle` answers."""

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
        else:
            await handle(scope, receive, send)

    return xctx.asgi.Middleware(app)


async def start(send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})


async def part(send, text, more=True):
    await send({"type": "http.response.body", "body": text.encode(), "more_body": more})


def test_a_request_runs_with_what_its_headers_carry_and_the_next_without(serve):
    async def handle(scope, receive, send):
        await start(send)
        await part(send, repr(vars(current)), more=False)

    port = serve(application(handle))
    assert get(port, ("Baggage", "request-id=r-1,secret=s,attempt=2;x=y")) == (
        200,
        "{'request_id': 'r-1', 'attempt': 2}",
    )
    assert get(port) == (200, "{}")
    assert (
        get(port, ("baggage", "request-id=r-1"), ("Baggage", "attempt=2"))[1] == "{'request_id': 'r-1', 'attempt': 2}"
    )
    for rubbish in ("rubbish", "attempt=x", "request-id=" + "x" * 9000, "request-id=\xfc", ",;=%", ""):
        assert get(port, ("baggage", rubbish)) == (200, "{}")


def test_requests_at_the_same_time_stream_each_with_its_own(serve):
    arrived = {}

    async def handle(scope, receive, send):
        name = request_id()
        for each in "ab":
            arrived.setdefault(each, asyncio.Event())
        await start(send)
        await part(send, name)
        arrived[name].set()
        await arrived["ab".replace(name, "")].wait()  # both are in the middle of their bodies
        inherited = await asyncio.create_task(said())
        for _ in range(3):
            await asyncio.sleep(0)
            await part(send, request_id())
        await part(send, inherited, more=False)

    async def said():
        return request_id()

    port = serve(application(handle))
    bodies = {}
    threads = [
        threading.Thread(
            target=lambda name=name: bodies.update({name: get(port, ("baggage", f"request-id={name}"))[1]})
        )
        for name in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bodies == {"a": "aaaaa", "b": "bbbbb"}


def test_a_client_that_goes_away(serve):
    said = []
    done = threading.Event()

    async def handle(scope, receive, send):
        try:
            await start(send)
            await part(send, "x")
            while (await receive())["type"] != "http.disconnect":
                pass
            said.append(request_id())
            raise LookupError("nobody is there")
        finally:
            said.append(request_id())
            done.set()

    port = serve(application(handle))
    client = socket.create_connection(("127.0.0.1", port), timeout=60)
    client.sendall(b"GET / HTTP/1.1\r\nHost: here\r\nBaggage: request-id=r\r\n\r\n")
    assert client.recv(10)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if os.name == "nt" else "ii", 1, 0))
    client.close()
    assert done.wait(60)
    assert said == ["r", "r"]


def test_a_websocket_has_them_as_long_as_it_is_open(serve):
    from websockets.sync.client import connect

    async def handle(scope, receive, send):
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        while (await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": str(request_id())})

    port = serve(application(handle))
    with (
        connect(f"ws://127.0.0.1:{port}/", additional_headers={"Baggage": "request-id=a"}) as one,
        connect(f"ws://127.0.0.1:{port}/", additional_headers={"Baggage": "request-id=b"}) as two,
        connect(f"ws://127.0.0.1:{port}/") as three,
    ):
        for _ in range(3):
            for each, name in ((one, "a"), (two, "b"), (three, "None")):
                each.send("who?")
                assert each.recv(timeout=60) == name


def test_the_lifespan_runs_without(serve):
    said = []

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            said.append(request_id())
            await lifespan(receive, send)
        else:
            await start(send)
            await part(send, str(request_id()), more=False)

    assert get(serve(xctx.asgi.Middleware(app)), ("baggage", "request-id=r")) == (200, "r")
    assert said == [None]


def test_only_the_xlocals_that_are_named_and_a_report(serve):
    other = xctx.xlocal()
    xctx.wire.declare(other, "other")
    dropped = []

    async def handle(scope, receive, send):
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        await start(send)
        await part(send, f"{vars(other)} {vars(current)}", more=False)

    port = serve(xctx.asgi.Middleware(handle, other, report=lambda what, why: dropped.append(what)))
    assert get(port, ("baggage", "other=1,request-id=r,rubbish")) == (200, "{'other': '1'} {}")
    assert dropped == ["rubbish"]
    with pytest.raises(TypeError, match="carries nothing"):
        xctx.asgi.Middleware(handle, xctx.xlocal())
    with pytest.raises(TypeError, match="an ASGI application was wanted"):
        xctx.asgi.Middleware(None)


# --- units of work ---------------------------------------------------------------------------------------------------

kept = xctx.local(key=xctx.keys.work)
bound = xctx.xlocal()


class Value:
    """Tells when it dies."""

    def __init__(self, died):
        self.died = died

    def __del__(self):
        self.died.set()


def test_a_request_is_a_unit_of_work_until_its_last_byte(serve):
    units, died = [], threading.Event()

    async def handle(scope, receive, send):
        before = dict(vars(kept)), vars(bound), xctx.work.current() in units
        units.append(xctx.work.current())
        await asyncio.to_thread(setattr, kept, "user", "ada")  # as a dependency in a thread pool does
        kept.value = Value(died)
        bound(left="open").__enter__()
        await start(send)
        await part(send, repr(before))
        await asyncio.create_task(later())
        assert not died.is_set()
        await part(send, kept.user, more=False)
        await asyncio.sleep(0)
        kept.user

    async def later():
        kept.user = kept.user.title()

    port = serve(application(handle))
    for _ in range(3):
        died.clear()
        assert get(port) == (200, "({}, {}, False)Ada")
        assert died.wait(60)
    assert not any(unit.alive for unit in units)


def test_a_client_that_hangs_up_ends_it(serve):
    died = threading.Event()

    async def handle(scope, receive, send):
        kept.value = Value(died)
        await start(send)
        await part(send, "x")
        while (await receive())["type"] != "http.disconnect":
            pass

    port = serve(application(handle))
    client = socket.create_connection(("127.0.0.1", port), timeout=60)
    client.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
    assert client.recv(10)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    assert died.wait(60)


def test_one_that_raises_ends_it(serve):
    died = threading.Event()

    async def handle(scope, receive, send):
        kept.value = Value(died)
        raise LookupError("on purpose")

    assert get(serve(application(handle)))[0] == 500
    assert died.wait(60)


def test_a_websocket_is_one_and_each_message_may_be_one(serve, eventually):
    from websockets.sync.client import connect

    died, units = threading.Event(), []

    async def handle(scope, receive, send):
        units.append(xctx.work.current())
        kept.value, kept.texts = Value(died), []
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            kept.texts.append(message["text"])
            seen = list(kept.texts)
            with xctx.work():
                found = dict(vars(kept))
                await asyncio.to_thread(setattr, kept, "text", message["text"])
                bound(left="open").__enter__()
                await send({"type": "websocket.send", "text": f"{seen} {found} {kept.text}"})
            assert not vars(bound)

    port = serve(application(handle))
    with connect(f"ws://127.0.0.1:{port}/") as one, connect(f"ws://127.0.0.1:{port}/") as two:
        for client, text, answer in ((one, "a", "['a']"), (two, "b", "['b']"), (one, "c", "['a', 'c']")):
            client.send(text)
            assert client.recv(timeout=60) == f"{answer} {{}} {text}"
        one.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.socket.close()  # hangs up, without saying so
        assert died.wait(60)
        died.clear()
    assert died.wait(60)
    eventually(lambda: [unit.alive for unit in units] == [False] * 2)
