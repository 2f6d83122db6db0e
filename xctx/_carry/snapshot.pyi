from collections.abc import Callable, Iterable
from contextvars import Context, ContextVar
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeVar, final

from xctx._stores.local import local
from xctx._stores.xlocal import xlocal

_P = ParamSpec("_P")
_R = TypeVar("_R")

def capture(
    *stores: xlocal | local, contextvars: Iterable[ContextVar[Any]] = (), missing: Literal["error", "skip"] = "error"
) -> Snapshot:
    """Takes what this unit sees in xlocals, at this moment, to be applied elsewhere.

    Its cost does not grow with the values. The :class:`Snapshot` keeps the values that are visible now alive, and nothing else.

    Args:
        xlocals: those to take. Default: all that have something bound here.
        contextvars: context variables whose values come along. One that is not set now is left alone where the snapshot is
            applied.
        missing: what becomes of a value that cannot be pickled, or of an xlocal or context variable that no module has by
            name, when the snapshot is pickled: ``"error"`` raises a TypeError that names it, ``"skip"`` leaves it out.

    Returns:
        The :class:`Snapshot`.

    Raises:
        TypeError: one of `xlocals` is no xlocal, or one of `contextvars` no context variable.
        ValueError: `missing` is something else.

    Thread-safety: it may be called from any thread.
    """

def nothing(*xlocals: xlocal) -> Snapshot:
    """A snapshot in which nothing is bound: ``with xctx.nothing():`` hides what this unit has bound, until the block is left.

    What is bound within is seen, as always, and what is started there inherits nothing from outside. It decorates functions,
    too, as any :class:`Snapshot` does. Context variables and defaults of classes are left alone.

    Args:
        xlocals: those of which nothing is to be seen. Default: all.

    Raises:
        TypeError: one of `xlocals` is no xlocal.
    """

@final
class Snapshot:
    """What one unit saw in xlocals, to be seen by others. :func:`capture` takes it.

    ``with snapshot:`` and :meth:`run` bind it for the unit that runs, until the block or call ends. Within, each xlocal of
    the snapshot shows what it showed when the snapshot was taken, and nothing that the unit bound outside; a snapshot
    of all xlocals shows nothing in any other. What is bound within comes on top, as always. ``snapshot(f)`` wraps
    `f` so that it runs with the snapshot applied: see :func:`carry`.

    A snapshot may be applied any number of times, nested, in many units at once, in the unit that it came from. It pickles,
    as the names and values of xlocals that the other process finds by module and qualified name; what cannot go is named
    in one TypeError, or left out with ``capture(missing="skip")``. An xlocal that the other process lacks is named in a
    LookupError there, when the snapshot is applied.

    Thread-safety: all operations, from any thread.
    Lifetime: holds what was visible, as long as it lives; what was bound by applying it, until the block or call ends.
    """
    def run(self, func: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Calls ``func(*args, **kwargs)`` with this snapshot applied, and gives what it returns.

        Raises:
            LookupError: the snapshot was pickled, and this process has no xlocal by the name of one in it.
        """
    def __enter__(self) -> Self: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> Literal[False]: ...
    def __call__(self, func: Callable[_P, _R]) -> Callable[_P, _R]: ...

def binds_nothing(snapshot: Snapshot) -> bool: ...
def snapshot_of(bindings: Iterable[tuple[xlocal, dict[str, Any]]], barriers: bool = True) -> Snapshot: ...
def from_parts(whole: bool, barriers: bool, skips: bool, unresolved: tuple[Any, ...]) -> Snapshot: ...
def from_crossing(whole: bool, barriers: bool, skips: bool, *parts: Any) -> Snapshot: ...
def copy_context() -> Context: ...
def current_context() -> Context: ...

@final
class SnapshotExtras: ...

@final
class AppliedBlock:
    def __new__(cls, snapshot: Snapshot, shared: bool = False) -> Self: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> Literal[False]: ...
