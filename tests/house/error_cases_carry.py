"""What carrying raises, to other units, processes and machines: see error_cases."""

import asyncio
import pickle
import sys
import types
from typing import Annotated

import xctx
from xctx import asgi, concurrent, dask, django, logging, patch, wire, wsgi
from xctx._patch import environment

module = types.ModuleType("error_cases_elsewhere")
sys.modules[module.__name__] = module


def found_elsewhere(change):
    """Applies a snapshot where its xlocal's name means something else than where it was taken."""

    def cause():
        module.current = current = xctx.xlocal()
        with current(a=1):
            pickled = pickle.dumps(xctx.capture(current))
        change()
        pickle.loads(pickled).run(int)

    return cause


def another_key_elsewhere():
    module.kept = xctx.local(key=xctx.keys.flow)
    pickled = pickle.dumps(xctx.capture(module.kept))
    module.kept = xctx.local()
    pickle.loads(pickled).run(int)


def unpicklable():
    module.current = current = xctx.xlocal()
    with current(a=lambda: 1):
        pickle.dumps(xctx.capture(current))


def awaits_what_is_wrong():
    from unittest.mock import AsyncMock, Mock

    class Wrong:
        def __await__(self):
            return 1

    func = Mock(return_value=Wrong())
    func.__code__ = AsyncMock().__code__
    xctx.isolated(func)().send(None)


def left_unentered():
    xctx.capture().__exit__(None, None, None)


def awaits_a_tasks():
    async def nothing():
        pass

    async def main():
        task = concurrent.create_task(nothing())
        try:
            await task.get_coro()
        finally:
            await task

    asyncio.run(main())


CARRY = [
    (TypeError, "capture takes xlocals and locals, it was given …", "``capture(thing)``", lambda: xctx.capture(1)),
    (
        TypeError,
        "capture takes locals with the keys flow, work and context, it was given …, which goes by …",
        "``capture(xctx.local())``",
        lambda: xctx.capture(xctx.local()),
    ),
    (
        LookupError,
        "… goes by … in this process, and flow or context was wanted",
        "a snapshot is applied in a process in which a local has another key",
        another_key_elsewhere,
    ),
    (TypeError, "nothing takes xlocals, it was given …", "``nothing(thing)``", lambda: xctx.nothing(1)),
    (
        TypeError,
        "capture takes contextvars and missing, and no keyword argument …",
        "``capture(thing=...)``",
        lambda: xctx.capture(thing=1),
    ),
    (
        TypeError,
        "contextvars are context variables, not …",
        "``capture(contextvars=...)``",
        lambda: xctx.capture(contextvars=[1]),
    ),
    (
        ValueError,
        "missing is 'error' or 'skip', not …",
        "``capture(missing=...)``",
        lambda: xctx.capture(missing="both"),
    ),
    (TypeError, "run calls a function, it was given none", "``snapshot.run()``", lambda: xctx.capture().run()),
    (
        TypeError,
        "a snapshot wraps a function, not …",
        "``carry(thing)``, ``snapshot(thing)``",
        lambda: xctx.carry(1),
    ),
    (TypeError, "isolated decorates a function, not …", "``isolated(thing)``", lambda: xctx.isolated(1)),
    (
        RuntimeError,
        "this snapshot's block is left, but it was not entered",
        "``__exit__`` is called once too often",
        left_unentered,
    ),
    (
        TypeError,
        "this snapshot cannot …: …",
        "a value in it cannot be pickled, or go to another interpreter; or no module has one of its xlocals",
        unpicklable,
    ),
    (
        LookupError,
        "this process has no … in module …: …",
        "a snapshot from another process is applied, and its xlocal is not here",
        found_elsewhere(lambda: delattr(module, "current")),
    ),
    (
        LookupError,
        "….… is no … in this process, but …",
        "likewise, and something else has its name",
        found_elsewhere(lambda: setattr(module, "current", 1)),
    ),
    (
        TypeError,
        "cannot pickle … object: it is found again by the module and name it stands under, and no module has this one",
        "an xlocal is pickled that no module has by name",
        lambda: pickle.dumps(xctx.xlocal()),
    ),
    (
        ValueError,
        "bindings is 'copy', 'share' or 'empty', not …",
        "``ThreadPoolExecutor(bindings=...)`` and the like",
        lambda: concurrent.ThreadPoolExecutor(bindings="all"),
    ),
    (
        ValueError,
        "work is 'same' or 'new', not …",
        "``ThreadPoolExecutor(work=...)`` and the like",
        lambda: concurrent.ThreadPoolExecutor(work="old"),
    ),
    (
        ValueError,
        "bindings is 'copy' or 'empty' here, not 'share': …",
        "likewise, where there can be no context in common",
        lambda: concurrent.ThreadPoolExecutor(bindings="share"),
    ),
    (
        ValueError,
        "xlocals can be chosen where bindings is 'copy', not …",
        "``ThreadPoolExecutor(xlocals=..., bindings=...)`` and the like",
        lambda: concurrent.ThreadPoolExecutor(xlocals=[], bindings="empty"),
    ),
    (
        TypeError,
        "xlocals is an iterable of xlocals, or None for all, not …",
        "``ThreadPoolExecutor(xlocals=...)`` and the like",
        lambda: concurrent.ThreadPoolExecutor(xlocals=xctx.xlocal()),
    ),
    (
        TypeError,
        "a coroutine was expected, got …",
        "``create_task(function)``, ``task_group.create_task(function)``",
        lambda: concurrent.create_task(len),
    ),
    (
        TypeError,
        "__await__() returned non-iterator of type …",
        "what a decorated coroutine function awaits is wrong, as CPython says it",
        awaits_what_is_wrong,
    ),
    (
        TypeError,
        "this coroutine is a task's: await the task",
        "``await task.get_coro()`` of a task that took bindings along",
        awaits_a_tasks,
    ),
]


# --- to other machines ------------------------------------------------------------------------------------------------


class Carrying(xctx.xlocal):
    number: Annotated[int, xctx.carried]


def declares(annotation, **more):
    def cause():
        type("Mine", (xctx.xlocal,), {"__annotations__": {"name": annotation, **more}, "__module__": __name__})

    return cause


WIRE = [
    (
        TypeError,
        "encode and decode go together, one of them is None: …, …",
        "``carried(encode=...)``",
        lambda: xctx.carried(encode=str),
    ),
    (
        TypeError,
        "… cannot be called: a function that encodes or decodes was wanted",
        "``carried(encode=..., decode=...)``",
        lambda: xctx.carried(encode=1, decode=2),
    ),
    (TypeError, "a carried name is a str, not …", "``carried(name)``", lambda: xctx.carried(1)),
    (
        ValueError,
        "… cannot stand on the wire: letters and digits of ASCII and !#$&'*+-.^_`|~ can; "
        'carried("another-name") gives another name there',
        "likewise, or a name that is declared",
        lambda: xctx.carried("a b"),
    ),
    (
        TypeError,
        "… is carried, but … is no type that xctx can write and check: give carried(encode=..., decode=...)",
        "a class declares such a name, and no library that the program has imported knows the type; "
        "or a union of types that could not be told apart",
        declares(Annotated[range, xctx.carried]),
    ),
    (
        TypeError,
        "… declares … as …, which cannot be evaluated",
        "likewise, with an annotation that is text",
        declares("Annotated[1 / 0, xctx.carried]"),
    ),
    (
        TypeError,
        "… declares … as …: no 'carried' is found in its module",
        "likewise",
        declares("Annotated[int, carried]"),
    ),
    (
        TypeError,
        "… carries both … and … as …",
        "two names of a class are the same on the wire",
        declares(Annotated[int, xctx.carried("a")], other=Annotated[int, xctx.carried("a")]),
    ),
    (
        TypeError,
        "cannot carry …: names that start with an underscore are reserved",
        "``wire.declare(current, name)``",
        lambda: wire.declare(xctx.xlocal(), "_a"),
    ),
    (
        TypeError,
        "… is no xlocal",
        "``wire.declare(thing)``, ``wire.inject({}, thing)``",
        lambda: wire.inject({}, 1),
    ),
    (
        TypeError,
        "… carries nothing: declare names of its class as xctx.carried, or use wire.declare",
        "``wire.inject``, ``wire.extract`` and the middlewares are given an xlocal that does not carry",
        lambda: wire.inject({}, xctx.xlocal()),
    ),
    (
        ValueError,
        "neither accepted nor sent, a name is not carried: leave out carried",
        "``carried(accept=False, send=False)``",
        lambda: xctx.carried(accept=False, send=False),
    ),
    (
        TypeError,
        "accept is a collection of names on the wire, not …",
        '``wire.extract(headers, accept="name")``, or a middleware',
        lambda: wire.extract({}, accept="name"),
    ),
    (
        TypeError,
        "accept is a collection of names on the wire, … is none",
        "likewise",
        lambda: wire.extract({}, accept=[1]),
    ),
    (
        TypeError,
        "… is no xctx.wire.RequestId",
        "``Middleware(app, request_id=thing)``",
        lambda: wsgi.Middleware(print, request_id="id"),
    ),
    (
        ValueError,
        "… cannot be the name of a header",
        "``wire.RequestId(current, header=...)``",
        lambda: wire.RequestId(xctx.xlocal(), header="a b"),
    ),
    (
        TypeError,
        "… cannot be called: a function that judges or makes ids was wanted",
        "``wire.RequestId(current, valid=..., make=...)``",
        lambda: wire.RequestId(xctx.xlocal(), make=1),
    ),
    (
        ValueError,
        "… made …: printable ASCII without spaces was wanted",
        "a middleware, by the ``make`` of its ``wire.RequestId``",
        lambda: wsgi.Middleware(print, request_id=wire.RequestId(xctx.xlocal(), make=str))({}, print),
    ),
    (
        TypeError,
        "… has no event hooks: an httpx.Client or AsyncClient was wanted",
        "``xctx.httpx.install(thing)``",
        lambda: xctx.httpx.install(1),
    ),
    (
        TypeError,
        "… cannot send requests: a requests.Session was wanted",
        "``xctx.requests.install(thing)``",
        lambda: xctx.requests.install(1),
    ),
    (
        TypeError,
        "… cannot be called: an ASGI application was wanted",
        "``asgi.Middleware(thing)``",
        lambda: asgi.Middleware(1),
    ),
    (
        TypeError,
        "… cannot be called: a WSGI application was wanted",
        "``wsgi.Middleware(thing)``",
        lambda: wsgi.Middleware(1),
    ),
    (
        TypeError,
        "… cannot be called: Django's get_response was wanted",
        "``django.Middleware(thing)``",
        lambda: django.Middleware(1),
    ),
    (TypeError, "… cannot be called: a function was wanted", "``dask.carrying(thing)``", lambda: dask.carrying(1)),
    (
        TypeError,
        "… has no method …: a distributed.Client was wanted",
        "``dask.install(thing)``",
        lambda: dask.install(1),
    ),
    (
        TypeError,
        "nothing is to be added: say what, as in request_id=current",
        "``logging.Filter()``",
        lambda: logging.Filter(),
    ),
    (
        TypeError,
        "an xlocal, a local or xctx.work was wanted, or a keyword argument, not …",
        "``logging.Filter(thing)``",
        lambda: logging.Filter(1),
    ),
    (
        ValueError,
        "… is what each record has of its own: another name was wanted",
        "``logging.Filter(msg=...)``",
        lambda: logging.Filter(msg=Carrying()),
    ),
    (
        TypeError,
        "…=…: a pair of a store and a name was wanted",
        "``logging.Filter(name=(store,))``",
        lambda: logging.Filter(number=(Carrying(),)),
    ),
]

PATCH = [
    (
        ValueError,
        "allow and deny cannot both be given, they were … and …",
        "``patch.carry(allow=..., deny=...)``, ``patch.all`` likewise",
        lambda: patch.carry(allow=["a"], deny=["b"]),
    ),
    (
        TypeError,
        "… is names of modules, not one string: …",
        "``patch.carry(allow='name')``",
        lambda: patch.carry(allow="a"),
    ),
    (TypeError, "… is names of modules, not …", "``patch.carry(deny=[thing])``", lambda: patch.carry(deny=[1])),
    (
        ValueError,
        "… is made of locals, proxies, carry, all, allow= and deny=, not …",
        "an interpreter starts with another value of ``XCTX_PATCH``",
        lambda: environment.read("nothing"),
    ),
]

LEFT_OUT = {
    "… a function, not …": "what each decorator says is in a row of its own",
    "… is no JSON": "a reason that is reported, of something malformed from another machine",
    "it is nested … deep": "likewise",
    "… gave …: a str was wanted": "likewise",
    "… is no …": "likewise",
}
