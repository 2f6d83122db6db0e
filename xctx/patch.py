"""xctx's classes in place of those of other libraries, in a program that is not rewritten for it.

Each function here patches, and returns a handle by which that is undone: ``handle.undo()``, or the end of a block
``with patch.locals():``. A part that was asked for several times stays until each call was undone. :func:`report` lists
what was replaced, and what could not be. ``python -m xctx run`` runs a program patched, with the interpreters that it
starts.

Thread-safety: all of it. A forked child has what its parent has.
"""

from collections.abc import Iterable

from xctx._patch.carrying import Policy as _Policy
from xctx._patch.handles import Patch, report, undo
from xctx._patch.parts import Finding

__all__ = ["Finding", "Patch", "all", "carry", "locals", "proxies", "report", "undo"]


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
    """Makes threads and pools take along what is bound where they are started or given work.

    Args:
        allow: names of modules and packages whose threads and calls take it along, and no others. Default: all.
        deny: names of modules and packages whose threads and calls do not.

    Returns:
        The handle that undoes it.

    Raises:
        TypeError: `allow` or `deny` are no names.
        ValueError: both are given.
    """
    return Patch(("carry",), _Policy(allow, deny))


def all(*, allow: Iterable[str] | None = None, deny: Iterable[str] = ()) -> Patch:
    """All of it: :func:`locals`, :func:`proxies` and :func:`carry`, with the same arguments as that."""
    return Patch(("locals", "proxies", "carry"), _Policy(allow, deny))
