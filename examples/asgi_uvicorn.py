"""A Starlette application under uvicorn: one name for the request, in tasks, their children and the threads they use.

A middleware of a few lines binds ``current.request_id`` and ``current.user`` for each request. Under the ``context``
key a binding goes where a context goes: the handler's task, tasks that it starts, plain functions that Starlette runs
in a pool of threads, background tasks. A :class:`xctx.local` under the ``task`` key holds what must not be shared by
two tasks.

    python examples/asgi_uvicorn.py                          # starts uvicorn, asks it, says what was wrong, stops it
    cd examples; uvicorn asgi_uvicorn:app                    # serves

Exits with 1 if any answer was wrong or anything stayed bound.
"""

import argparse
import asyncio
import json
import os
import sys
import threading
import time
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

import xctx
from xctx import debug


class Current(xctx.xlocal, key=xctx.keys.context):
    """What the request that is being served is about."""

    request_id: str
    user: str = "nobody"


class Steps(xctx.local, key=xctx.keys.task):
    """A list for each task."""

    def __init__(self):
        self.taken = []


current = Current()
steps = Steps()


class BindRequest:
    """Middleware: binds what a request is about, for as long as the application serves it."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        query = parse_qs(scope["query_string"].decode())
        with current(request_id=query["id"][0], user=query.get("user", ["nobody"])[0]):
            return await self.app(scope, receive, send)


# --- library code: it gets no arguments ------------------------------------------------------------------------------


def audit_line():
    return f"{current.user} in {current.request_id}"


async def part(name):
    """A task of its own: it sees the request, and its list is its own."""
    steps.taken.append(name)
    await asyncio.sleep(0.001)
    steps.taken.append(name)
    return audit_line(), steps.taken == [name, name]


# --- the application -------------------------------------------------------------------------------------------------


async def in_tasks(request):
    steps.taken.append("main")
    before = audit_line()
    parts = await asyncio.gather(*[part(name) for name in "abc"])
    with current(user=f"{current.user} as admin"):
        await asyncio.sleep(0)
        inner = audit_line()
    apart = all(alone for _, alone in parts) and steps.taken == ["main"]
    return JSONResponse({"seen": [before, *[line for line, _ in parts], audit_line()], "inner": inner, "apart": apart})


def in_a_thread(request):
    """A plain function: Starlette runs it in a pool of threads, with a copy of the context."""
    seen = [audit_line()]
    time.sleep(0.001)
    seen.append(audit_line())
    return JSONResponse({"seen": seen, "main": threading.current_thread() is threading.main_thread()})


async def state(request):
    # One binding: that of the request which asks.
    return JSONResponse({"bindings": debug.live_bindings() - 1})


app = BindRequest(Starlette(routes=[Route("/tasks", in_tasks), Route("/thread", in_a_thread), Route("/state", state)]))


# --- the run ---------------------------------------------------------------------------------------------------------


def is_right(number, told):
    line = f"user{number} in r{number}"
    if set(told["seen"]) != {line}:
        return False
    return (
        told["main"] is False
        if "main" in told
        else told["apart"] and told["inner"] == f"user{number} as admin in r{number}"
    )


def main(argv=None):
    from serving import ask, ask_all, report, server

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=400, metavar="N", help="how many (default: 400)")
    options = parser.parse_args(argv)

    here = os.path.dirname(os.path.abspath(__file__))
    with server("-m", "uvicorn", "--app-dir", here, "--host", "127.0.0.1", "--port", "0", "asgi_uvicorn:app") as port:
        print(f"uvicorn listens on port {port}")
        paths = [
            f"/{['tasks', 'thread'][number % 2]}?id=r{number}&user=user{number}" for number in range(options.requests)
        ]
        answers = ask_all(port, paths)
        # The last answers may be with their clients a moment before their tasks are at their ends.
        end = time.monotonic() + 10
        while (left := ask(port, "/state?id=last")["bindings"]) > 0 and time.monotonic() < end:
            time.sleep(0.05)
    wrong = [number for number, told in enumerate(answers) if not is_right(number, told)]
    report(
        [
            ("requests", len(answers)),
            ("of them served in threads", sum("main" in told for told in answers)),
            ("wrong answers", len(wrong)),
            ("bindings left afterwards", left),
        ]
    )
    if wrong:
        print(f"wrong: {json.dumps(answers[wrong[0]])}", file=sys.stderr)
    return 1 if wrong or left else 0


if __name__ == "__main__":
    sys.exit(main())
