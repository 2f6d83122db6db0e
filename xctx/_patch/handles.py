"""Handles by which patches are undone, and those that are in place."""

from typing import Self

from xctx._patch import carrying, parts
from xctx._patch.parts import Finding


class Patch:
    """What a call has patched, until it is undone. ``with`` undoes it at the end of the block.

    Thread-safety: all methods may be called from any thread.
    Lifetime: a patch that nobody holds stays.
    """

    def __init__(self, names: tuple[str, ...], policy: carrying.Policy | None = None) -> None:
        self._names = names
        self._policy = policy
        self._open = True
        try:
            with parts.lock:
                _handles.append(self)
                if policy is not None:
                    carrying.policies = (*carrying.policies, policy)
                for name in names:
                    parts.PARTS[name].ask(self)
        except BaseException:
            self.undo()
            raise

    def undo(self) -> None:
        """Takes back what this call has patched, except what other calls have asked for too.

        A second time does nothing. Where it is interrupted, a second time does the rest.
        """
        with parts.lock:
            if not self._open:
                return
            for name in self._names:
                parts.PARTS[name].give_back(self)
            carrying.policies = tuple(each for each in carrying.policies if each is not self._policy)
            _handles[:] = [each for each in _handles if each is not self]
            self._open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.undo()

    def __repr__(self) -> str:
        return f"<patch of {', '.join(self._names)}{'' if self._open else ', undone'}>"


_handles: list[Patch] = []  # those that are open. Guarded by the lock of parts.py


def undo() -> None:
    """Undoes every patch that is in place."""
    with parts.lock:
        for handle in _handles[::-1]:
            handle.undo()


def report() -> list[Finding]:
    """What is replaced at this moment, and what is left as it was: above all, what was made before."""
    with parts.lock:
        return [each for part in parts.PARTS.values() if part.asked_by for each in part.findings()]
