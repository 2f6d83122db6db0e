"""What the executors and spawn functions share: how bindings go along with a call, and the three ways of doing it."""

import contextvars as pep567
from collections.abc import Callable, Coroutine, Generator, Iterable
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from xctx._carry.carry import Block, Snapshot, capture

_T = TypeVar("_T")

Bindings: TypeAlias = Literal["copy", "share", "empty"]
Missing: TypeAlias = Literal["error", "skip"]


class Way:
    """How bindings go along: chosen once for an executor, or at each call.

    Args:
        bindings: ``"copy"``, ``"share"`` or ``"empty"``, as :mod:`xctx.concurrent` tells.
        contextvars: context variables that come along too.
        missing: what becomes of what cannot be pickled, as :func:`xctx.capture` tells.
        shares: why whatever runs there cannot share a context with who asks for it, or None where it can.

    Raises:
        ValueError: there is no such way, or not there.
    """

    __slots__ = ("bindings", "contextvars", "missing")

    def __init__(
        self,
        bindings: Bindings,
        contextvars: Iterable[pep567.ContextVar[Any]] = (),
        missing: Missing = "error",
        *,
        shares: str | None = None,
    ) -> None:
        if bindings not in ("copy", "share", "empty"):
            raise ValueError(f"bindings is 'copy', 'share' or 'empty', not {bindings!r}")
        if bindings == "share" and shares is not None:
            raise ValueError(f"bindings is 'copy' or 'empty' here, not 'share': {shares}")
        self.bindings = bindings
        self.contextvars = tuple(contextvars)
        self.missing = missing
        self.take()  # what is wrong is told now, not by the first call

    def take(self) -> Snapshot | None:
        """What goes along from here: a snapshot, or None where nothing does."""
        if self.bindings == "empty":
            return None
        return capture(contextvars=self.contextvars, missing=self.missing)

    def call(self, func: Callable[..., _T]) -> "Call[_T]":
        """A callable that takes along what is seen now."""
        return Call(self.take(), func)


class Call(Generic[_T]):
    """A callable that runs in a new context, with a snapshot applied, or with nothing where there is none.

    It pickles where the callable and the values do.
    """

    __slots__ = ("__weakref__", "__wrapped__", "snapshot")

    def __init__(self, snapshot: Snapshot | None, func: Callable[..., _T]) -> None:
        self.snapshot = snapshot
        self.__wrapped__ = func

    def __call__(self, /, *args: Any, **kwargs: Any) -> _T:
        if self.snapshot is None:
            return pep567.Context().run(self.__wrapped__, *args, **kwargs)
        return pep567.Context().run(self.snapshot.run, self.__wrapped__, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name == "__wrapped__":  # not there yet
            raise AttributeError(name)
        return getattr(self.__wrapped__, name)

    def __repr__(self) -> str:
        return f"<{self.__wrapped__!r} with {self.snapshot or 'nothing'}>"

    def __reduce__(self) -> Any:
        return Call, (self.snapshot, self.__wrapped__)


class SharedCall(Call[_T]):
    """A callable that runs in whatever context is current, with what is not to be seen there as it is."""

    __slots__ = ()

    def __call__(self, /, *args: Any, **kwargs: Any) -> _T:
        if self.snapshot is None:
            return self.__wrapped__(*args, **kwargs)
        with Block(self.snapshot, True):
            return self.__wrapped__(*args, **kwargs)


class CarriedCoroutine(Coroutine[Any, Any, _T]):
    """A coroutine that runs with what its own task does not see by itself."""

    def __init__(self, snapshot: Snapshot, coroutine: Coroutine[Any, Any, _T]) -> None:
        self.block: Block | None = Block(snapshot, True)
        self.entered = False
        self.coroutine = coroutine

    def step(self, step: Callable[..., Any], *args: Any) -> Any:
        if self.block is not None and not self.entered:
            self.entered = True
            self.block.__enter__()
        try:
            return step(*args)
        except BaseException:  # its last step: it returned, which raises StopIteration, or failed
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

    def __getattr__(self, name: str) -> Any:  # its name, code and frame, which a task shows
        if name == "coroutine":
            raise AttributeError(name)
        return getattr(self.coroutine, name)
