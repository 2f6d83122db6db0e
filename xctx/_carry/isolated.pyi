from collections.abc import Callable
from typing import ParamSpec, Self, TypeVar, final

from xctx._carry.snapshot import Snapshot
from xctx._runtime.functions import StepContext

_P = ParamSpec("_P")
_R = TypeVar("_R")

def isolated(func: Callable[_P, _R]) -> Callable[_P, _R]: ...

@final
class OwnContext(StepContext):
    def __new__(cls, snapshot: Snapshot | None = None) -> Self: ...
