"""What programs do with the public names, and the types that a checker must see there. It also runs."""

import asyncio
import contextvars
import copy
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar, assert_type

import xctx
import xctx.debug
from xctx.keys import Key, Unit

T = TypeVar("T")


@dataclass
class User:
    name: str


# --- an xlocal that declares its names: reads have the types it says -------------------------------------------------


class Current(xctx.xlocal):
    request: str
    user: User | None = None
    LIMIT: ClassVar[int] = 3

    def greeting(self) -> str:
        return f"hello {self.user.name}" if self.user else "hello"


class Tagged(Current):
    tags: list[str] = xctx.field(default_factory=list[str])
    users: dict[int, User] = xctx.field(default_factory=dict[int, User])


def made_names() -> None:
    with Tagged()(request="/") as entered:
        assert_type(entered.tags, list[str])
        assert_type(entered.users, dict[int, User])
        entered.tags.append("a")
    assert_type(Cache().pages, dict[str, bytes])


class PerTask(Current, key=xctx.keys.task):
    job: int


current = Current()


def declared_names() -> None:
    with current(request="/", user=User("ada")) as entered:
        assert_type(entered, Current)
        assert_type(current.request, str)
        assert_type(current.user, User | None)
        assert_type(current.LIMIT, int)
        assert_type(current.greeting(), str)


def inherited_names() -> None:
    with PerTask()(request="/", job=1) as entered:
        assert_type(entered, PerTask)
        assert_type(entered.request, str)
        assert_type(entered.job, int)


def other_ways_to_make_one() -> None:
    assert_type(Current.new(), Current)
    assert_type(Current(key=xctx.keys.thread), Current)
    assert_type(Current.new(key=threading.get_ident), Current)


# --- an xlocal that declares none: any name, read as Any -------------------------------------------------------------


def any_names() -> None:
    x = xctx.xlocal()
    assert_type(x, xctx.xlocal)
    with x(a=1), x(b="two") as entered:
        assert_type(entered, xctx.xlocal)
        assert_type(entered.a, Any)
        assert_type(entered.b, Any)
    assert_type(xctx.xlocal.new(key=xctx.keys.process), xctx.xlocal)


# --- what calling one returns ----------------------------------------------------------------------------------------


def enter_declared(manager: AbstractContextManager[Current]) -> None:
    with manager as entered:
        assert_type(entered, Current)


def enter_any(manager: AbstractContextManager[xctx.xlocal]) -> None:
    with manager as entered:
        assert_type(entered, xctx.xlocal)


def a_context_manager_like_others() -> None:
    scope = current(request="/")
    enter_declared(scope)
    enter_any(scope)
    with ExitStack() as stack:
        assert_type(stack.enter_context(scope), Current)


def it_swallows_no_exception() -> int:
    with current(request="/"):
        return 1
    # Were exceptions swallowed, a return would be missing here.


@current(request="/")
def function(number: int, *, text: str = "") -> str:
    return f"{number}{text}{current.request}"


@current(request="/")
def of_any_type(thing: T) -> list[T]:
    return [thing]


@current(request="/")
async def coroutine(number: int) -> str:
    return f"{number}{current.request}"


@current(request="/")
def generator(number: int) -> Iterator[str]:
    yield f"{number}{current.request}"


@current(request="/")
async def async_generator(number: int) -> AsyncIterator[str]:
    yield f"{number}{current.request}"


class Service:
    @current(request="/")
    def method(self, number: int) -> str:
        return f"{number}{current.request}"

    @classmethod
    @current(request="/")
    def make(cls, number: int) -> Self:
        return cls()

    @property
    @current(request="/")
    def attribute(self) -> str:
        return current.request


async def decorated() -> None:
    assert_type(function(1, text="a"), str)
    plain: Callable[[int], str] = function
    assert_type(plain(1), str)
    assert_type(of_any_type(1), list[int])
    assert_type(await coroutine(1), str)
    awaited: Callable[[int], Coroutine[Any, Any, str]] = coroutine
    assert_type(await awaited(1), str)
    assert_type(list(generator(1)), list[str])
    assert_type([each async for each in async_generator(1)], list[str])
    assert_type(Service().method(1), str)
    assert_type(Service.make(1), Service)
    assert_type(Service().attribute, str)
    assert_type(current(request="/")(len)("abc"), int)


# --- local -----------------------------------------------------------------------------------------------------------


class Connection(xctx.local):
    retries: int = 3

    def __init__(self, host: str, *, port: int = 80) -> None:
        self.host = host
        self.port = port

    @property
    def url(self) -> str:
        return f"{self.host}:{self.port}"


class Cache(xctx.local):
    pages: dict[str, bytes] = xctx.field(default_factory=dict[str, bytes])


class OfTask(xctx.local, key=xctx.keys.task):
    hits: int = 0


class OfValue(Connection, key=lambda: 1): ...


def count(of_task: OfTask) -> int:
    of_task.hits += 1
    assert_type(of_task.hits, int)
    return of_task.hits


def a_local_with_types() -> None:
    connection = Connection("localhost", port=8080)
    assert_type(connection, Connection)
    assert_type(connection.host, str)
    assert_type(connection.retries, int)
    assert_type(connection.url, str)
    connection.retries = 5
    del connection.host
    assert_type(OfValue("localhost").port, int)
    OfTask().hits = 1
    assert_type(count(OfTask()), int)
    assert_type(OfTask(key=xctx.keys.greenlet), OfTask)


def a_local_of_any_names() -> None:
    store = xctx.local(key=xctx.keys.context)
    assert_type(store, xctx.local)
    store.a = 1
    vars(store)["b"] = "two"
    assert_type(store.b, Any)
    assert_type(store.__dict__, dict[str, Any])
    assert_type(copy.copy(store), xctx.local)
    del store.a


# --- batches ---------------------------------------------------------------------------------------------------------


def batches() -> None:
    executor = xctx.BatchExecutor(lambda: User("ada"), 4)
    assert_type(executor, xctx.BatchExecutor[User])
    assert_type(executor.load(), User)
    assert_type(executor.as_local().load(), User)
    assert_type(next(iter(executor)), User)
    assert_type(executor.stats.loads, int)
    with xctx.BatchExecutor.from_batches(range, 4, prefetch=1) as numbers:
        assert_type(numbers.load(timeout=5), int)
    assert_type(executor.close(), list[User])


# --- locks -----------------------------------------------------------------------------------------------------------


async def locks() -> None:
    lock = xctx.SharedLock(key=xctx.keys.task)
    with lock as entered:
        assert_type(entered, xctx.SharedLock)
        assert_type(lock.mode, Literal["shared", "upgradable", "exclusive"] | None)
    with lock.exclusive(), ExitStack() as stack:
        assert_type(stack.enter_context(xctx.SharedRLock().shared()), xctx.SharedRLock)
        assert_type(lock.count, int)
    with lock.upgradable() as entered:
        assert_type(entered.upgrade(timeout=1), bool)
    assert_type(lock.acquire(exclusive=True, timeout=1.5), bool)
    lock.release()
    async with lock.exclusive() as awaited:
        assert_type(awaited, xctx.SharedLock)
    assert_type(await lock.acquire_async(), bool)
    lock.release()
    assert_type(lock.owner_died, bool)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "lock")
        xctx.SharedLock.at(path)
        with xctx.SharedRLock.at(path, create=False, on_death="raise").exclusive(timeout=2, mend=True) as at:
            assert_type(at, xctx.SharedRLock)
            at.mark_consistent()
    with lock.shared(timeout=1) as timed:
        assert_type(timed, xctx.SharedLock)


async def locks_and_ids_on_postgres() -> None:
    lock = xctx.postgres.SharedLock("cache", "dbname=shop", key=xctx.keys.thread, on_lost=print, fencing=True)
    with lock as entered:
        assert_type(entered, xctx.postgres.SharedLock)
    with lock.exclusive(timeout=1) as writing:
        assert_type(writing, xctx.postgres.SharedLock)
        assert_type(writing.token, int)
    async with xctx.postgres.SharedRLock("cache", "dbname=shop").upgradable() as reading:
        assert_type(reading, xctx.postgres.SharedRLock)
    assert_type(await lock.acquire_async(timeout=1), bool)
    assert_type(lock.acquire(exclusive=True, blocking=False), bool)
    assert_type([session.granted for session in lock.sessions()], list[bool])
    ids = xctx.postgres.sequence("orders_id", "dbname=shop", 1000)
    assert_type(xctx.BatchExecutor.from_batches(ids, ids.size).load(), int)


# --- keys ------------------------------------------------------------------------------------------------------------


def keys_and_units() -> None:
    assert_type(xctx.keys.greenlet, Key)
    unit = xctx.keys.greenlet.current()
    assert_type(unit, Unit)
    assert_type(xctx.keys.thread(), Unit)
    assert_type(unit.alive, bool)
    assert_type(unit.kind, Literal["process", "thread", "greenlet", "task", "work", "context", "value"])
    assert_type({unit: 1}, dict[Unit, int])
    assert_type(xctx.keys.thread.of(threading.current_thread()), Unit | None)
    assert_type(xctx.keys.context.of(contextvars.copy_context()), Unit | None)
    tenant = Key(lambda: "acme", name="tenant")
    assert_type(tenant.name, str)
    xctx.local(key=tenant).a = 1
    tenant.forget("acme")
    ladder: list[Key] = [xctx.keys.process, xctx.keys.thread, xctx.keys.greenlet, xctx.keys.task, xctx.keys.context]
    assert_type([xctx.xlocal(key=key) for key in ladder], list[xctx.xlocal])


# --- debug -----------------------------------------------------------------------------------------------------------


def what_is_kept() -> None:
    store = xctx.local()
    store.a = 1
    assert_type(xctx.debug.live_bindings(), int)
    assert_type(xctx.debug.explain(current, "user"), str)
    assert_type(xctx.debug.units_of(store), list[tuple[Unit, dict[str, Any]]])
    assert_type(xctx.debug.stores_of(xctx.keys.greenlet()), list[tuple[xctx.local, dict[str, Any]]])


@xctx.work()
def plain_job(number: int) -> str:
    return str(number)


@xctx.work()
async def job(number: int) -> str:
    async with xctx.work() as inner:
        assert_type(inner, Unit)
    return str(number)


def units_of_work() -> None:
    with xctx.work() as unit:
        assert_type(unit, Unit)
        assert_type(xctx.work.current(), Unit | None)
    assert_type(plain_job(1), str)
    assert_type(asyncio.run(job(1)), str)
    kept = xctx.local(key=xctx.keys.work)
    assert_type(xctx.capture(kept), xctx.Snapshot)


def main() -> None:
    declared_names()
    inherited_names()
    made_names()
    other_ways_to_make_one()
    any_names()
    a_context_manager_like_others()
    it_swallows_no_exception()
    asyncio.run(decorated())
    with suppress(NotImplementedError):  # there are no locks on this system
        asyncio.run(locks())
    a_local_with_types()
    a_local_of_any_names()
    batches()
    keys_and_units()
    what_is_kept()
    units_of_work()


if __name__ == "__main__":
    main()
