"""An application behind uvicorn whose every answer says what was seen: before it bound anything, within, and after."""

import asyncio
import contextlib
import gc

from fastapi import Depends, FastAPI, Request
from starlette.responses import StreamingResponse

import xctx
from xctx.debug import live_bindings

x = xctx.xlocal()
system = x(user="system")  # one scope for all requests, on purpose
with system:
    as_system = xctx.capture(x)

app = FastAPI()
requests = 0


def seen():
    return getattr(x, "user", None)


def bound(user):
    return x(user=user) if user else contextlib.nullcontext()


@app.middleware("http")
async def collect(request: Request, call_next):
    """The collector runs in the middle of requests: it closes what others abandoned."""
    global requests
    requests += 1
    if requests % 50 == 0:
        gc.collect()
    return await call_next(request)


def answer(before, within):
    return {"before": before, "within": within, "after": seen()}


@app.get("/plain")
def plain(user: str = ""):
    before = seen()
    with bound(user):
        within = [seen()]
        with system:
            assert seen() == "system"
        assert as_system.run(seen) == "system"
        within.append(seen())
    return answer(before, within)


@app.get("/tasks")
async def tasks(user: str = ""):
    before = seen()

    async def look():
        await asyncio.sleep(0)
        with system:
            await asyncio.sleep(0)
            assert seen() == "system"
        with as_system:
            await asyncio.sleep(0)
            assert seen() == "system"
        return seen()

    with bound(user):
        within = await asyncio.gather(*(look() for _ in range(3)), asyncio.to_thread(seen))
        within.append(seen())
    return answer(before, within)


async def numbers(user, log):
    """An async generator that binds in its own frame."""
    with bound(user):
        for _ in range(3):
            log.append(seen())
            await asyncio.sleep(0)
            yield


@app.get("/abandoned")
async def abandoned(user: str = ""):
    """A generator of another user's is left by `break`: the loop closes it, in a task of its own, whenever it likes."""
    before = seen()
    log = []
    with bound(user):
        async for _ in numbers("somebody else", log):
            break
        within = [seen()]
        await asyncio.sleep(0)
        within.append(seen())
    assert log == ["somebody else"]
    return answer(before, within)


async def dependency(user: str = ""):
    with bound(user):
        yield


@app.get("/dependency")
async def depends(before: None = Depends(seen), _: None = Depends(dependency)):
    return {"before": before, "within": [seen(), await asyncio.to_thread(seen)], "after": None}


@app.get("/stream")
async def stream(user: str = ""):
    async def body():
        yield f"{seen()}\n"
        with bound(user):
            for _ in range(20):
                await asyncio.sleep(0)
                yield f"{seen()}\n"
        yield f"{seen()}\n"

    return StreamingResponse(body())


@app.get("/plain-stream")
def plain_stream(user: str = ""):
    @xctx.isolated  # each step runs in a thread of a pool, in a copy of the context
    def body():
        yield f"{seen()}\n"
        with bound(user):
            for _ in range(20):
                yield f"{seen()}\n"
        yield f"{seen()}\n"

    return StreamingResponse(body())


@app.get("/left")
async def left():
    """How many bindings are alive between requests."""
    gc.collect()
    await asyncio.sleep(0)
    return {"bindings": live_bindings(), "base": 3}  # of `as_system`: as taken, and to be applied in two ways
