"""Names whose values a factory makes: once for each block of an xlocal, once for each unit of a local."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    _T = TypeVar("_T")


class Field:
    """What :func:`field` gives. A class derived from local keeps it; xlocal removes it and notes the factory.

    Thread-safety: never changes.
    """

    __slots__ = ("default_factory", "name")

    def __init__(self, default_factory: "Callable[[], Any]") -> None:
        if not callable(default_factory):
            raise TypeError(f"default_factory is a callable that takes nothing, not {default_factory!r}")
        self.default_factory = default_factory
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, store: "Any", owner: type | None = None) -> "Any":
        # Called for a local if the current unit does not have the name yet.
        if store is None:
            return self
        made = self.default_factory()
        return store.__dict__.setdefault(self.name, made)  # code that shares the unit may have set it first

    def __repr__(self) -> str:
        return f"<field made by {self.default_factory!r}>"


def field(*, default_factory: "Callable[[], _T]") -> "_T":
    """Declares a name whose value a factory makes, in a class derived from xlocal or local::

        class Current(xctx.xlocal):
            request: Request
            tags: list[str] = xctx.field(default_factory=list)

    For an xlocal a value is made, and bound, when a block is entered in which the name would not be seen otherwise.
    Blocks within that block show the same value, and so do the tasks and threads that the bindings go to. Where no
    block is open, the name is not there. For a local a value is made for each unit, when the unit first reads the name.

    Args:
        default_factory: called without arguments, it makes a value. What it raises is raised where the block is
            entered or the name is read.

    Raises:
        TypeError: `default_factory` cannot be called.

    Thread-safety: the factory may be called in several threads at the same time.
    """
    return Field(default_factory)  # type: ignore[return-value]
