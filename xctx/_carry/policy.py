"""How bindings go along with work that is handed over, and base classes of those that hand work over."""

import contextvars as pep567
import functools
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

from xctx._carry.calls import Call, SharedCall
from xctx._carry.snapshot import Snapshot, capture
from xctx._stores import works

_T = TypeVar("_T")
_C = TypeVar("_C", bound=type)

Bindings: TypeAlias = Literal["copy", "share", "empty"]
Missing: TypeAlias = Literal["error", "skip"]
Work: TypeAlias = Literal["same", "new"]

THREADS = "threads run at the same time, and cannot be in one context"
PROCESSES = "processes have no context in common"


class CarryPolicy:
    """What goes along with work. An executor has one policy, other callers make one for each call.

    Args:
        bindings: ``"copy"``, ``"share"`` or ``"empty"``, as :mod:`xctx.concurrent` tells.
        contextvars: context variables that come along too.
        missing: what becomes of values that cannot be pickled, as :func:`xctx.capture` tells.
        work: ``"same"`` or ``"new"``, as :mod:`xctx.concurrent` tells.
        never_shared: why the work cannot run in the context of its caller, or None if it can.

    Raises:
        ValueError: `bindings`, `missing` or `work` is none of these, or is not possible for this kind of work.

    Thread-safety: never changes.
    """

    __slots__ = ("bindings", "contextvars", "missing", "new_work")

    def __init__(
        self,
        bindings: Bindings,
        contextvars: Iterable[pep567.ContextVar[Any]] = (),
        missing: Missing = "error",
        *,
        work: Work = "same",
        never_shared: str | None = None,
    ) -> None:
        if work not in ("same", "new"):
            raise ValueError(f"work is 'same' or 'new', not {work!r}")
        if bindings not in ("copy", "share", "empty"):
            raise ValueError(f"bindings is 'copy', 'share' or 'empty', not {bindings!r}")
        if bindings == "share" and never_shared is not None:
            raise ValueError(f"bindings is 'copy' or 'empty' here, not 'share': {never_shared}")
        self.bindings = bindings
        self.contextvars = tuple(contextvars)
        self.missing = missing
        self.new_work = work == "new"
        self.take()  # so that wrong arguments raise here, and not at the first call

    def take(self) -> Snapshot | None:
        """What goes along from here: a snapshot, or None if nothing does."""
        if self.bindings == "empty":
            return None
        return capture(contextvars=self.contextvars, missing=self.missing)

    def call(self, func: Callable[..., _T]) -> Call[_T]:
        """`func` together with what is seen now."""
        return (SharedCall if self.bindings == "share" else Call)(self.take(), func, self.new_work)

    def in_work(self, func: Callable[..., _T]) -> Callable[..., _T]:
        """The function as a unit of work of its own, if the policy says so."""
        return works.work()(func) if self.new_work else func


class Carrying:
    """The base of a class that hands work over to threads or greenlets.

    Args:
        bindings: ``"copy"``, ``"share"`` where the class can, or ``"empty"``.
        contextvars: context variables that come along.
        work: ``"same"`` or ``"new"``.
        args, kwargs: as for the class that it extends.
    """

    _never_shared: ClassVar[str | None] = THREADS
    _policy: CarryPolicy

    def __init__(
        self,
        *args: Any,
        bindings: Bindings = "copy",
        contextvars: Iterable[pep567.ContextVar[Any]] = (),
        work: Work = "same",
        **kwargs: Any,
    ) -> None:
        self._policy = CarryPolicy(bindings, contextvars, work=work, never_shared=self._never_shared)
        super().__init__(*args, **kwargs)


class CarryingToProcesses:
    """The base of a class that hands work over to processes.

    Args:
        bindings: ``"copy"`` or ``"empty"``.
        contextvars: context variables that come along.
        missing: ``"error"`` or ``"skip"``.
        work: ``"same"`` or ``"new"``.
        args, kwargs: as for the class that it extends.
    """

    _policy: CarryPolicy

    def __init__(
        self,
        *args: Any,
        bindings: Bindings = "copy",
        contextvars: Iterable[pep567.ContextVar[Any]] = (),
        missing: Missing = "error",
        work: Work = "same",
        **kwargs: Any,
    ) -> None:
        self._policy = CarryPolicy(bindings, contextvars, missing, work=work, never_shared=PROCESSES)
        super().__init__(*args, **kwargs)


def take_along(*names: str) -> Callable[[_C], _C]:
    """Decorates a class that has a `_policy`, and inherits methods of these names whose first argument is a function.

    The methods then run the function with what is seen where they are called.
    """

    def decorate(cls: _C) -> _C:
        for name in names:
            setattr(cls, name, taking_along(getattr(cls, name)))
        return cls

    return decorate


def taking_along(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def carrying(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        if args:
            return method(self, carried(self, args[0]), *args[1:], **kwargs)
        if "func" in kwargs:
            kwargs["func"] = carried(self, kwargs["func"])
        return method(self, **kwargs)

    carrying.__doc__ = f"As ``{method.__qualname__}``, with what is seen now."
    return carrying


def carried(owner: Any, func: Callable[..., _T]) -> Call[_T]:
    """`func` with what is seen now; or `func` itself, if the method that called this one has done that already."""
    if isinstance(func, Call):
        return func
    call: Call[_T] = owner._policy.call(func)
    return call
