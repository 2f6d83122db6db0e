from collections.abc import Callable
from typing import ParamSpec, Self, TypeVar, final

from xctx._carry.snapshot import Snapshot
from xctx._runtime.functions import StepContext

_P = ParamSpec("_P")
_R = TypeVar("_R")

def isolated(func: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorates a function so that, while it is suspended, no other code sees what it has bound, nor binds anything for it.

    Each call runs in a copy of the context in which it takes its first step. So what a generator, async generator or
    coroutine binds stays with it between its steps, what its caller binds later does not reach it, and the same holds for
    context variables. When another unit (task, thread or greenlet) resumes it, it goes on seeing what it saw. An event loop,
    for example, uses a task of its own to close an async generator that was dropped.

    Args:
        func: a generator function, async generator function, coroutine function or any other callable.

    Returns:
        A function of the same kind.

    Raises:
        TypeError: `func` is not callable.

    Thread-safety: calls are independent of each other. Each call takes one step at a time, in any thread.
    """

@final
class OwnContext(StepContext):
    def __new__(cls, snapshot: Snapshot | None = None) -> Self: ...
