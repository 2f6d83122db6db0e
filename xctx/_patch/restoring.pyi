"""What asgiref does in Python wherever it moves work between threads: it sets here what is set in another context."""

from collections.abc import Callable
from contextvars import Context
from types import ModuleType
from typing import Any, Self, final

@final
class Restorer:
    """What ``asgiref.sync._restore_context`` does, as its method of that name.

    Thread-safety: never changes.
    Lifetime: held by its bound method, which is put into asgiref's module.
    """

    def __new__(
        cls,
        *,
        storage: type | None,
        transfer: Callable[[Any], Any] | None,
        threading: ModuleType,
        by_identity: bool,
    ) -> Self: ...
    def _restore_context(self, context: Context) -> None:
        """Sets each context variable that is set in another context to the value that it has there.

        Args:
            context: the other context. Where it is the current one, only asgiref's own stores are made seen in this thread.
        """
