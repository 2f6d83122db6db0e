from collections.abc import Callable, Hashable
from typing import Final

from typing_extensions import disjoint_base

from xctx._runtime.units import Unit as Unit

@disjoint_base
class Key:
    """Says which kind of unit a store keeps apart, and finds the unit of that kind that is current.

    :mod:`xctx.keys` has the keys for threads, greenlets and the like. ``Key(func, name=None)`` makes one from a callable:
    each value that it returns is a unit. If a value compares by identity and can be referred to weakly, its unit ends when
    the value dies; otherwise the unit lives until :meth:`forget` is called, or the key dies.

    Args:
        func: a callable without arguments that returns a hashable. It is called at each use of a store, in the unit that
            uses the store, and must not use a store with this key.
        name: for people to read. Default: that of `func`.

    Raises:
        TypeError: `func` is not callable, or `name` is not a str.

    Thread-safety: all methods may be called from any thread, and so `func` is called in any thread.
    """
    @property
    def name(self) -> str: ...
    @property
    def func(self) -> Callable[[], Hashable] | None: ...
    def __init__(self, func: Callable[[], Hashable], name: str | None = None) -> None: ...
    def __call__(self) -> Unit: ...
    def current(self) -> Unit:
        """The unit that is current under this key; for ``flow``, that of the current context.

        Returns:
            The :class:`Unit`; made now where this is the first use of it.
        """
    def of(self, thing: object) -> Unit | None:
        """The unit of something that need not be running, if anything has been kept for it.

        Args:
            thing: a greenlet, an asyncio or trio task, a :class:`contextvars.Context`, a :class:`threading.Thread` or its
                ident, a unit of work's :class:`Unit`, or (for a callable's key) a value, according to the key.

        Returns:
            The :class:`Unit`, which is alive; or None.

        Raises:
            TypeError: under ``thread``, `thing` is neither a thread nor an ident; under a callable's key, it is not hashable.
        """
    def forget(self, value: Hashable) -> None:
        """Ends the unit of a value of a callable's key, so what stores keep for it is released.

        Args:
            value: a value that the callable has returned. Others are ignored.

        Raises:
            TypeError: this is one of the keys in :mod:`xctx.keys`, whose units end by themselves.
        """

process: Final[Key]
thread: Final[Key]
greenlet: Final[Key]
task: Final[Key]
flow: Final[Key]
work: Final[Key]
context: Final[Key]
