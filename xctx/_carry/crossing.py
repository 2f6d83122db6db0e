"""What of a snapshot goes to another interpreter of this process, from Python 3.14 on.

Each value crosses for itself: what interpreters can share is shared, and the rest is pickled (``_runtime/crossing.h``).
"""

from contextvars import ContextVar
from typing import Any

from xctx._carry.portable import portable
from xctx._runtime import copies
from xctx._runtime.importable import object_of_type_at
from xctx._stores.local import local
from xctx._stores.xlocal import xlocal

try_crossing: Any = getattr(copies, "try_crossing", None)  # from 3.14 on


class InMain:
    """What has a name in the program's ``__main__``, which another interpreter finds only while it unpickles."""

    def __init__(self, kind: type, qualname: str) -> None:
        self.kind = kind
        self.qualname = qualname

    def __reduce__(self) -> Any:
        return object_of_type_at, (self.kind, "__main__", self.qualname)


def crosses(value: Any) -> str | None:
    """Why a value cannot go to another interpreter; None if it can."""
    try:
        try_crossing(value)
    except Exception as exc:
        reason = exc.__cause__ or exc
        return str(reason) or type(reason).__name__
    return None


def that_cross(parts: tuple[Any, Any, Any, Any], skip: bool) -> tuple[Any, ...]:
    """The parts of a snapshot that go, as tuples, because a list is pickled as a whole; `together` is what undoes that.

    Raises:
        TypeError: something in it cannot cross, and `skip` is false. The message names all of it.
    """
    named, variables, locals_, kept = portable(*parts, crosses, skip, "go to another interpreter")
    return (
        of_stores(xlocal, named),
        tuple([(there(ContextVar, place), value) for place, value in variables]),
        of_stores(local, locals_),
        None if kept is None else of_stores(local, kept),
    )


def of_stores(kind: type, going: Any) -> tuple[Any, ...]:
    return tuple([(there(kind, place), tuple(names.items())) for place, names in going])


def there(kind: type, place: tuple[str, str]) -> Any:
    module, qualname = place
    return InMain(kind, qualname) if module == "__main__" else place


def together(named: Any, variables: Any, locals_: Any, kept: Any) -> tuple[Any, ...]:
    """The parts of a snapshot that have crossed."""
    return with_names(named), variables, with_names(locals_), None if kept is None else with_names(kept)


def with_names(arrived: Any) -> list[tuple[Any, dict[str, Any]]]:
    return [(place, dict(names)) for place, names in arrived]
