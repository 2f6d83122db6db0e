from collections.abc import Callable, Hashable
from typing import Any, Self

from typing_extensions import disjoint_base

from xctx._core import Key

@disjoint_base
class local:
    """Attributes of execution units: each unit has its own, and they end with it.

    `key` says what a unit is.

    It replaces ``threading.local`` (key ``thread``, or the default), ``gevent.local.local`` (the default), a fork-safe local
    (any key but ``context``), and werkzeug's ``Local`` (keys ``flow`` and ``context``). A subclass's ``__init__`` is called in
    each unit that uses the object, with the arguments of the constructor; all units share the attributes in its ``__slots__``.

    Args:
        key: one of :mod:`xctx.keys`, or a callable that returns a hashable. Default: the class's key, which is
            :data:`xctx.keys.greenlet` unless ``class L(xctx.local, key=...)`` says otherwise. Where a subclass has an
            ``__init__``, all arguments are its own.

    Raises:
        TypeError: arguments are given and there is no ``__init__`` to take them, or `key` is no key.

    Thread-safety: all operations may be called in any thread. Under the keys ``process`` and ``work`` and those of callables,
        several threads may share one unit's attributes; then each operation is atomic.
    Lifetime: a unit's values are released when the unit ends, all values when the store dies. In a forked child every unit
        starts empty, except under the key ``context``. Without the GIL, 3.13 never frees a store that several threads have
        used ten thousand times; from 3.14 on the garbage collector frees it.
    """
    # A subclass's own __init__ takes its own arguments.
    def __init__(self, *, key: Key | Callable[[], Hashable] | None = None) -> None: ...
    def __init_subclass__(cls, key: Key | Callable[[], Hashable] | None = None, **kwargs: Any) -> None: ...
    # Any name may be set. Those that a subclass annotates have the types it says.
    def __getattribute__(self, name: str, /) -> Any: ...
    def __setattr__(self, name: str, value: Any, /) -> None: ...
    def __delattr__(self, name: str, /) -> None: ...
    def __call__(self, name: str, *, unbound_message: str | None = None) -> Any: ...
    def __copy__(self) -> Self: ...
    def __release_local__(self) -> None: ...
