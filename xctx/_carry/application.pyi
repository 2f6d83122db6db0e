from types import TracebackType
from typing import Literal, Self, final

from typing_extensions import disjoint_base

@final
class Application: ...

@final
class SnapshotExtras: ...

@disjoint_base
class Captured: ...

@final
class AppliedBlock:
    def __init__(self, snapshot: Captured, shared: bool = False) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> Literal[False]: ...
