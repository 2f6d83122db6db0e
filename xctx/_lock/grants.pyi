from types import TracebackType
from typing import Literal, Self, final

from typing_extensions import disjoint_base

from xctx._lock.acquisition import BaseLock

def clock() -> float: ...

@final
class Grant:
    until: float
    def good(self) -> bool: ...

@disjoint_base
class Granted:
    def acquire(self, exclusive: bool = False, blocking: bool = True, timeout: float | None = -1) -> bool: ...
    def release(self) -> None: ...
    def _bind(self, inner: BaseLock, grant: Grant, forked: bool) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> Literal[False]: ...
