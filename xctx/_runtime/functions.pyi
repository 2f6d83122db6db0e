from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, Final, Self, TypeVar, final

from typing_extensions import disjoint_base

_R = TypeVar("_R")

PLAIN: Final[int]
GENERATOR: Final[int]
COROUTINE: Final[int]
ITERABLE_COROUTINE: Final[int]
ASYNC_GENERATOR: Final[int]

def kind_of(func: Callable[..., Any]) -> int: ...

@disjoint_base
class StepContext:
    def run(self, func: Callable[..., _R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> _R: ...
    def run_all(self, func: Callable[..., _R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> _R: ...
    def close(self) -> None: ...

@final
class Steps(Generator[Any, Any, Any]):
    def __new__(
        cls,
        context: StepContext,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None = None,
        awaits: bool = False,
    ) -> Self: ...
    def __iter__(self) -> Steps: ...
    def __await__(self) -> Steps: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any) -> Any: ...
    def throw(self, kind: Any, value: Any = None, traceback: TracebackType | None = None) -> Any: ...
    def passes_on(self, exit: GeneratorExit) -> bool: ...
