"""How bindings go along with work that is handed over, and base classes of those that hand work over."""

import contextvars as pep567
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

from xctx._carry.calls import Call, SharedCall
from xctx._carry.snapshot import Snapshot, capture
from xctx._stores import works
from xctx._stores.xlocal import xlocal

_T = TypeVar("_T")
_C = TypeVar("_C", bound=type)

Bindings: TypeAlias = Literal["copy", "share", "empty"]
Missing: TypeAlias = Literal["error", "skip"]
Work: TypeAlias = Literal["same", "new"]

THREADS = "threads run at the same time, and cannot be in one context"
PROCESSES = "processes have no context in common"
INTERPRETERS = "interpreters have no context in common"


class CarryPolicy:
    """What goes along with work. An executor has one policy, other callers make one for each call.

    Args:
        bindings: ``"copy"``, ``"share"`` or ``"empty"``, as for :mod:`xctx.concurrent`.
        contextvars: context variables that come along too.
        missing: what becomes of values that cannot be pickled, as for :func:`xctx.capture`.
        work: ``"same"`` or ``"new"``, as for :mod:`xctx.concurrent`.
        never_shared: why the work cannot run in the context of its caller, or None if it can.
        xlocals: those that come along; None for all.

    Raises:
        ValueError: `bindings`, `missing` or `work` is none of these, or is not possible for this kind of work; or
            `xlocals` are given, and `bindings` is not ``"copy"``.
        TypeError: `xlocals` is not an iterable of xlocals, or `contextvars` not one of context variables.

    Thread-safety: never changes.
    """

    __slots__ = ("bindings", "contextvars", "missing", "new_work", "xlocals")

    def __init__(
        self,
        bindings: Bindings,
        contextvars: Iterable[pep567.ContextVar[Any]] = (),
        missing: Missing = "error",
        *,
        work: Work = "same",
        never_shared: str | None = None,
        xlocals: Iterable[xlocal] | None = None,
    ) -> None:
        if work not in ("same", "new"):
            raise ValueError(f"work is 'same' or 'new', not {work!r}")
        if bindings not in ("copy", "share", "empty"):
            raise ValueError(f"bindings is 'copy', 'share' or 'empty', not {bindings!r}")
        if bindings == "share" and never_shared is not None:
            raise ValueError(f"bindings is 'copy' or 'empty' here, not 'share': {never_shared}")
        if xlocals is not None and bindings != "copy":
            raise ValueError(f"xlocals can be chosen where bindings is 'copy', not {bindings!r}")
        self.bindings = bindings
        self.xlocals = None if xlocals is None else those_chosen(xlocals)
        self.contextvars = tuple(contextvars)
        self.missing = missing
        self.new_work = work == "new"
        self.take()  # so that wrong arguments raise here, and not at the first call

    def take(self) -> Snapshot | None:
        """What goes along from here: a snapshot, or None if nothing does."""
        if self.bindings == "empty":
            return None
        # The unit of work goes along whatever is chosen: `work` says whether the call is in it.
        chosen = () if self.xlocals is None else (*self.xlocals, works.here)
        return capture(*chosen, contextvars=self.contextvars, missing=self.missing)

    def call(self, func: Callable[..., _T]) -> Call[_T]:
        """`func` together with what is seen now."""
        return (SharedCall if self.bindings == "share" else Call)(self.take(), func, self.new_work)

    def callback(self, func: Callable[..., _T]) -> Call[_T]:
        """A callback or an initializer together with what is seen now: it is no unit of work of its own, and runs in a
        context of its own even where the work shares that of its caller."""
        return func if isinstance(func, Call) else Call(self.take(), func)

    def in_work(self, func: Callable[..., _T]) -> Callable[..., _T]:
        """The function as a unit of work of its own, if the policy says so."""
        return works.work()(func) if self.new_work else func


def those_chosen(xlocals: Iterable[xlocal]) -> tuple[xlocal, ...]:
    """The `xlocals` that were given, as a tuple. `capture` checks that they are xlocals."""
    try:
        return tuple(xlocals)
    except TypeError:
        raise TypeError(f"xlocals is an iterable of xlocals, or None for all, not {xlocals!r}") from None


class _Carrying:
    """What all classes that hand work over have in common."""

    _policy: CarryPolicy
    _initializer_place: ClassVar[int | None] = None  # of the argument `initializer`, if the class has one

    def _carry_initializer(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """Makes the initializer run with what is seen now. Gives the positional arguments."""
        place = self._initializer_place
        if place is None:
            return args
        if len(args) > place and callable(args[place]):
            return (*args[:place], self._policy.callback(args[place]), *args[place + 1 :])
        if callable(kwargs.get("initializer")):
            kwargs["initializer"] = self._policy.callback(kwargs["initializer"])
        return args


class Carrying(_Carrying):
    """The base of a class that hands work over to threads or greenlets.

    Args:
        bindings: ``"copy"``, ``"share"`` where the class can, or ``"empty"``.
        contextvars: context variables that come along.
        work: ``"same"`` or ``"new"``.
        xlocals: those that come along; None for all.
        args, kwargs: as for the class that it extends.
    """

    _never_shared: ClassVar[str | None] = THREADS

    def __init__(
        self,
        *args: Any,
        bindings: Bindings = "copy",
        contextvars: Iterable[pep567.ContextVar[Any]] = (),
        work: Work = "same",
        xlocals: Iterable[xlocal] | None = None,
        **kwargs: Any,
    ) -> None:
        self._policy = CarryPolicy(bindings, contextvars, work=work, never_shared=self._never_shared, xlocals=xlocals)
        super().__init__(*self._carry_initializer(args, kwargs), **kwargs)


class CarryingToProcesses(_Carrying):
    """The base of a class that hands work over to processes or interpreters.

    Args:
        bindings: ``"copy"`` or ``"empty"``.
        contextvars: context variables that come along.
        missing: ``"error"`` or ``"skip"``.
        work: ``"same"`` or ``"new"``.
        xlocals: those that come along; None for all.
        args, kwargs: as for the class that it extends.
    """

    _never_shared: ClassVar[str] = PROCESSES

    def __init__(
        self,
        *args: Any,
        bindings: Bindings = "copy",
        contextvars: Iterable[pep567.ContextVar[Any]] = (),
        missing: Missing = "error",
        work: Work = "same",
        xlocals: Iterable[xlocal] | None = None,
        **kwargs: Any,
    ) -> None:
        self._policy = CarryPolicy(
            bindings, contextvars, missing, work=work, never_shared=self._never_shared, xlocals=xlocals
        )
        super().__init__(*self._carry_initializer(args, kwargs), **kwargs)


def take_along(*names: str) -> Callable[[_C], _C]:
    """Decorates a class that has a `_policy`, and inherits methods of these names whose first argument is a function.

    The methods then run the function, and the callbacks that they are given, with what is seen where they are called.
    """

    def decorate(cls: _C) -> _C:
        for name in names:
            setattr(cls, name, (submitting if name == "submit" else taking_along)(getattr(cls, name)))
        return cls

    return decorate


def taking_along(method: Callable[..., Any]) -> Callable[..., Any]:
    names = [*inspect.signature(method).parameters][1:]
    callbacks: dict[str, int] = {name: names.index(name) for name in ("callback", "error_callback") if name in names}

    @functools.wraps(method)
    def carrying(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        if callbacks:
            args = carry_callbacks(self._policy, callbacks, args, kwargs)
        if args:
            return method(self, carried(self, args[0]), *args[1:], **kwargs)
        if "func" in kwargs:
            kwargs["func"] = carried(self, kwargs["func"])
        return method(self, **kwargs)

    carrying.__doc__ = f"As ``{method.__qualname__}``, with what is seen now."
    return carrying


def carry_callbacks(
    policy: CarryPolicy, places: dict[str, int], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, ...]:
    """Makes the callbacks among these arguments run with what is seen now. Gives the positional arguments."""
    for name, place in places.items():
        if len(args) > place and args[place] is not None:
            args = (*args[:place], policy.callback(args[place]), *args[place + 1 :])
        elif kwargs.get(name) is not None:
            kwargs[name] = policy.callback(kwargs[name])
    return args


def submitting(submit: Callable[..., Any]) -> Callable[..., Any]:
    """The method `submit` of an executor, whose work and whose future's callbacks run with what is seen where they are
    handed over."""
    carrying = taking_along(submit)

    @functools.wraps(submit)
    def submitted(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return with_bound_callbacks(carrying(self, *args, **kwargs), self._policy)

    submitted.__doc__ = carrying.__doc__
    return submitted


def with_bound_callbacks(future: Any, policy: CarryPolicy) -> Any:
    """The future, whose callbacks then run with what is seen where they are added, as those of asyncio's futures do."""
    add = future.add_done_callback

    def add_done_callback(fn: Callable[[Any], object]) -> None:
        """As for every future: the callback is called when this is done. It sees what is seen now."""
        add(policy.callback(fn))

    def forget(future: Any) -> None:
        vars(future).pop("add_done_callback", None)

    # In the future rather than in a class of its own, because the executor makes the future. They refer to each other,
    # until it is done: after that a callback is called where it is added.
    future.add_done_callback = add_done_callback
    add(forget)
    return future


def carried(owner: Any, func: Callable[..., _T]) -> Call[_T]:
    """`func` with what is seen now; or `func` itself, if the method that called this one has done that already."""
    if isinstance(func, Call):
        return func
    call: Call[_T] = owner._policy.call(func)
    return call
