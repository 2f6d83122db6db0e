"""A FastAPI application under uvicorn: each request is a unit of work, which keeps what is known in the middle of it.

A plain dependency, which FastAPI runs in a pool of threads, checks the token and sets ``state.user``. The endpoint sees
it, whether it is a coroutine function or another plain one in the pool; so do the tasks that it starts, the body that
it streams and the background task that follows. At the end of the request all of it is gone.

    python examples/fastapi_work.py                          # starts uvicorn, asks it, says what was wrong, stops it
    cd examples; uvicorn fastapi_work:app                    # serves

Exits with 1 if any answer was wrong or anything was left.
"""

import argparse
import asyncio
import json
import os
import sys
import threading
import time
from collections import Counter
from typing import ClassVar

from fastapi import BackgroundTasks, Depends, FastAPI
from fastapi.responses import StreamingResponse

import xctx
import xctx.asgi


class State(xctx.local, key=xctx.keys.work):
    """What is known about the request that is being served."""

    def __init__(self):
        self.steps = []  # one list a request


class User:
    """Counts how many of it are alive."""

    alive: ClassVar[Counter[str]] = Counter()
    lock = threading.Lock()

    def __init__(self, name):
        self.name = name
        with self.lock:
            self.alive["users"] += 1

    def __del__(self):
        with self.lock:
            self.alive["users"] -= 1


state = State()
app = FastAPI()
app.add_middleware(xctx.asgi.Middleware)
wrong_afterwards = []


def authenticated(token: str):
    """Runs in the pool of threads."""
    state.user = User(f"user of {token}")
    state.steps.append("authenticated")


async def tenant(token: str):
    """Runs in the event loop, once the other has run."""
    state.tenant = f"tenant of {state.user.name}"
    state.steps.append("tenant")


def afterwards(token):
    """Runs in the pool when the response is sent."""
    if state.user.name != f"user of {token}":
        wrong_afterwards.append(token)


def seen():
    return {"user": state.user.name, "tenant": state.tenant, "steps": list(state.steps)}


known = [Depends(authenticated), Depends(tenant)]


@app.get("/async", dependencies=known)
async def in_the_loop(token: str, background: BackgroundTasks):
    async def child():
        await asyncio.sleep(0.001)
        state.steps.append("child")

    await asyncio.gather(child(), child())
    background.add_task(afterwards, token)
    return seen()


@app.get("/sync", dependencies=known)
def in_the_pool(token: str):
    time.sleep(0.001)
    state.steps.append("pool")
    return seen()


@app.get("/stream", dependencies=known)
async def streamed(token: str):
    def body():  # each step in the pool
        yield '{"user": '
        state.steps.append("streamed")
        yield json.dumps(state.user.name)
        yield f', "tenant": {json.dumps(state.tenant)}, "steps": {json.dumps(state.steps)}}}'

    return StreamingResponse(body(), media_type="application/json")


@app.get("/left")
async def left():
    return {"users": User.alive["users"], "found": sorted(vars(state)), "wrong": len(wrong_afterwards)}


STEPS = {"/async": ["child", "child"], "/sync": ["pool"], "/stream": ["streamed"]}


def is_right(path, answer):
    kind, _, token = path.partition("?token=")
    user = f"user of {token}"
    return answer == {"user": user, "tenant": f"tenant of {user}", "steps": ["authenticated", "tenant", *STEPS[kind]]}


def main(argv=None):
    from serving import ask, ask_all, report, server

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=3000, metavar="N", help="how many (default: 3000)")
    options = parser.parse_args(argv)

    here = os.path.dirname(os.path.abspath(__file__))
    with server("-m", "uvicorn", "--app-dir", here, "--host", "127.0.0.1", "--port", "0", "fastapi_work:app") as port:
        print(f"uvicorn listens on port {port}")
        paths = [f"{list(STEPS)[number % 3]}?token={number}" for number in range(options.requests)]
        answers = ask_all(port, paths)
        # The last answers may be with their clients a moment before their requests are at their ends.
        end = time.monotonic() + 10
        while (after := ask(port, "/left"))["users"] > 0 and time.monotonic() < end:
            time.sleep(0.05)
    wrong = [answer for path, answer in zip(paths, answers, strict=True) if not is_right(path, answer)]
    report(
        [
            ("requests", len(answers)),
            ("wrong answers", len(wrong)),
            ("background tasks that saw another", after["wrong"]),
            ("users left afterwards", after["users"]),
        ]
    )
    if wrong:
        print(f"wrong: {json.dumps(wrong[0])}", file=sys.stderr)
    return 1 if wrong or after["wrong"] or after["users"] or after["found"] != ["steps"] else 0


if __name__ == "__main__":
    sys.exit(main())
