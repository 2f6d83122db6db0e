"""A web server that keeps the state of a thousand concurrent requests apart.

gevent's own WSGI server listens on a free port of this machine; a real HTTP client asks it from greenlets, all at once.
Each request binds ``current.request`` and ``current.user``, gives way to others several times, calls library code that
only reads ``current``, and answers with what that code saw. Any mix-up shows in an answer.

Run:  python examples/gevent_server.py [--mode gevent|threads|asyncio] [--requests N]

Exits with 1 if any answer was wrong or anything stayed bound.
"""

import argparse
import json
import sys
import time
from urllib.parse import parse_qs

import xctx
from xctx import debug


class Current(xctx.xlocal):
    """What the request that is being served is about."""

    request: str
    user: str


current = Current()

SWITCHES = 5  # times that a request gives way to the others
BACKLOG = 2048  # connections that may wait to be accepted: all clients call at once


# --- library code: it knows nothing of servers, greenlets, threads or tasks, and gets no arguments -------------------


def audit_line():
    return f"{current.user} asked for {current.request}"


def observe(seen):
    seen.append((current.request, current.user, audit_line()))


# --- the application -------------------------------------------------------------------------------------------------


def answer(seen):
    """What the request saw, each time it ran."""
    return json.dumps(seen).encode()


def wsgi_application(pause):
    """A WSGI application whose requests call `pause` to give way."""

    def application(environ, start_response):
        query = parse_qs(environ["QUERY_STRING"])
        seen = []
        with current(request=environ["PATH_INFO"], user=query["user"][0]):
            for _ in range(SWITCHES):
                observe(seen)
                pause()
            observe(seen)
        start_response("200 OK", [("Content-Type", "application/json")])
        return [answer(seen)]

    return application


def is_right(number, body):
    path, user = f"/item/{number}", f"user{number}"
    expected = [[path, user, f"{user} asked for {path}"]] * (SWITCHES + 1)
    return json.loads(body) == expected


# --- gevent ----------------------------------------------------------------------------------------------------------


def serve_gevent(requests, at_once):
    import gevent
    from gevent import pywsgi, socket
    from gevent.pool import Pool

    server = pywsgi.WSGIServer(
        ("127.0.0.1", 0), wsgi_application(lambda: gevent.sleep(0)), log=None, backlog=BACKLOG, spawn="default"
    )
    server.start()
    say(f"gevent {gevent.__version__}: pywsgi listens on port {server.server_port}")

    def ask(number):
        with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
            connection.sendall(http_request(number))
            return number, http_body(b"".join(iter(lambda: connection.recv(65536), b"")))

    say(f"{requests} greenlets ask, {at_once} at once, each request gives way {SWITCHES} times")
    answers, seconds = timed(lambda: Pool(at_once).map(ask, range(requests)))
    server.stop()
    return answers, seconds


# --- threads ---------------------------------------------------------------------------------------------------------


def serve_threads(requests, at_once):
    import socket
    import threading
    from concurrent.futures import ThreadPoolExecutor
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

    class Server(ThreadingMixIn, WSGIServer):
        request_queue_size = BACKLOG
        daemon_threads = True

    class Handler(WSGIRequestHandler):
        def log_message(self, *args):
            pass

    server = Server(("127.0.0.1", 0), Handler)
    server.set_app(wsgi_application(lambda: time.sleep(0)))
    runner = threading.Thread(target=server.serve_forever)
    runner.start()
    say(f"threads: wsgiref listens on port {server.server_port}, a thread a request")

    def ask(number):
        with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
            connection.sendall(http_request(number))
            return number, http_body(b"".join(iter(lambda: connection.recv(65536), b"")))

    at_once = min(at_once, 100)
    say(f"{requests} requests from {at_once} client threads, each gives way {SWITCHES} times")
    with ThreadPoolExecutor(at_once) as clients:
        answers, seconds = timed(lambda: list(clients.map(ask, range(requests))))
    server.shutdown()
    runner.join()
    server.server_close()
    return answers, seconds


# --- asyncio ---------------------------------------------------------------------------------------------------------


def serve_asyncio(requests, at_once):
    import asyncio

    async def handle(reader, writer):
        path, _, query = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode().partition("?")
        seen = []
        with current(request=path, user=parse_qs(query)["user"][0]):
            for _ in range(SWITCHES):
                observe(seen)
                await asyncio.sleep(0)
            observe(seen)
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + answer(seen))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main():
        server = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=BACKLOG)
        port = server.sockets[0].getsockname()[1]
        say(f"asyncio: a server listens on port {port}, a task a request")

        turn = asyncio.Semaphore(at_once)

        async def ask(number):
            async with turn:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(http_request(number))
                data = await reader.read()
                writer.close()
                await writer.wait_closed()
                return number, http_body(data)

        say(f"{requests} tasks ask, {at_once} at once, each request gives way {SWITCHES} times")
        begin = time.perf_counter()
        answers = await asyncio.gather(*[ask(number) for number in range(requests)])
        seconds = time.perf_counter() - begin
        server.close()
        await server.wait_closed()
        return answers, seconds

    return asyncio.run(main())


# --- the run ---------------------------------------------------------------------------------------------------------

MODES = {"gevent": serve_gevent, "threads": serve_threads, "asyncio": serve_asyncio}


def connections_at_once(wanted):
    """How many connections may be open at a time: both ends are in this process, and each takes a file descriptor."""
    try:
        import resource
    except ImportError:  # Windows: select() takes no more than 512 sockets
        return min(wanted, 200)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * wanted + 100
    if soft == resource.RLIM_INFINITY:
        return wanted
    if soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(wanted, (soft - 100) // 2)


def http_request(number):
    return f"GET /item/{number}?user=user{number} HTTP/1.0\r\n\r\n".encode()


def http_body(response):
    return response.partition(b"\r\n\r\n")[2]


def timed(work):
    begin = time.perf_counter()
    return work(), time.perf_counter() - begin


def say(line):
    print(f"  {line}", flush=True)


def main(argv=None):
    parser = argparse.ArgumentParser(description="Keeps the state of concurrent requests apart, and proves it.")
    parser.add_argument("--mode", choices=MODES, default="gevent", help="what serves the requests (default: gevent)")
    parser.add_argument("--requests", type=int, default=1000, metavar="N", help="how many (default: 1000)")
    options = parser.parse_args(argv)
    if options.requests < 1:
        parser.error(f"--requests {options.requests}: at least one request is wanted")

    print(f"xctx demo: {options.requests} concurrent requests, each with its own user and request bound")
    answers, seconds = MODES[options.mode](options.requests, connections_at_once(options.requests))
    wrong = [number for number, body in answers if not is_right(number, body)]
    users = {saw[1] for _, body in answers for saw in json.loads(body)}
    left = debug.live_bindings()
    rows = [
        ("requests", len(answers)),
        ("distinct users", len(users)),
        ("wrong answers", len(wrong)),
        ("requests a second", round(len(answers) / seconds)),
        ("bindings left afterwards", left),
    ]
    print()
    for name, value in rows:
        print(f"  {name:<26}{value:>8}")
    if wrong:
        print(f"\nwrong: requests {wrong[:10]}", file=sys.stderr)
    return 1 if wrong or left or len(users) != options.requests else 0


if __name__ == "__main__":
    sys.exit(main())
