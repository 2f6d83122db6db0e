"""An application behind gunicorn's gevent workers whose every answer says what was seen before, within and after."""

import contextlib
import gc
import json
from urllib.parse import parse_qs

import gevent

import xctx
from xctx.debug import live_bindings

x = xctx.xlocal()
system = x(user="system")  # one scope for all requests, on purpose
with system:
    as_system = xctx.capture(x)

requests = 0


def seen():
    return getattr(x, "user", None)


def bound(user):
    return x(user=user) if user else contextlib.nullcontext()


def plain(user):
    before = seen()
    with bound(user):
        within = [seen()]
        gevent.sleep(0)
        within.append(seen())
        with system:
            gevent.sleep(0)
            assert seen() == "system"
        with as_system:
            gevent.sleep(0)
            assert seen() == "system"
        assert gevent.spawn(seen).get() is None
        within.append(seen())
    return {"before": before, "within": within, "after": seen()}


def numbers(user):
    with bound(user):
        while True:
            yield seen()


def elsewhere(user):
    """Generators of another user's that are closed in the hub, in another greenlet, and by the collector."""
    before = seen()
    with bound(user):
        for close in (in_the_hub, in_a_greenlet, in_a_cycle):
            generator = numbers("somebody else")
            assert next(generator) == "somebody else"
            close(generator)
            del generator
        within = [seen()]
        gevent.sleep(0)
        within.append(seen())
    return {"before": before, "within": within, "after": seen()}


def in_the_hub(generator):
    gevent.get_hub().loop.run_callback(generator.close)


def in_a_greenlet(generator):
    gevent.spawn(generator.close)


def in_a_cycle(generator):
    cycle = [generator]
    cycle.append(cycle)


def killed(user):
    """A greenlet is killed in its block, and a time limit ends another block."""
    before = seen()

    def work():
        with bound("somebody else"):
            gevent.sleep(60)

    with bound(user):
        greenlet = gevent.spawn(work)
        gevent.sleep(0)
        greenlet.kill()
        with gevent.Timeout(0.001, False), system:
            gevent.sleep(60)
        within = [seen()]
    return {"before": before, "within": within, "after": seen()}


def left(user):
    """How many bindings are alive between requests."""
    gc.collect()
    gevent.sleep(0)
    return {"bindings": live_bindings(), "base": 3}  # of `as_system`: as taken, and to be applied in two ways


def stream(user):
    yield f"{seen()}\n"
    with bound(user):
        for _ in range(20):
            gevent.sleep(0)
            yield f"{seen()}\n"
    yield f"{seen()}\n"


PAGES = {f"/{page.__name__}": page for page in (plain, elsewhere, killed, left)}


def app(environ, start_response):
    global requests
    requests += 1
    if requests % 50 == 0:
        gc.collect()  # it closes, in the middle of requests, what others abandoned
    start_response("200 OK", [("Content-Type", "text/plain")])
    user = parse_qs(environ["QUERY_STRING"]).get("user", [""])[0]
    if environ["PATH_INFO"] == "/stream":
        return (line.encode() for line in stream(user))
    return [json.dumps(PAGES[environ["PATH_INFO"]](user)).encode()]
