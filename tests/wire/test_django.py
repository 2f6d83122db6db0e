"""The Django middleware, under WSGI and ASGI: in its test clients, and behind servers."""

import asyncio
import contextlib
import contextvars
import gc
import http.client
import json
import logging
import socket
import struct
import threading

import pytest
from helpers.asgi_servers import each_server as asgi_servers
from helpers.packages import installed
from helpers.wsgi_servers import each_server as wsgi_servers

if not installed("django"):
    pytest.skip("Django is not installed here", allow_module_level=True)

import django_views
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.test import AsyncClient, Client, RequestFactory, override_settings
from wire_names import request_id

import xctx.django

pytestmark = [
    pytest.mark.usefixtures("nothing_stays_bound"),
    # A body of the other kind than the server is; it is served all the same.
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume:Warning"),
]

OURS = "xctx.django.Middleware"
PLAIN = "django_views.plain"
AWAITED = "django_views.Awaited"
ADAPTED = "django.middleware.gzip.GZipMiddleware"  # both
STACKS = {
    "plain": [OURS, PLAIN],
    "awaited": [OURS, AWAITED],
    "beneath plain": ["django_views.unknowing", OURS, PLAIN],
    "beneath plain, awaited": ["django_views.unknowing", OURS, AWAITED],
    "both": [OURS, ADAPTED, AWAITED],
    "cached": [
        "django.middleware.cache.UpdateCacheMiddleware",
        OURS,
        PLAIN,
        "django.middleware.cache.FetchFromCacheMiddleware",
    ],
}


@pytest.fixture(params=[name for name in STACKS if name != "cached"])
def site(request, monkeypatch):
    """Has Django serve the views with that middleware, as long as the test runs."""
    monkeypatch.setattr(logging.getLogger("django.request"), "disabled", True)  # pytest would keep what was raised
    for seen in (django_views.units, django_views.finished, django_views.closed):
        seen.clear()
    with override_settings(MIDDLEWARE=STACKS[request.param], ROOT_URLCONF="django_views"):
        yield django_views
    gc.collect()  # Django leaves garbage, which has contexts


def by_wsgi(path, headers):
    response = Client(raise_request_exception=False).get(path, headers=headers)
    return response.status_code, b"".join(response) if response.streaming else response.content


def by_asgi(path, headers):
    async def ask():
        response = await AsyncClient(raise_request_exception=False).get(path, headers=headers)
        if not response.streaming:
            return response.status_code, response.content
        content = response.streaming_content
        parts = [part async for part in content] if response.is_async else list(content)
        await asyncio.to_thread(response.close)  # which Django's server does there
        return response.status_code, b"".join(parts)

    return asyncio.run(ask())


@pytest.fixture(params=[by_wsgi, by_asgi])
def ask(request):
    """ask(path, **headers): what the site answers; what it left bound where it ran is looked for in that context."""

    def ask(path, **headers):
        def run():
            answer = request.param(f"/{path}", headers)
            assert xctx.work.current() is None
            return *answer, vars(django_views.current)

        status, body, bound = contextvars.Context().run(run)
        assert bound == {}
        return status, body

    return ask


def test_what_is_known_in_the_middle_is_there_until_the_response_is_closed(site, ask):
    for number in range(1, 5):
        path = ("view", "async_view", "streams", "async_streams")[number % 4]
        status, body = ask(path, baggage=f"request-id=r-{number}")
        assert status == 200
        seen = {"user": f"user {number}", "id": f"r-{number}", "bound": ["left"]}
        answers = [json.loads(line) for line in body.splitlines()]
        assert [each | {"bound": ["left"]} for each in answers] == [seen] * (3 if "streams" in path else 1)
        assert site.finished[-1] == f"user {number}"
    assert request_id() is None
    assert site.closed == ["user 2", "user 3"]
    assert [unit.alive for unit in site.units] == [False] * 4


def test_one_that_raises_ends_it(site, ask):
    for _ in range(2):
        assert ask("raises")[0] == 500
    assert [unit.alive for unit in site.units] == [False] * 2


def test_a_file_is_closed_in_it(site, ask):
    assert ask("file") == (200, b"in a file")
    assert site.closed[0] == "user 1"
    assert not site.units[0].alive


# --- behind servers ---------------------------------------------------------------------------------------------------


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", f"/{path}", headers={"baggage": f"request-id={path}"})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return body


def hang_up(port, path, reads):
    client = socket.create_connection(("127.0.0.1", port), timeout=60)
    client.sendall(f"GET /{path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
    if reads:
        assert client.recv(10)
    return client


@pytest.fixture(params=[*wsgi_servers(), *asgi_servers()])
def server(request, site):
    """The port of a server that serves the site, and whether it is one of ASGI."""
    is_asgi = "asgi" in request.param.__module__
    with request.param(ASGIHandler() if is_asgi else WSGIHandler()) as port:
        yield port, is_asgi


behind_servers = pytest.mark.parametrize("site", ["awaited", "beneath plain"], indirect=True)


@pytest.mark.sampled
@behind_servers
def test_requests_of_a_server_are_kept_apart(site, server):
    port, _ = server

    def ask(paths):
        for path in paths:
            answers.append((path, get(port, path)))

    answers = []
    paths = ["view", "async_view", "streams", "async_streams"]
    threads = [threading.Thread(target=ask, args=((paths * 2)[i : i + 4],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    users = set()
    for path, body in answers:
        seen = [json.loads(line) for line in body.splitlines()]
        assert [each["id"] for each in seen] == [path] * (3 if "streams" in path else 1)
        assert len({each["user"] for each in seen}) == 1
        users.add(seen[0]["user"])
    assert len(users) == len(site.units) == 16


@pytest.mark.sampled
@behind_servers
def test_clients_that_hang_up_end_it(site, server, eventually):
    port, is_asgi = server
    for number, path in enumerate(["endless", "waits"] if is_asgi else ["endless_plain"] * 2, 1):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            client.sendall(f"GET /{path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
            eventually(lambda n=number: len(site.units) == n)
            assert path == "waits" or client.recv(10)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        eventually(lambda: not any(unit.alive for unit in site.units))
    assert json.loads(get(port, "view"))["user"] == "user 3"


# --- by itself --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", ["cached"], indirect=True)
def test_a_response_that_the_cache_keeps(site):
    for _ in range(2):
        response = Client().get("/cached")
        assert response.content == b"user 1"
    assert [unit.alive for unit in site.units] == [False] * 2
    assert site.finished == ["user 1", "user 2"]


def test_a_function_in_the_list_names_the_xlocals():
    other, dropped = xctx.xlocal(), []
    xctx.wire.declare(other, "other")

    def get_response(request):
        return HttpResponse(f"{vars(other)} {request_id()}")

    answer = xctx.django.Middleware(get_response, other, report=lambda what, why: dropped.append(what))
    request = RequestFactory().get("/", headers={"baggage": "other=1,request-id=r,rubbish"})
    with contextlib.closing(answer(request)) as response:
        assert response.content == b"{'other': '1'} None"
    assert dropped == ["rubbish"]
    with pytest.raises(TypeError, match="carries nothing"):
        xctx.django.Middleware(get_response, xctx.xlocal())
    with pytest.raises(TypeError, match="Django's get_response was wanted"):
        xctx.django.Middleware(None)


def test_a_response_that_is_never_closed():
    def get_response(request):
        units.append(xctx.work.current())
        return HttpResponse()

    units = []
    response = xctx.django.Middleware(get_response)(RequestFactory().get("/"))
    assert units[0].alive
    del response
    gc.collect()
    assert not units[0].alive
