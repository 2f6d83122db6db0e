"""Clients send the carried names along: each library, over a real connection of this machine."""

import asyncio
import concurrent.futures
import subprocess
import sys
from typing import Annotated

import pytest
from helpers.packages import installed
from helpers.wsgi_servers import wsgiref

import xctx
import xctx.aiohttp
import xctx.grpc
import xctx.httpx
import xctx.requests


class Current(xctx.xlocal):
    request_id: Annotated[str, xctx.carried("request-id")]
    attempt: Annotated[int, xctx.carried]


class Other(xctx.xlocal):
    other: Annotated[str, xctx.carried]


current, other = Current(), Other()


def needs(package):
    return pytest.mark.skipif(not installed(package), reason=f"{package} is not installed here")


@pytest.fixture(scope="module")
def url():
    """Of a server that answers with the baggage that it got, and to /away with a redirection."""

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/away":
            start_response("302 Found", [("Location", "/there"), ("Content-Length", "0")])
            return [b""]
        body = environ.get("HTTP_BAGGAGE", "nothing").encode()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]

    with wsgiref(app) as port:
        yield f"http://127.0.0.1:{port}/"


# --- HTTP -----------------------------------------------------------------------------------------------------------
#
# Each client is a coroutine function that makes requests, one for each (URL, headers, names to bind), and gives the
# answers.


async def by_httpx(requests, *args, **kwargs):
    import httpx

    answers = []
    with xctx.httpx.install(httpx.Client(follow_redirects=True), *args, **kwargs) as client:
        for url, headers, names in requests:
            with current(**names):
                answers.append(client.get(url, headers=headers).text)
    return answers


async def by_async_httpx(requests, *args, **kwargs):
    import httpx

    answers = []
    async with xctx.httpx.install(httpx.AsyncClient(follow_redirects=True), *args, **kwargs) as client:
        for url, headers, names in requests:
            with current(**names):
                answers.append((await client.get(url, headers=headers)).text)
    return answers


async def by_requests(requests, *args, **kwargs):
    import requests as library

    answers = []
    with xctx.requests.install(library.Session(), *args, **kwargs) as session:
        for url, headers, names in requests:
            with current(**names):
                answers.append(session.get(url, headers=headers).text)
    return answers


async def by_aiohttp(requests, *args, **kwargs):
    import aiohttp

    answers = []
    async with aiohttp.ClientSession(trace_configs=[xctx.aiohttp.trace_config(*args, **kwargs)]) as session:
        for url, headers, names in requests:
            with current(**names):
                async with session.get(url, headers=headers) as response:
                    answers.append(await response.text())
    return answers


http = pytest.mark.parametrize(
    "client",
    [
        pytest.param(by_httpx, marks=needs("httpx")),
        pytest.param(by_async_httpx, marks=needs("httpx")),
        pytest.param(by_requests, marks=needs("requests")),
        pytest.param(by_aiohttp, marks=needs("aiohttp")),
    ],
)


@http
def test_each_request_has_what_is_bound_where_it_is_made(client, url):
    requests = [
        (url, {}, {"request_id": "r ä", "attempt": 1}),
        (url, {}, {"request_id": "s"}),
        (url, {}, {}),
        (url, {"baggage": "a=1;p"}, {"request_id": "t"}),
        (f"{url}away", {}, {"request_id": "u"}),
    ]
    assert asyncio.run(client(requests)) == [
        "request-id=r%20%C3%A4,attempt=1", "request-id=s", "nothing", "a=1;p,request-id=t", "request-id=u",
    ]  # fmt: skip


@http
def test_a_mistake_is_told_and_the_request_is_made(client, url):
    told = []
    requests = [(url, {}, {"request_id": "r", "attempt": "many"})]
    assert asyncio.run(client(requests, report=lambda *what: told.append(what))) == ["request-id=r"]
    assert [what for what, why in told] == ["attempt"]


@http
def test_only_the_xlocals_that_are_named(client, url):
    assert asyncio.run(client([(url, {}, {"request_id": "r"})], other)) == ["nothing"]
    with pytest.raises(TypeError, match="carries nothing"):
        asyncio.run(client([], xctx.xlocal()))


@needs("httpx")
def test_hooks_that_are_there_stay(url):
    import httpx

    seen = []
    client = httpx.Client(event_hooks={"request": [seen.append], "response": [seen.append]})
    with xctx.httpx.install(client), current(request_id="r"):
        assert client.get(url).text == "request-id=r"
    assert [type(each).__name__ for each in seen] == ["Request", "Response"]


@pytest.mark.parametrize("install", [xctx.httpx.install, xctx.requests.install])
def test_what_is_no_client_is_refused(install):
    with pytest.raises(TypeError, match=r"<object object at .*> .* was wanted"):
        install(object())


# --- gRPC -----------------------------------------------------------------------------------------------------------

CALLS = ["unary_unary", "unary_stream", "stream_unary", "stream_stream"]


@pytest.fixture(scope="module")
def address():
    grpc = pytest.importorskip("grpc", reason="gRPC is not installed here")

    def answer(request, context):
        with xctx.wire.extract(context.invocation_metadata(), current):
            return repr(sorted(vars(current).items())).encode()

    def stream(request, context):
        yield answer(request, context)

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            kind = details.method.removeprefix("/test/")
            return getattr(grpc, f"{kind}_rpc_method_handler")(stream if kind.endswith("stream") else answer)

    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads, handlers=[Handler()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


WANTED = b"[('attempt', 2), ('request_id', 'r \xc3\xa4')]"


@needs("grpc")
@pytest.mark.parametrize("kind", CALLS)
def test_calls_of_grpc(address, kind):
    import grpc

    with grpc.insecure_channel(address) as plain:
        channel = grpc.intercept_channel(plain, xctx.grpc.interceptor(current))
        call = getattr(channel, kind)(f"/test/{kind}")
        request = iter([b""]) if kind.startswith("stream") else b""
        with current(request_id="r ä", attempt=2):
            answer = call(request, metadata=[("a", "b")], timeout=60)
        assert (list(answer) if kind.endswith("stream") else [answer]) == [WANTED]


@needs("grpc")
@pytest.mark.parametrize("kind", CALLS)
def test_calls_of_grpc_by_asyncio(address, kind):
    import grpc.aio

    async def main():
        interceptors = xctx.grpc.aio_interceptors(current)
        async with grpc.aio.insecure_channel(address, interceptors=interceptors) as channel:
            call = getattr(channel, kind)(f"/test/{kind}")
            request = iter([b""]) if kind.startswith("stream") else b""
            with current(request_id="r ä", attempt=2):
                answer = call(request, metadata=(("a", "b"),), timeout=60)
                return [each async for each in answer] if kind.endswith("stream") else [await answer]

    assert asyncio.run(main()) == [WANTED]


# --- none of them is imported for this ------------------------------------------------------------------------------


def test_the_libraries_are_not_imported():
    code = (
        "import sys, xctx, xctx.aiohttp, xctx.grpc, xctx.httpx, xctx.requests, xctx.wire, uuid\n"
        "xctx.wire.declare(xctx.xlocal(), id=uuid.UUID, ids=list[int])\n"
        "names = {'aiohttp', 'grpc', 'httpx', 'requests', 'msgspec', 'pydantic', 'opentelemetry'}\n"
        "print(sorted(names & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
