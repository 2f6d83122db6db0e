"""The store by which asgiref finds the thread that waits for a task, read in C."""

from contextvars import ContextVar
from types import ModuleType
from typing import Any, Self, final

@final
class ThreadStore:
    """A store of asgiref's, with the same attributes: they are kept where asgiref's own object keeps them.

    An attribute is seen in the context in which it was set, and there only by the thread that set it or that
    ``_restore_context`` has given it to.

    Thread-safety: any thread may use it; what is kept never changes, but is replaced.
    Lifetime: holds the variable, not asgiref's object.
    """

    def __new__(cls, *, variable: ContextVar[Any], storage: type, threading: ModuleType) -> Self: ...
    def __getattribute__(self, name: str, /) -> Any: ...
    def __setattr__(self, name: str, value: Any, /) -> None: ...
    def __delattr__(self, name: str, /) -> None: ...
