"""A Django site, under uvicorn and under gunicorn: each request is a unit of work, from the first line of the settings.

The request's id comes with its headers. A plain middleware, for which Django leaves the event loop, finds out who
asks, and one of coroutines the tenant. All of that is kept for the request, and seen by what works for it: views of
both kinds, the tasks and threads that they start, receivers of signals, the bodies that they stream. When the response
is closed, it is gone.

    python examples/django_work.py                            # starts the servers, asks them, says what was wrong
    cd examples; uvicorn django_work:application              # serves
    cd examples; gunicorn -k gthread django_work:wsgi         # likewise

Exits with 1 if any answer was wrong or anything was left.
"""

import argparse
import asyncio
import json
import os
import sys
import threading
from collections import Counter
from typing import Annotated, ClassVar

import django
from asgiref.sync import markcoroutinefunction
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.signals import request_finished
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse, StreamingHttpResponse
from django.urls import path

import xctx

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["xctx.django.Middleware", f"{__name__}.authentication", f"{__name__}.Tenancy"],
)


class Request(xctx.xlocal):
    """What comes with a request."""

    id: Annotated[str, xctx.carried("request-id")]


class State(xctx.local, key=xctx.keys.work):
    """What becomes known about the request that is being served."""

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


request = Request()
state = State()
wrong_afterwards = []


# --- middleware -------------------------------------------------------------------------------------------------------


def authentication(get_response):
    """As one that looks the token up in a database."""

    def middleware(asked):
        token = asked.GET.get("token")
        if token is not None:
            state.user = User(f"user of {token}")
            state.steps.append("authenticated")
        return get_response(asked)

    return middleware


class Tenancy:
    async_capable = True
    sync_capable = False

    def __init__(self, get_response):
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, asked):
        if hasattr(state, "user"):
            state.tenant = f"tenant of {state.user.name}"
            state.steps.append("tenant")
        return await self.get_response(asked)


def finished(**_):
    """Called when a response is closed."""
    if hasattr(state, "user") and state.tenant != f"tenant of {state.user.name}":
        wrong_afterwards.append(state.user.name)


request_finished.connect(finished)


# --- views ------------------------------------------------------------------------------------------------------------


def seen():
    return {"id": request.id, "user": state.user.name, "tenant": state.tenant, "steps": list(state.steps)}


async def in_the_loop(asked):
    async def child():
        await asyncio.sleep(0.001)
        state.steps.append("child")

    await asyncio.gather(child(), child())
    return JsonResponse(await asyncio.to_thread(seen))


def in_a_thread(asked):
    state.steps.append("plain")
    return JsonResponse(seen())


async def streamed(asked):
    async def body():
        yield '{"seen": '
        await asyncio.sleep(0.001)
        state.steps.append("streamed")
        yield json.dumps(seen()) + "}"

    return StreamingHttpResponse(body(), content_type="application/json")


def streamed_plainly(asked):
    def body():
        yield '{"seen": '
        state.steps.append("streamed")
        yield json.dumps(seen()) + "}"

    return StreamingHttpResponse(body(), content_type="application/json")


async def endless(asked):
    async def body():
        while True:
            yield state.user.name.encode() * 10_000
            await asyncio.sleep(0.001)

    return StreamingHttpResponse(body())


def left(asked):
    return JsonResponse({"users": User.alive["users"], "found": sorted(vars(state)), "wrong": len(wrong_afterwards)})


urlpatterns = [
    path("async", in_the_loop),
    path("plain", in_a_thread),
    path("stream", streamed),
    path("plain-stream", streamed_plainly),
    path("endless", endless),
    path("left", left),
]
django.setup()
application = get_asgi_application()
wsgi = get_wsgi_application()

# --- the check --------------------------------------------------------------------------------------------------------

STEPS = {"/async": ["child", "child"], "/plain": ["plain"], "/stream": ["streamed"], "/plain-stream": ["streamed"]}
# Each server serves bodies of its own kind; one of the other kind Django would read as a whole, with a warning.
SERVERS = {
    "uvicorn": (("django_work:application", "--port", "0"), ["/async", "/plain", "/stream"]),
    "gunicorn": (
        ("-k", "gthread", "--threads", "8", "-b", "127.0.0.1:0", "django_work:wsgi"),
        ["/async", "/plain", "/plain-stream"],
    ),
}


def headers(path):
    return {"baggage": f"request-id=request%20{path.partition('=')[2]}"}


def is_right(path, answer):
    kind, _, token = path.partition("?token=")
    user = f"user of {token}"
    steps = ["authenticated", "tenant", *STEPS[kind]]
    return answer.get("seen", answer) == {
        "id": f"request {token}", "user": user, "tenant": f"tenant of {user}", "steps": steps,
    }  # fmt: skip


def main(argv=None):
    from serving import ask_all, ask_until, hang_up, report, server

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=2000, metavar="N", help="how many of each (default: 2000)")
    parser.add_argument("--servers", nargs="*", default=list(SERVERS), choices=list(SERVERS), help="default: both")
    options = parser.parse_args(argv)

    failed = False
    for name in options.servers:
        arguments, kinds = SERVERS[name]
        with server("-m", name, *arguments, cwd=os.path.dirname(os.path.abspath(__file__))) as port:
            print(f"{name} listens on port {port}")
            paths = [f"{kinds[number % 3]}?token={number}" for number in range(options.requests)]
            answers = ask_all(port, paths, headers=headers)
            if name == "uvicorn":
                for number in range(10):
                    hang_up(port, f"/endless?token={number}")
            after = ask_until(port, "/left", lambda after: after["users"] == 0)
        wrong = [answer for path, answer in zip(paths, answers, strict=True) if not is_right(path, answer)]
        report(
            [
                ("requests", len(answers)),
                ("wrong answers", len(wrong)),
                ("closed in another's unit of work", after["wrong"]),
                ("users left afterwards", after["users"]),
            ]
        )
        if wrong:
            print(f"wrong: {json.dumps(wrong[0])}", file=sys.stderr)
        failed = failed or bool(wrong or after["wrong"] or after["users"] or after["found"] != ["steps"])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
