"""Flask: one line makes each request a unit of work, ``app.wsgi_app = xctx.wsgi.Middleware(app.wsgi_app)``."""

import gc
import http.client
import socket
import struct

import flask
import pytest
from helpers.wsgi_servers import each_server
from wire_names import request_id

import xctx.wsgi

pytestmark = pytest.mark.usefixtures("nothing_stays_bound")

kept = xctx.local(key=xctx.keys.work)
current = xctx.xlocal()


@pytest.fixture
def site():
    """A Flask application, with lists of the units of its requests and of who was known at their ends."""
    app = flask.Flask(__name__)
    app.wsgi_app = xctx.wsgi.Middleware(app.wsgi_app)
    app.logger.disabled = True  # pytest would keep what was raised
    app.units, app.closed, app.torn_down = [], [], []

    @app.before_request
    def authenticate():
        assert not vars(kept) and not vars(current)
        app.units.append(xctx.work.current())
        kept.user = flask.request.args["user"]
        current(left="open").__enter__()

    @app.teardown_request
    def tear_down(exc):
        app.torn_down.append(kept.user)

    @app.get("/view")
    def view():
        return {"user": kept.user, "id": request_id(), "bound": sorted(vars(current))}

    @app.get("/raises")
    def raises():
        raise LookupError("on purpose")

    @app.get("/stream/<int:parts>")
    def stream(parts):
        @flask.stream_with_context
        def body():
            try:
                for _ in range(parts):
                    yield f"{kept.user} {request_id()} {flask.request.args['user']}\n".encode() * (
                        1 if parts == 3 else 9999
                    )
            finally:
                app.closed.append(kept.user)

        return body()

    yield app
    gc.collect()  # what was raised is in a cycle


def is_over(app):
    return not any(unit.alive for unit in app.units)


def test_what_is_known_in_the_middle_is_there_until_the_body_is_closed(site):
    client = site.test_client()
    for user in ("ada", "bob"):
        asked = {"query_string": {"user": user}, "headers": {"baggage": f"request-id=r-{user}"}}
        # This one is dropped, and not closed.
        assert client.get("/view", **asked).json == {"user": user, "id": f"r-{user}", "bound": ["left"]}
        assert is_over(site)
        with client.get("/stream/3", **asked) as answer:
            assert answer.text == f"{user} r-{user} {user}\n" * 3
        assert is_over(site)
        with client.get("/raises", **asked) as answer:
            assert answer.status_code == 500
        assert is_over(site)
        assert xctx.work.current() is None and not vars(current)
    assert [*dict.fromkeys(site.torn_down)] == ["ada", "bob"]
    assert site.closed == ["ada", "bob"]


@pytest.mark.parametrize("server", each_server())
def test_behind_a_server(site, server, eventually):
    with server(site) as port:
        for user in ("ada", "bob"):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            for path, says in ((f"/view?user={user}", '"user":"'), (f"/stream/3?user={user}", "")):
                connection.request("GET", path)
                assert f"{says}{user}" in connection.getresponse().read().decode()
            connection.close()
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            client.sendall(b"GET /stream/1000000?user=hasty HTTP/1.0\r\n\r\n")
            assert client.recv(10)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        eventually(lambda: site.closed == ["ada", "bob", "hasty"] and is_over(site))
        assert len(site.units) == 5
