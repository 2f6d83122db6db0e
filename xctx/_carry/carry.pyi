from collections.abc import Callable
from typing import ParamSpec, TypeVar

from xctx._carry.snapshot import Snapshot

_P = ParamSpec("_P")
_R = TypeVar("_R")

def carry(func: Callable[_P, _R]) -> Callable[_P, _R]:
    """Wraps `func` so that it runs with what this unit sees now, wherever and whenever it is called.

    This call takes a snapshot of all xlocals, as :func:`capture` does. To choose what is taken, capture it yourself:
    ``capture(current, contextvars=[var])(func)``.

    Args:
        func: a callable, coroutine function, generator function or async generator function. The latter three run in a
            context of their own: see :func:`isolated`.

    Returns:
        A callable of the same kind. If `func` is carried already, it would show nothing of what is seen now, so it is
        returned as it is. If `func` is a plain callable, the result can be pickled if `func` and the values can.

    Raises:
        TypeError: `func` is not callable.

    Thread-safety: the result may be called in any thread, also in several at the same time.
    """

def carried(snapshot: Snapshot, func: Callable[_P, _R]) -> Callable[_P, _R]: ...
