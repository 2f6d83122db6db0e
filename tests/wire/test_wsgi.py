"""The WSGI middleware, behind real servers: the standard library's with a thread for each request, and gevent's."""

import http.client
import os
import socket
import struct
import threading
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest
from helpers.wsgi_servers import each_server
from wire_names import current, request_id

import xctx.wsgi

pytestmark = pytest.mark.usefixtures("nothing_stays_bound")


@pytest.fixture(params=each_server())
def serve(request):
    """serve(app): a context manager that gives the port of a server that runs."""
    return request.param


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


def plain(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [repr(vars(current)).encode()]


def test_a_request_runs_with_what_its_headers_carry_and_the_next_without(serve):
    with serve(validator(xctx.wsgi.Middleware(validator(plain)))) as port:
        assert get(port, ("Baggage", "request-id=r-1,secret=s,attempt=2;x=y")) == (
            200,
            "{'request_id': 'r-1', 'attempt': 2}",
        )
        assert get(port) == (200, "{}")
        assert (
            get(port, ("baggage", "request-id=r-1"), ("baggage", "attempt=2"))[1]
            == "{'request_id': 'r-1', 'attempt': 2}"
        )
        for rubbish in ("rubbish", "attempt=x", "request-id=" + "x" * 9000, "request-id=\xfc", ",;=%", ""):
            assert get(port, ("baggage", rubbish)) == (200, "{}")


def test_a_body_is_made_and_closed_with_them_and_the_server_has_none_between(serve):
    at = {"parts": [], "between": [], "closed": []}

    def stream(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        try:
            for number in range(3):
                at["parts"].append(request_id())
                yield f"{request_id()} {number}\n".encode()
        finally:
            at["closed"].append(request_id())

    def outer(environ, start_response):
        body = xctx.wsgi.Middleware(stream)(environ, start_response)
        at["between"].append(request_id())
        try:
            for part in body:
                at["between"].append(request_id())
                yield part
        finally:
            body.close()
            at["between"].append(request_id())

    with serve(outer) as port:
        assert get(port, ("baggage", "request-id=r")) == (200, "r 0\nr 1\nr 2\n")
    assert at == {"parts": ["r"] * 3, "between": [None] * 5, "closed": ["r"]}


def test_requests_at_the_same_time_are_kept_apart(serve):
    arrived = {name: threading.Event() for name in "ab"}
    seen = []

    def stream(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        name, other = request_id(), "ab".replace(request_id(), "")
        yield name.encode()
        arrived[name].set()
        while not arrived[other].is_set():  # both are in the middle of their bodies
            yield b"."
            if "gevent" in environ["SERVER_SOFTWARE"]:
                import gevent

                gevent.sleep(0.001)
            else:
                arrived[other].wait(0.001)
        seen.append((name, request_id()))
        yield request_id().encode()

    with serve(xctx.wsgi.Middleware(stream)) as port:
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
    assert sorted(seen) == [("a", "a"), ("b", "b")]
    assert {name: body.replace(".", "") for name, body in bodies.items()} == {"a": "aa", "b": "bb"}


def test_a_client_that_goes_away_closes_the_body_with_them_bound(serve):
    closed = []
    done = threading.Event()

    def stream(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        try:
            while True:
                yield b"x" * 100_000
        finally:
            closed.append(request_id())
            done.set()

    with serve(xctx.wsgi.Middleware(stream)) as port:
        client = socket.create_connection(("127.0.0.1", port), timeout=60)
        client.sendall(b"GET / HTTP/1.0\r\nBaggage: request-id=r\r\n\r\n")
        assert client.recv(10)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if os.name == "nt" else "ii", 1, 0))
        client.close()
        assert done.wait(60)
    assert closed == ["r"]


def test_an_application_that_raises_or_writes(serve):
    def fails(environ, start_response):
        raise LookupError(request_id())

    def writes(environ, start_response):
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        write(request_id().encode())
        return ()

    with serve(xctx.wsgi.Middleware(writes)) as port:
        assert get(port, ("baggage", "request-id=r")) == (200, "r")
    with pytest.raises(LookupError, match="r"):
        xctx.wsgi.Middleware(fails)({"HTTP_BAGGAGE": "request-id=r"}, None)


def test_bodies_that_servers_look_at_are_handed_on_as_they_are(tmp_path):
    environ = {"HTTP_BAGGAGE": "request-id=r", "wsgi.file_wrapper": FileWrapper}
    with open(__file__, "rb") as file:
        for body in ([b"a"], (b"a", b"b"), FileWrapper(file)):
            assert xctx.wsgi.Middleware(lambda environ, start, body=body: body)(environ, None) is body
    assert list(xctx.wsgi.Middleware(lambda environ, start: iter([b"a"]))(environ, None)) == [b"a"]
    xctx.wsgi.Middleware(lambda environ, start: iter([b"a"]))(environ, None).close()  # has none itself


def test_a_body_may_be_iterated_in_another_unit(other_unit, unit_kind):
    def stream(environ, start_response):
        yield request_id()

    body = xctx.wsgi.Middleware(stream)({"HTTP_BAGGAGE": "request-id=r"}, None)
    assert other_unit(lambda: list(body)) == ["r"]
    assert request_id() is None


def test_only_the_xlocals_that_are_named_and_a_report():
    other = xctx.xlocal()
    xctx.wire.declare(other, "other")
    dropped = []
    app = xctx.wsgi.Middleware(
        lambda environ, start: [vars(other), vars(current)], other, report=lambda what, why: dropped.append(what)
    )
    assert app({"HTTP_BAGGAGE": "other=1,request-id=r,rubbish"}, None) == [{"other": "1"}, {}]
    assert dropped == ["rubbish"]
    with pytest.raises(TypeError, match="carries nothing"):
        xctx.wsgi.Middleware(plain, xctx.xlocal())
    with pytest.raises(TypeError, match="a WSGI application was wanted"):
        xctx.wsgi.Middleware(None)


# --- units of work ---------------------------------------------------------------------------------------------------

kept = xctx.local(key=xctx.keys.work)


def test_a_request_is_a_unit_of_work_until_its_body_is_closed(serve):
    units = []

    def app(environ, start_response):
        assert not vars(kept)
        kept.unit = xctx.work.current()
        units.append(kept.unit)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return stream()

    def stream():
        try:
            for _ in range(3):
                assert xctx.work.current() is kept.unit
                yield b"x"
        finally:
            units.append(kept.unit)  # as it is closed

    with serve(validator(xctx.wsgi.Middleware(validator(app)))) as port:
        for _ in range(3):
            assert get(port) == (200, "xxx")
    assert [(unit.kind, unit.alive) for unit in units] == [("work", False)] * 6
    assert len(set(units)) == 3


def test_a_list_ends_it_at_once_and_stays_a_list():
    def app(environ, start_response):
        kept.unit = xctx.work.current()
        units.append(kept.unit)
        if environ:
            raise LookupError("on purpose")
        return [b"x"]

    units = []
    app = xctx.wsgi.Middleware(app)
    assert app({}, None) == [b"x"]
    with pytest.raises(LookupError):
        app({"raise": True}, None)
    assert [unit.alive for unit in units] == [False, False]


def test_what_it_left_bound_the_next_request_of_that_thread_does_not_see():
    x = xctx.xlocal()

    def app(environ, start_response):
        seen.append(vars(x))
        x(a=1).__enter__()
        yield b"a"
        seen.append(vars(x))
        yield b"b"

    seen = []
    app = xctx.wsgi.Middleware(app)
    for _ in range(2):
        body = app({}, None)
        list(body)
        body.close()
    assert seen == [{}, {"a": 1}] * 2
    assert not vars(x)


def test_a_body_that_is_closed_in_a_block_leaves_that_open():
    """As a client in a test does, in the thread in which the application ran."""

    def app(environ, start_response):
        bound(left="open").__enter__()
        return iter([b"a", b"b"])

    bound = xctx.xlocal()
    body = xctx.wsgi.Middleware(app)({}, None)
    assert next(body) == b"a"
    with bound(user="of the test"):
        body.close()
        assert vars(bound) == {"user": "of the test"}
    assert vars(bound) == {}
