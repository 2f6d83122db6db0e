"""Is what is bound here seen there, under each key? Each place is the real thing, run by the package that offers it.

``python tests/house/seen_there.py`` prints the table of ``docs/units.rst`` as it is in this interpreter.
"""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import multiprocessing
import sys
import threading
import unittest
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers import units
from helpers.packages import installed

import xctx

KEYS = ["flow", "greenlet", "thread", "task", "process", "context"]
COLUMNS = [*KEYS, "ContextVar"]
XLOCALS = {name: xctx.xlocal(key=getattr(xctx.keys, name)) for name in KEYS}
VARIABLE = contextvars.ContextVar("VARIABLE", default=None)


@contextlib.contextmanager
def bound():
    """Binds the same by a context variable and under each key."""
    token = VARIABLE.set("bound")
    with contextlib.ExitStack() as stack:
        for x in XLOCALS.values():
            stack.enter_context(x(name="bound"))
        yield
    VARIABLE.reset(token)


def read():
    """For each column, whether what `bound` binds is seen here."""
    return [hasattr(x, "name") for x in XLOCALS.values()] + [VARIABLE.get() is not None]


async def read_in_a_coroutine():
    return read()


@dataclass(frozen=True)
class Place:
    title: str
    look: Callable[[], list]  # what `read` gives there
    needs: tuple = ()  # packages
    since: tuple = (3, 11)  # the version of Python that has such a place

    @property
    def missing(self):
        return [name for name in self.needs if not installed(name)]


PLACES: list[Place] = []


def place(title, *needs, **more):
    """Decorates a function that is called while everything is bound, and gives what is seen in that place."""

    def add(func):
        PLACES.append(Place(title, func, needs, **more))
        return func

    return add


def coroutine_place(title, *needs):
    """Likewise; everything is bound in the coroutine function, as a request's handler does."""

    def add(func):
        async def main():
            with bound():
                return await func()

        PLACES.append(Place(title, lambda: contextvars.Context().run(asyncio.run, main()), needs))
        return func

    return add


def look(where):
    with bound():
        return where.look()


# --- asyncio ----------------------------------------------------------------------------------------------------------


@coroutine_place("``create_task``")
async def create_task():
    return await asyncio.create_task(read_in_a_coroutine())


@coroutine_place("``gather``")
async def gather():
    return (await asyncio.gather(read_in_a_coroutine(), asyncio.sleep(0)))[0]


@coroutine_place("``TaskGroup``")
async def task_group():
    async with asyncio.TaskGroup() as group:
        task = group.create_task(read_in_a_coroutine())
    return task.result()


@coroutine_place("``shield``")
async def shield():
    return await asyncio.shield(read_in_a_coroutine())


@coroutine_place("``wait_for`` with a timeout")
async def wait_for():
    return await asyncio.wait_for(read_in_a_coroutine(), 60)


async def called_back(arrange):
    future = asyncio.get_running_loop().create_future()
    arrange(lambda *done: future.set_result(read()))
    return await future


@coroutine_place("``call_soon``")
async def call_soon():
    return await called_back(asyncio.get_running_loop().call_soon)


@coroutine_place("``call_later``")
async def call_later():
    return await called_back(lambda call: asyncio.get_running_loop().call_later(0, call))


@coroutine_place("a task's done callback")
async def done_callback():
    return await called_back(asyncio.create_task(asyncio.sleep(0)).add_done_callback)


@coroutine_place("``asyncio.to_thread``")
async def to_thread():
    return await asyncio.to_thread(read)


@coroutine_place("``run_in_executor``")
async def run_in_executor():
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, read)


@place("``IsolatedAsyncioTestCase``, from ``asyncSetUp`` to the test")
def isolated_asyncio_test_case():
    seen = []

    class Case(unittest.IsolatedAsyncioTestCase):
        async def asyncSetUp(self):
            self.enterContext(bound())

        async def test(self):
            seen.append(read())

    result = unittest.TestResult()
    contextvars.Context().run(Case("test").run, result)
    assert result.wasSuccessful(), result.errors
    return seen.pop()


# --- threads ----------------------------------------------------------------------------------------------------------


@place("a plain ``Thread``")
def plain_thread():
    return units.in_thread(read)


@place("``Thread(context=copy_context())``, from 3.14", since=(3, 14))
def thread_with_context():
    seen = []
    thread = threading.Thread(target=lambda: seen.append(read()), context=contextvars.copy_context())
    thread.start()
    thread.join()
    return seen.pop()


@place("a ``Timer``")
def timer():
    seen = []
    started = threading.Timer(0, lambda: seen.append(read()))
    started.start()
    started.join()
    return seen.pop()


@place("``submit`` to a pool of threads")
def submit():
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(read).result()


@place("``submit(copy_context().run, …)``")
def submit_in_a_copy():
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(contextvars.copy_context().run, read).result()


@coroutine_place("``anyio.to_thread``", "anyio")
async def anyio_to_thread():
    import anyio.to_thread

    return await anyio.to_thread.run_sync(read)


@place("``trio.to_thread``", "trio")
def trio_to_thread():
    import trio

    async def main():
        with bound():
            return await trio.to_thread.run_sync(read)

    return contextvars.Context().run(trio.run, main)


# --- greenlets --------------------------------------------------------------------------------------------------------


@place("a greenlet", "greenlet")
def plain_greenlet():
    return units.in_greenlet(read)


@place("a greenlet that was given its maker's ``gr_context``", "greenlet")
def greenlet_with_context():
    return contextvars.Context().run(in_greenlet_of_a_greenlet)


def in_greenlet_of_a_greenlet():
    # A context that Context.run() has entered cannot be shared, so it is made in a greenlet of its own.
    def share():
        with bound():
            return units.in_greenlet_sharing_context(read)

    return units.in_greenlet(share)


@place("``gevent.spawn``", "gevent")
def gevent_spawn():
    return units.in_gevent(read)


@coroutine_place("SQLAlchemy's bridge from asyncio (``run_sync``, listeners)", "sqlalchemy", "greenlet")
async def sqlalchemy_bridge():
    from sqlalchemy.util.concurrency import greenlet_spawn

    return await greenlet_spawn(read)


# --- frameworks -------------------------------------------------------------------------------------------------------


@coroutine_place("``sync_to_async``, as Django runs plain views", "asgiref")
async def sync_to_async():
    import asgiref.sync

    return await asgiref.sync.sync_to_async(read)()


@place("``async_to_sync``, as Django runs coroutine views", "asgiref")
def async_to_sync():
    import asgiref.sync

    return asgiref.sync.async_to_sync(read_in_a_coroutine)()


@place("Flask's coroutine views", "flask", "asgiref")
def flask_view():
    import flask

    app, seen = flask.Flask(__name__), []

    @app.get("/")
    async def view():
        seen.append(read())
        return ""

    assert app.test_client().get("/").status_code == 200
    return seen.pop()


class Binding:
    """An ASGI middleware that binds for the request."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        with bound():
            await self.app(scope, receive, send)


def asked(make):
    """What is noted while one request is served by the application that `make(note)` makes."""
    import httpx

    seen = []
    app = Binding(make(lambda: seen.append(read())))

    async def main():
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            assert (await client.get("/")).status_code == 200

    contextvars.Context().run(asyncio.run, main())
    return seen.pop()


def fastapi_place(title):
    def add(func):
        def make(note):
            from fastapi import FastAPI

            app = FastAPI()
            func(app, note)
            return app

        PLACES.append(Place(title, lambda: asked(make), ("fastapi", "httpx")))
        return func

    return add


@fastapi_place("FastAPI: an ``async def`` endpoint")
def coroutine_endpoint(app, note):
    @app.get("/")
    async def endpoint():
        note()


@fastapi_place("FastAPI: a ``def`` endpoint")
def plain_endpoint(app, note):
    app.get("/")(note)


@fastapi_place("FastAPI: a ``def`` dependency")
def plain_dependency(app, note):
    from fastapi import Depends

    @app.get("/", dependencies=[Depends(note)])
    async def endpoint():
        pass


@fastapi_place("FastAPI: a ``def`` dependency that yields")
def yield_dependency(app, note):
    from fastapi import Depends

    def depended_on():
        note()
        yield

    @app.get("/", dependencies=[Depends(depended_on)])
    async def endpoint():
        pass


@fastapi_place("FastAPI: the body of a ``StreamingResponse``, a generator")
def streaming(app, note):
    from starlette.responses import StreamingResponse

    def body():
        note()
        yield b"x"

    @app.get("/")
    async def endpoint():
        return StreamingResponse(body())


@fastapi_place("FastAPI: a ``def`` of ``BackgroundTasks``")
def background(app, note):
    from fastapi import BackgroundTasks

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks):
        tasks.add_task(note)


@fastapi_place("an ``async def`` endpoint below ``BaseHTTPMiddleware``")
def below_middleware(app, note):
    coroutine_endpoint(app, note)

    @app.middleware("http")
    async def middleware(request, call_next):
        return await call_next(request)


@place("Starlette's ``TestClient``, from the test to the application", "starlette", "httpx")
def test_client():
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the client library that it uses, which recommends its successor
        from starlette.testclient import TestClient

    seen = []

    async def endpoint(request):
        seen.append(read())
        return PlainTextResponse("")

    with TestClient(Starlette(routes=[Route("/", endpoint)])) as client, bound():
        assert client.get("/").status_code == 200
    return seen.pop()


def django_place(title, under, middleware, view):
    """Django's middleware binds, its view looks: each "plain" or "coroutine", under "WSGI" or "ASGI"."""

    def look():
        import django_site  # Django is set up once in a process, so by a module

        return contextvars.Context().run(django_site.ask, under, middleware, view, bound, read)

    look.__name__ = f"django_{under}_{middleware}_{view}".lower()
    PLACES.append(Place(title, look, ("django",)))


django_place("Django under WSGI: a plain view", "WSGI", "plain", "plain")
django_place("Django under WSGI: a coroutine view", "WSGI", "plain", "coroutine")
django_place("Django under ASGI: a plain view below plain middleware", "ASGI", "plain", "plain")
django_place("Django under ASGI: a plain view below coroutine middleware", "ASGI", "coroutine", "plain")
django_place("Django under ASGI: a coroutine view below plain middleware", "ASGI", "plain", "coroutine")
django_place("Django under ASGI: a coroutine view below coroutine middleware", "ASGI", "coroutine", "coroutine")


# --- processes --------------------------------------------------------------------------------------------------------


@place("a forked child")
def forked():
    return units.in_fork(read)


def in_process_pool(method):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork where other threads run
        with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
            return pool.submit(read).result()


@place("a pool of processes that are forked")
def forked_pool():
    return in_process_pool("fork")


@place("a pool of processes that are spawned")
def spawned_pool():
    return in_process_pool("spawn")


# --- the table --------------------------------------------------------------------------------------------------------


def holds(cell):
    """Whether a cell of the page says that it is seen, in this interpreter."""
    said = {
        "yes": True,
        "no": False,
        "from 3.12": sys.version_info >= (3, 12),
        "if inherited": units.THREAD_INHERITS,
        "unless inherited": not units.THREAD_INHERITS,
    }
    return said[cell]


def table():
    lines = [".. seen: there", "", ".. list-table::", "   :header-rows: 1", "   :widths: 37 9 9 9 9 9 9 9"]
    lines += ["", "   * -"]
    lines += [f"     - {column if column == 'ContextVar' else f'``{column}``'}" for column in COLUMNS]
    for each in PLACES:
        if sys.version_info < each.since:
            continue
        if each.missing:
            sys.exit(f"not installed: {', '.join(each.missing)}")
        lines.append(f"   * - {each.title}")
        lines += [f"     - {'yes' if seen else 'no'}" for seen in look(each)]
    return lines


if __name__ == "__main__":
    print(*table(), sep="\n")
