from collections.abc import Callable
from typing import ParamSpec, TypeVar

from xctx._carry.snapshot import Snapshot

_P = ParamSpec("_P")
_R = TypeVar("_R")

def carry(func: Callable[_P, _R]) -> Callable[_P, _R]: ...
def carried(snapshot: Snapshot, func: Callable[_P, _R]) -> Callable[_P, _R]: ...
