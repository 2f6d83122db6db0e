"""Names of a store's class whose values are made: once for each block of an xlocal, once for each unit of a local."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    _T = TypeVar("_T")


class Field:
    """What :func:`field` gives. It stays in a class derived from local; xlocal takes it out, and goes by the factory.

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
        # Found in the class of a local where the current unit has no such name.
        if store is None:
            return self
        made = self.default_factory()
        return store.__dict__.setdefault(self.name, made)  # another thread or greenlet may have come first

    def __repr__(self) -> str:
        return f"<field made by {self.default_factory!r}>"


def field(*, default_factory: "Callable[[], _T]") -> "_T":
    """Says that a value is made, where a class derived from xlocal or local declares a name::

        class Current(xctx.xlocal):
            request: Request
            tags: list[str] = xctx.field(default_factory=list)

    For an xlocal one is made, and bound, for each block in which the name would not be seen otherwise, when that is
    entered: blocks within show the same one, and so do the tasks and threads that the bindings go to. Where no block is
    open the name is not there. For a local one is made for each unit, when that first reads the name.

    Args:
        default_factory: takes nothing, and makes a value. What it raises, entering the block or reading the name
            raises.

    Raises:
        TypeError: it cannot be called.
    """
    return Field(default_factory)  # type: ignore[return-value]
