from collections.abc import Coroutine
from typing import Any, Literal, TypeAlias, final

from xctx._lock.acquisition import BaseLock

_Mode: TypeAlias = Literal["shared", "upgradable", "exclusive"]

@final
class Asker:
    @property
    def count(self) -> int: ...
    def acquire_async(self, mode: _Mode, timeout: float | None, mend: bool = False) -> Coroutine[Any, Any, bool]: ...
    def release(self) -> None: ...

def asker_of(lock: BaseLock) -> Asker: ...
