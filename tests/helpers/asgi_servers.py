"""Servers of ASGI applications, each in a thread of this process, for the length of a block that gets the port."""

import asyncio
import contextlib
import os
import socket
import threading

import pytest

from helpers.packages import installed


@contextlib.contextmanager
def listening():
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        made.listen()  # who connects before the server is up waits
        yield made


@contextlib.contextmanager
def uvicorn(app):
    import uvicorn

    config = uvicorn.Config(
        app, loop="asyncio", http="h11", ws="websockets-sansio", log_level="critical", lifespan="auto",
        timeout_graceful_shutdown=30,
    )  # fmt: skip
    server = uvicorn.Server(config)
    with listening() as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


@contextlib.contextmanager
def hypercorn(app):
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.errorlog = config.accesslog = None
    config.graceful_timeout = 30
    stops = []

    async def run():
        stop = asyncio.Event()
        stops.extend((asyncio.get_running_loop(), stop))
        await serve(app, config, shutdown_trigger=stop.wait, mode="asgi")

    with listening() as listener:
        config.bind = [f"fd://{os.dup(listener.fileno())}"]
        port = listener.getsockname()[1]
        thread = threading.Thread(target=asyncio.run, args=(run(),))
        thread.start()
        try:
            yield port
        finally:
            loop, stop = stops
            loop.call_soon_threadsafe(stop.set)
            thread.join()


def each_server():
    """Parameters of a fixture: uvicorn and hypercorn, where they are installed."""
    return [
        pytest.param(server, marks=pytest.mark.skipif(not installed(server.__name__), reason=f"no {server.__name__}"))
        for server in (uvicorn, hypercorn)
    ]
