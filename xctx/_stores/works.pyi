from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Literal, ParamSpec, Self, TypeVar, final

from xctx._runtime.units import Unit
from xctx._stores.xlocal import xlocal

_P = ParamSpec("_P")
_R = TypeVar("_R")

here: Final[xlocal]

@final
class UnitOfWork: ...

@final
class work:
    """A unit of work: a request, a job, a message, and all code that works on it.

    ``with xctx.work():`` opens one for the block, and gives its :class:`~xctx.keys.Unit`; ``async with`` likewise. As a
    decorator, ``@xctx.work()`` opens one for each call of a function, coroutine function, generator or async generator; a
    generator is in it while it runs, not while it is suspended. The object can be used again, and nested: each entry is a
    unit of work of its own, inside the current one.

    What is started inside and takes its bindings along is in it too: tasks, threads of :mod:`xctx.concurrent`, greenlets of
    :mod:`xctx.gevent`, functions that run with a snapshot. A plain thread and a forked child are not. At its end, what any
    ``local(key=xctx.keys.work)`` keeps for it is released, and what was bound inside and left open is taken out of the
    context. Tasks and threads that live on are then in the unit of work outside, or in none.

    Thread-safety: may be entered in several units at the same time, from any thread.
    Lifetime: a unit of work ends when its block is left, or when nothing refers to it any more.
    """
    def __enter__(self) -> Unit: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> Literal[False]: ...
    async def __aenter__(self) -> Unit: ...
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> Literal[False]: ...
    def __call__(self, func: Callable[_P, _R], /) -> Callable[_P, _R]: ...
    @staticmethod
    def current() -> Unit | None:
        """The innermost unit of work that is open here, as a :class:`~xctx.keys.Unit`; or None."""

@final
class WorkSteps:
    def run(self, func: Callable[..., _R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> _R: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> Literal[False]: ...
    def close(self) -> None: ...
    def still_open(self) -> list[tuple[xlocal, tuple[str, ...], tuple[str, int] | None]]: ...
