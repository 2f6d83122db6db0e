"""The coroutine of a task that takes bindings along."""

from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

from xctx._carry.snapshot import AppliedBlock, Snapshot

_T = TypeVar("_T")


class CarriedCoroutine(Coroutine[Any, Any, _T]):
    """A coroutine that binds, from its first step to its last, what its task would not see of a snapshot.

    A task shows its coroutine to the program, so attributes that this lacks are looked up in the program's coroutine.
    """

    def __init__(self, snapshot: Snapshot, coroutine: Coroutine[Any, Any, _T]) -> None:
        self.block: AppliedBlock | None = AppliedBlock(snapshot, True)
        self.entered = False
        self.coroutine = coroutine

    def step(self, step: Callable[..., Any], *args: Any) -> Any:
        if self.block is not None and not self.entered:
            self.entered = True
            self.block.__enter__()
        try:
            return step(*args)
        except BaseException:  # that was the last step: it returned, which raises StopIteration, or it failed
            self.end()
            raise

    def end(self) -> None:
        block, self.block = self.block, None
        if block is not None and self.entered:
            block.__exit__(None, None, None)

    def send(self, value: Any) -> Any:
        return self.step(self.coroutine.send, value)

    def throw(self, *exc: Any) -> Any:
        return self.step(self.coroutine.throw, *exc)

    def close(self) -> None:
        try:
            self.coroutine.close()
        finally:
            self.end()

    def __await__(self) -> Generator[Any, Any, _T]:
        raise TypeError("this coroutine is a task's: await the task")

    def __getattr__(self, name: str) -> Any:
        if name == "coroutine":  # not set yet
            raise AttributeError(name)
        return getattr(self.coroutine, name)
