"""How snapshots go to another interpreter of this process, from Python 3.14 on.

Each value crosses for itself: what interpreters can share is shared, and the rest is pickled (``_runtime/crossing.h``).
"""

from typing import Any

from xctx._carry.portable import portable
from xctx._carry.snapshot import Snapshot, from_parts
from xctx._runtime.copies import try_crossing
from xctx._runtime.importable import object_at


class InMain:
    """What stands under a name in the program's ``__main__``, which another interpreter finds only while it unpickles."""

    def __init__(self, qualname: str) -> None:
        self.qualname = qualname

    def __reduce__(self) -> Any:
        return object_at, ("__main__", self.qualname)


def crosses(value: Any) -> str | None:
    """Why a value cannot go to another interpreter; None if it can."""
    try:
        try_crossing(value)
    except Exception as exc:
        reason = exc.__cause__ or exc
        return str(reason) or type(reason).__name__
    return None


def taken_apart(whole: bool, barriers: bool, skips: bool, parts: Any) -> tuple[Any, ...]:
    """What `snapshot_of_parts` makes a snapshot of in another interpreter: a tuple of things that cross.

    Raises:
        TypeError: something in it cannot cross, and `skips` is false. The message names all of it.
    """
    named, variables, locals_, kept = portable(*parts, crosses, skips, "go to another interpreter")
    return (
        __name__,
        "snapshot_of_parts",
        whole,
        barriers,
        skips,
        of_stores(named),
        tuple([(there(place), value) for place, value in variables]),
        of_stores(locals_),
        None if kept is None else of_stores(kept),
    )


def there(place: tuple[str, str]) -> Any:
    module, qualname = place
    return InMain(qualname) if module == "__main__" else place


def of_stores(going: Any) -> tuple[Any, ...]:
    return tuple([(there(place), tuple(names.items())) for place, names in going])


def snapshot_of_parts(
    whole: bool, barriers: bool, skips: bool, named: Any, variables: Any, locals_: Any, kept: Any
) -> Snapshot:
    """The snapshot that was taken apart in another interpreter."""
    named, locals_ = with_names(named), with_names(locals_)
    return from_parts(whole, barriers, skips, (named, variables, locals_, None if kept is None else with_names(kept)))


def with_names(arrived: Any) -> list[tuple[Any, dict[str, Any]]]:
    return [(place, dict(names)) for place, names in arrived]
