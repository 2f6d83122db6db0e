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
    def current() -> Unit | None: ...

@final
class WorkSteps:
    def run(self, func: Callable[..., _R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> _R: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> Literal[False]: ...
    def close(self) -> None: ...
