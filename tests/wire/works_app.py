"""A WSGI application that keeps things for its requests and leaves blocks open, for servers that run as programs."""

import json
import threading
import time

import xctx
import xctx.wsgi

kept = xctx.local(key=xctx.keys.work)
current = xctx.xlocal()
alive = 0
lock = threading.Lock()
waiting = {}


class Value:
    """Counts how many of it are alive in this process."""

    def __init__(self):
        global alive
        with lock:
            alive += 1

    def __del__(self):
        global alive
        with lock:
            alive -= 1


def state():
    return {"kept": sorted(dict(vars(kept))), "bound": sorted(vars(current))}


def handle(environ, start_response):
    path = environ["PATH_INFO"]
    before = state()
    if path == "/alive":
        start_response("200 OK", [])
        return [json.dumps(alive).encode()]
    kept.value, kept.path = Value(), path
    current(path=path).__enter__()  # never left
    if path == "/raises":
        raise LookupError("on purpose")
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/list":
        return [json.dumps(before).encode()]
    return stream(before, path)


def stream(before, path):
    # The first step: what was set is there, in whatever thread or greenlet this runs.
    assert kept.path == path
    yield json.dumps({**before, "path": kept.path}).encode()
    kept.more = Value()
    while path == "/endless":
        time.sleep(0.001)
        yield b"x" * 100_000


application = xctx.wsgi.Middleware(handle)
