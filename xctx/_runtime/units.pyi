from typing import Any, Literal, Never, Self, final
from weakref import ReferenceType

@final
class Unit(ReferenceType[Any]):
    """The record of one execution unit: a process, thread, greenlet, task, context or unit of work.

    A unit is a weak reference: calling it gives the object it stands for, or None. Units compare by identity, and are hashable.
    They are made by keys (:meth:`Key.current`), never by hand.

    Thread-safety: all methods may be called from any thread.
    Lifetime: a unit ends when what it stands for ends; the object may be kept longer and then says ``alive == False``.
    """
    @property
    def alive(self) -> bool:
        """Whether what this unit stands for still runs, in this process."""
    @property
    def kind(self) -> Literal["process", "thread", "greenlet", "task", "work", "context", "value"]:
        """'process', 'thread', 'greenlet', 'task', 'work' or 'context'; or 'value' if a callable's key made the unit."""
    # Only keys make units, so no call type-checks.
    def __new__(cls, made_by_keys: Never, /) -> Self: ...
    def __init__(self, made_by_keys: Never, /) -> None: ...
    def __hash__(self) -> int: ...
