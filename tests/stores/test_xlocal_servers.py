"""Thousands of requests to real servers, whose clients hang up in the middle: no answer shows another's binding."""

import asyncio
import json
import random
from pathlib import Path

import pytest
from helpers.effort import sized
from helpers.packages import installed
from helpers.waiting import LONG
from serving import server

PLACE = str(Path(__file__).parent)
REQUESTS = sized(600, 10_000)
CLIENTS = 24

# The command, the pages that answer once, and those that stream.
SERVERS = {
    "uvicorn": (
        ["-m", "uvicorn", "served_fastapi:app", "--app-dir", PLACE, "--port", "0", "--http", "h11"],
        ["plain", "tasks", "abandoned", "dependency"],
        ["stream", "plain-stream"],
    ),
    "gunicorn": (
        ["-m", "gunicorn", "-k", "gevent", "-w", "1", "--chdir", PLACE, "-b", "127.0.0.1:0", "served_wsgi:app"],
        ["plain", "elsewhere", "killed"],
        ["stream"],
    ),
}


async def ask(port, page, user, drop=False):
    """The body of the answer; or what came of it by the time that the client hung up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET /{page}?user={user} HTTP/1.0\r\n\r\n".encode())  # so that no body comes in chunks
        status = await reader.readline()
        assert b" 200 " in status, (page, status, await reader.read())
        await reader.readuntil(b"\r\n\r\n")
        return (await (reader.readline() if drop else reader.read())).decode()
    finally:
        if drop:
            writer.transport.abort()
        writer.close()


def check(page, streams, user, body, drop):
    """Raises where an answer shows anything but the binding of its own request."""
    own = user or None
    if page in streams:
        said = body.split()
        assert said[0] == "None", (page, user, body)
        if not drop:
            assert said == ["None"] + [str(own)] * 20 + ["None"], (page, user, body)
    else:
        said = json.loads(body)
        assert (said["before"], set(said["within"]), said["after"]) == (None, {own}, None), (page, user, body)


async def storm(port, pages, streams):
    rand = random.Random(0)
    todo = [(rand.choice(pages + streams), rand.choice(["", f"user{number}"])) for number in range(REQUESTS)]

    async def client():
        while todo:
            page, user = todo.pop()
            drop = page in streams and rand.random() < 0.5
            check(page, streams, user, await ask(port, page, user, drop), drop)

    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(client())
    # Servers notice in their own time that a client is gone.
    async with asyncio.timeout(LONG):
        while (left := json.loads(await ask(port, "left", "")))["bindings"] > left["base"]:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("name", SERVERS)
def test_no_request_sees_what_another_bound(name):
    for package in {"uvicorn": ["uvicorn", "fastapi"], "gunicorn": ["gunicorn", "gevent"]}[name]:
        if not installed(package):
            pytest.skip(f"{package} is not installed here")
    command, pages, streams = SERVERS[name]
    with server(*command) as port:
        asyncio.run(storm(port, pages, streams))
