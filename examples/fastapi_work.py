"""A FastAPI application under uvicorn: each request is a unit of work, which keeps what is known in the middle of it.

The request's id comes with its headers. A plain dependency, which FastAPI runs in a pool of threads, checks the token
and sets ``state.user``; one that is a coroutine function then sets ``state.tenant``. The endpoint sees both, whether it
is a coroutine function or another plain one in the pool; so do the tasks that it starts, the body that it streams, the
background task that follows, and a listener of SQLAlchemy's asyncio session, which has each query find the rows of the
tenant alone. At the end of the request all of it is gone.

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
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory
from typing import Annotated, ClassVar

from fastapi import BackgroundTasks, Depends, FastAPI
from fastapi.responses import StreamingResponse
from sqlalchemy import event, select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, with_loader_criteria

import xctx
import xctx.asgi


class Request(xctx.xlocal):
    """What comes with a request."""

    id: Annotated[str, xctx.carried("request-id")]


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


request = Request()
state = State()
wrong_afterwards = []

# --- the database -----------------------------------------------------------------------------------------------------

TENANTS = 7
sessions = async_sessionmaker()


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]


@event.listens_for(Session, "do_orm_execute")
def of_the_tenant(execution):
    """Has each query find what is the tenant's. It runs in the greenlet in which SQLAlchemy awaits its driver."""
    tenant = state.tenant
    execution.statement = execution.statement.options(with_loader_criteria(Note, Note.tenant == tenant))


@asynccontextmanager
async def database(app):
    with TemporaryDirectory() as folder:
        engine = create_async_engine(f"sqlite+aiosqlite:///{folder}/notes.db")
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        sessions.configure(bind=engine)
        async with sessions() as session, session.begin():
            session.add_all(Note(tenant=f"tenant {number}") for number in range(TENANTS))
        yield
        await engine.dispose()


app = FastAPI(lifespan=database)
app.add_middleware(xctx.asgi.Middleware)

# --- dependencies and endpoints ---------------------------------------------------------------------------------------


def authenticated(token: str):
    """Runs in the pool of threads."""
    state.user = User(f"user of {token}")
    state.steps.append("authenticated")


async def tenant(token: str):
    """Runs in the event loop, once the other has run."""
    state.tenant = f"tenant {int(token) % TENANTS}"
    state.steps.append("tenant")


def afterwards(token):
    """Runs in the pool when the response is sent."""
    if state.user.name != f"user of {token}":
        wrong_afterwards.append(token)


def seen():
    return {"id": request.id, "user": state.user.name, "tenant": state.tenant, "steps": list(state.steps)}


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
        yield '{"seen": '
        state.steps.append("streamed")
        yield json.dumps(seen()) + "}"

    return StreamingResponse(body(), media_type="application/json")


@app.get("/notes", dependencies=known)
async def notes(token: str):
    async with sessions() as session:
        found = [note.tenant for note in await session.scalars(select(Note))]
        # A function that SQLAlchemy runs in a greenlet, where it may use a session as one that is not of asyncio.
        again = await session.run_sync(lambda plain: [note.tenant for note in plain.scalars(select(Note))])
    if found == again:
        state.steps += found
    return seen()


@app.get("/left")
async def left():
    return {"users": User.alive["users"], "found": sorted(vars(state)), "wrong": len(wrong_afterwards)}


# --- the check --------------------------------------------------------------------------------------------------------

STEPS = {"/async": ["child", "child"], "/sync": ["pool"], "/stream": ["streamed"], "/notes": None}


def headers(path):
    return {"baggage": f"request-id=request%20{path.partition('=')[2]}"}


def is_right(path, answer):
    kind, _, token = path.partition("?token=")
    tenant = f"tenant {int(token) % TENANTS}"
    return answer.get("seen", answer) == {
        "id": f"request {token}",
        "user": f"user of {token}",
        "tenant": tenant,
        "steps": ["authenticated", "tenant", *(STEPS[kind] or [tenant])],
    }


def main(argv=None):
    from serving import ask_all, ask_until, report, server

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=3000, metavar="N", help="how many (default: 3000)")
    options = parser.parse_args(argv)

    here = os.path.dirname(os.path.abspath(__file__))
    with server("-m", "uvicorn", "--app-dir", here, "--host", "127.0.0.1", "--port", "0", "fastapi_work:app") as port:
        print(f"uvicorn listens on port {port}")
        paths = [f"{list(STEPS)[number % len(STEPS)]}?token={number}" for number in range(options.requests)]
        answers = ask_all(port, paths, headers=headers)
        after = ask_until(port, "/left", lambda after: after["users"] == 0)
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
