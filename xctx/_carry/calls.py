"""Callables that go to another unit together with the snapshot that they run with."""

import contextvars as pep567
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from xctx._carry.snapshot import AppliedBlock, Snapshot, current_context
from xctx._runtime import copies
from xctx._stores.works import work

_T = TypeVar("_T")


class Call(Generic[_T]):
    """A callable that runs in a new context, with a snapshot applied; or with nothing bound if `snapshot` is None.

    It can be pickled if the callable and the values can, and goes to another interpreter if each of them can.

    Args:
        new_work: whether each call is a unit of work of its own.
    """

    __slots__ = ("__weakref__", "__wrapped__", "new_work", "snapshot")

    def __init__(self, snapshot: Snapshot | None, func: Callable[..., _T], new_work: bool = False) -> None:
        self.snapshot = snapshot
        self.__wrapped__ = func
        self.new_work = new_work

    def __call__(self, /, *args: Any, **kwargs: Any) -> _T:
        if self.snapshot is None:
            return pep567.Context().run(self._run, *args, **kwargs)
        return pep567.Context().run(self.snapshot.run, self._run, *args, **kwargs)

    def _run(self, /, *args: Any, **kwargs: Any) -> _T:
        if self.new_work:
            with work():
                return self.__wrapped__(*args, **kwargs)
        return self.__wrapped__(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name == "__wrapped__":  # not set yet, as when this is unpickled
            raise AttributeError(name)
        return getattr(self.__wrapped__, name)

    def __repr__(self) -> str:
        return f"<{self.__wrapped__!r} with {self.snapshot or 'nothing'}>"

    def __reduce__(self) -> Any:
        return Call, (self.snapshot, self.__wrapped__, self.new_work)

    def _cross(self) -> tuple[Any, ...]:
        return __name__, "Call", self.snapshot, self.__wrapped__, self.new_work


if hasattr(copies, "let_cross"):  # from 3.14 on
    copies.let_cross(Call)


class SharedCall(Call[_T]):
    """A callable that is to run in the context in which this was made, where most of the snapshot is seen anyway.

    The code that runs it enters that context. This binds what is not seen there because another unit runs.
    """

    __slots__ = ("context",)

    def __init__(self, snapshot: Snapshot | None, func: Callable[..., _T], new_work: bool = False) -> None:
        super().__init__(snapshot, func, new_work)
        self.context = current_context()

    def __call__(self, /, *args: Any, **kwargs: Any) -> _T:
        if self.snapshot is None:
            return self._run(*args, **kwargs)
        with AppliedBlock(self.snapshot, True):
            return self._run(*args, **kwargs)
