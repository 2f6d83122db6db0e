from collections.abc import Callable
from typing import Any, Generic, ParamSpec, Self, TypeVar, final

from xctx._carry.snapshot import Snapshot

_P = ParamSpec("_P")
_R_co = TypeVar("_R_co", covariant=True)

@final
class Carried(Generic[_P, _R_co]):
    snapshot: Snapshot
    __wrapped__: Callable[_P, _R_co]
    def __new__(cls, snapshot: Snapshot, func: Callable[_P, _R_co]) -> Self: ...
    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R_co: ...
    def __getattr__(self, name: str) -> Any: ...
