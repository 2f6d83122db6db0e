from collections.abc import Callable
from types import TracebackType
from typing import Generic, Literal, ParamSpec, TypeVar, final

from xctx._stores.chains import BindingVariable

_P = ParamSpec("_P")
_R = TypeVar("_R")
_X_co = TypeVar("_X_co", bound=BindingVariable, covariant=True)

@final
class Scope(Generic[_X_co]):
    def __enter__(self) -> _X_co: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> Literal[False]: ...
    def __call__(self, func: Callable[_P, _R], /) -> Callable[_P, _R]: ...
