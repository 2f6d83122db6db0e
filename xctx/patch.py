"""xctx's classes in place of those of other libraries, in a program that nobody rewrites.

Each function here patches, and returns a handle by which that is undone: ``handle.undo()``, or the end of a block
``with patch.locals():``. A part that was asked for several times stays until each call was undone. :func:`report` lists
what was replaced, and what could not be. ``python -m xctx run`` runs a program patched, with the interpreters that it
starts.

Thread-safety: all of it. A forked child has what its parent has.
"""

from collections.abc import Iterable
from typing import Self

from xctx._patch import carrying as _carrying
from xctx._patch import parts as _parts
from xctx._patch.parts import Finding

__all__ = ["Finding", "Patch", "all", "carry", "locals", "proxies", "report", "undo"]


class Patch:
    """What a call has patched, until it is undone. ``with`` undoes it at the end of the block.

    Thread-safety: all methods may be called from any thread.
    Lifetime: a patch that nobody holds stays.
    """

    def __init__(self, names: tuple[str, ...], policy: _carrying.Policy | None = None) -> None:
        self._names = names
        self._policy = policy
        self._open = True
        with _parts.lock:
            _handles.append(self)
            if policy is not None:
                _carrying.policies = (*_carrying.policies, policy)
            for name in names:
                _parts.PARTS[name].ask()

    def undo(self) -> None:
        """Takes back what this call has patched, but for what other calls have asked for too.

        A second time does nothing.
        """
        with _parts.lock:
            if not self._open:
                return
            self._open = False
            _handles.remove(self)
            for name in self._names:
                _parts.PARTS[name].give_back()
            if self._policy is not None:
                _carrying.policies = tuple(each for each in _carrying.policies if each is not self._policy)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.undo()

    def __repr__(self) -> str:
        return f"<patch of {', '.join(self._names)}{'' if self._open else ', undone'}>"


_handles: list[Patch] = []  # those that are open. Guarded by the lock of parts.py


def locals() -> Patch:
    """Replaces ``threading.local``, ``_threading_local.local``, gevent's, werkzeug's and asgiref's by stores of xctx's.

    Returns:
        The handle that undoes it.
    """
    return Patch(("locals",))


def proxies() -> Patch:
    """Replaces werkzeug's ``LocalProxy``, and the proxies of it that modules have as global names, such as Flask's.

    Returns:
        The handle that undoes it.
    """
    return Patch(("proxies",))


def carry(*, allow: Iterable[str] | None = None, deny: Iterable[str] = ()) -> Patch:
    """Has threads and pools take along what is bound where they are started or given work.

    Args:
        allow: names of modules and packages whose threads and calls do, and no others. Default: all.
        deny: names of modules and packages whose threads and calls do not.

    Returns:
        The handle that undoes it.

    Raises:
        TypeError: `allow` or `deny` are no names.
        ValueError: both are given.
    """
    return Patch(("carry",), _carrying.Policy(allow, deny))


def all(*, allow: Iterable[str] | None = None, deny: Iterable[str] = ()) -> Patch:
    """All of it: :func:`locals`, :func:`proxies` and :func:`carry`, with the same arguments as that."""
    return Patch(("locals", "proxies", "carry"), _carrying.Policy(allow, deny))


def undo() -> None:
    """Undoes every patch that is in place."""
    with _parts.lock:
        for handle in _handles[::-1]:
            handle.undo()


def report() -> list[Finding]:
    """What is replaced at this moment, and what is left as it was: above all, what was made before."""
    with _parts.lock:
        return [each for part in _parts.PARTS.values() if part.asked for each in part.findings()]
