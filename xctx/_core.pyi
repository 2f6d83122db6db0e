from collections.abc import Callable, Hashable
from typing import Final

from typing_extensions import disjoint_base

from xctx._runtime.units import Unit as Unit

@disjoint_base
class Key:
    @property
    def name(self) -> str: ...
    @property
    def func(self) -> Callable[[], Hashable] | None: ...
    def __init__(self, func: Callable[[], Hashable], name: str | None = None) -> None: ...
    def __call__(self) -> Unit: ...
    def current(self) -> Unit: ...
    def of(self, thing: object) -> Unit | None: ...
    def forget(self, value: Hashable) -> None: ...

process: Final[Key]
thread: Final[Key]
greenlet: Final[Key]
task: Final[Key]
flow: Final[Key]
work: Final[Key]
context: Final[Key]
