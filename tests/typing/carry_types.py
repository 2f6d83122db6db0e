"""What programs do when they take bindings along, and the types that a checker must see there. It also runs.

Each line that a checker must object to names its error: an objection that does not come is reported as well.
"""

import asyncio
import concurrent.futures
import contextvars
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, assert_type

import xctx
from xctx.concurrent import CarryingExecutor, TaskGroup, Thread, ThreadPoolExecutor, create_task, to_thread

x = xctx.xlocal()
var = contextvars.ContextVar[int]("var")


def repeat(word: str, times: int = 1) -> list[str]:
    return [word] * times


async def fetch(word: str) -> int:
    return len(word)


def words(number: int) -> Generator[str, int, bytes]:
    yield str(number)
    return b""


async def more_words(number: int) -> AsyncGenerator[str, int]:
    yield str(number)


def snapshots() -> None:
    assert_type(xctx.capture(), xctx.Snapshot)
    snapshot = xctx.capture(x, contextvars=[var], missing="skip")
    assert_type(snapshot.run(repeat, "a", times=2), list[str])
    with snapshot as entered:
        assert_type(entered, xctx.Snapshot)
    assert_type(xctx.nothing(x), xctx.Snapshot)
    assert_type(xctx.nothing()(repeat)("a"), list[str])
    # A block is never one that swallows exceptions.
    assert_type(returns_within(snapshot), int)


def returns_within(snapshot: xctx.Snapshot) -> int:
    with snapshot:
        return 1


def wrapped() -> None:
    carried = xctx.carry(repeat)
    assert_type(carried("a", times=2), list[str])
    assert_type(xctx.capture(x)(repeat)("a"), list[str])
    assert_type(xctx.carry(fetch)("a").close(), None)
    coroutine: Coroutine[Any, Any, int] = xctx.isolated(fetch)("a")
    coroutine.close()
    generator: Generator[str, int, bytes] = xctx.isolated(words)(1)
    generator = xctx.transparent(words)(1)
    generator.close()
    later: Callable[[int], AsyncGenerator[str, int]] = xctx.isolated(more_words)
    assert later is not more_words


@xctx.isolated
def decorated(number: int) -> Generator[int, None, None]:
    yield number


def decorators() -> None:
    for number in decorated(1):
        assert_type(number, int)


def executors() -> None:
    with ThreadPoolExecutor(1, bindings="copy", contextvars=[var]) as pool:
        assert_type(pool.submit(repeat, "a", times=2), concurrent.futures.Future[list[str]])
        assert_type(pool.submit(repeat, "a").result(), list[str])
        outer = CarryingExecutor(pool, bindings="empty")
        assert_type(outer.submit(repeat, "a").result(), list[str])
    thread = Thread(target=repeat, args=("a",), bindings="empty")
    thread.start()
    thread.join()


async def tasks() -> None:
    assert_type(await create_task(fetch("a"), bindings="share"), int)
    assert_type(await to_thread(repeat, "a"), list[str])
    async with TaskGroup() as group:
        assert_type(group.create_task(fetch("a")), asyncio.Task[int])


def misuses() -> None:
    xctx.nothing(1)  # type: ignore[arg-type]
    xctx.capture(1)  # type: ignore[arg-type]
    xctx.capture(contextvars=[1])  # type: ignore[list-item]
    xctx.capture(missing="maybe")  # type: ignore[arg-type]
    xctx.capture().run(repeat)  # type: ignore[call-arg]
    xctx.capture().run(repeat, 1)  # type: ignore[arg-type]
    xctx.carry(repeat)(1)  # type: ignore[arg-type]
    xctx.carry(1)  # type: ignore[arg-type]
    xctx.isolated(words)("1")  # type: ignore[arg-type]
    xctx.transparent(words)("1")  # type: ignore[arg-type]
    xctx.transparent(1)  # type: ignore[type-var]
    ThreadPoolExecutor(bindings="all")  # type: ignore[arg-type]
    ThreadPoolExecutor(xlocals=["user"])  # type: ignore[list-item]
    with ThreadPoolExecutor() as pool:
        pool.submit(repeat, times="a")  # type: ignore[call-arg, arg-type]
    number: int = xctx.carry(repeat)("a")  # type: ignore[assignment]
    print(number)


if __name__ == "__main__":
    snapshots()
    wrapped()
    decorators()
    executors()
    asyncio.run(tasks())
