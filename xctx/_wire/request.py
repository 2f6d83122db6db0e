"""A request that a server answers: its unit of work, and the names that arrived with it."""

from collections.abc import Callable
from types import TracebackType
from typing import Any

from xctx._carry.snapshot import AppliedBlock, Snapshot
from xctx._stores.works import WorkSteps

__all__ = ["Request"]


class Request:
    """What each step of answering one request runs inside: ``with request:``, or :meth:`run`.

    Args:
        snapshot: what is bound in each step; None for nothing.

    Thread-safety: one step at a time, by any thread.
    Lifetime: its unit of work ends with :meth:`end`, or with this.
    """

    __slots__ = ("_applied", "_snapshot", "_steps")

    def __init__(self, snapshot: Snapshot | None) -> None:
        self._snapshot = snapshot
        self._applied: AppliedBlock | None = None
        self._steps = WorkSteps()

    def run(self, func: Callable[..., Any], *args: Any) -> Any:
        """Calls ``func(*args)`` in a step."""
        if self._snapshot is not None:
            return self._steps.run(self._snapshot.run, (func, *args), {})
        return self._steps.run(func, args, {})

    def __enter__(self) -> None:
        self._steps.__enter__()
        if self._snapshot is not None:
            try:
                self._applied = AppliedBlock(self._snapshot).__enter__()
            except BaseException:
                self._steps.__exit__(None, None, None)
                raise

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        applied, self._applied = self._applied, None
        try:
            if applied is not None:
                applied.__exit__(None, None, None)
        finally:
            self._steps.__exit__(None, None, None)

    def end(self) -> None:
        """Ends the unit of work. No step follows."""
        self._steps.close()
