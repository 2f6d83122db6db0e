from collections.abc import Callable, Hashable
from typing import Any, Never, Self

from typing_extensions import disjoint_base

from xctx._core import Key
from xctx._stores.blocks import BindingVariable
from xctx._stores.scopes import Scope

@disjoint_base
class xlocal(BindingVariable):
    """Scoped, read-only names.

    ``with x(a=1):`` binds; ``x.a`` reads; nothing leaks out of the block. By default a binding is seen wherever the program
    carries its context on purpose, in this process; `key` can narrow that to a task, a greenlet or a thread.
    A subclass may declare its names, with types and defaults: then only those can be bound::

        class Current(xctx.xlocal):
            request: Request
            user: User | None = None

    Args:
        key: one of :mod:`xctx.keys`, or a callable that returns a hashable. Default: the class's key, which is
            :data:`xctx.keys.flow` unless ``class C(xctx.xlocal, key=...)`` says otherwise.

    Raises:
        TypeError: `key` is neither.

    Thread-safety: all operations may be called in any thread.
    Lifetime: bindings hold their xlocal. Without the GIL, 3.13 never frees an xlocal that several threads have read ten
        thousand times; from 3.14 on the garbage collector frees it.
    """
    def __init__(self, *, key: Key | Callable[[], Hashable] | None = None) -> None: ...
    def __init_subclass__(cls, key: Key | Callable[[], Hashable] | None = None, **kwargs: Any) -> None: ...
    @classmethod
    def new(cls, *, key: Key | Callable[[], Hashable] | None = None) -> Self:
        """Makes an xlocal: the same as calling the class."""
    def __call__(self, **names: Any) -> Scope[Self]: ...
    # Any name may be read. Those that a subclass annotates have the types it says.
    def __getattribute__(self, name: str, /) -> Any: ...
    # No name may be set or deleted: both always raise.
    def __setattr__(self, name: str, value: Never, /) -> Never: ...
    def __delattr__(self, name: str, /) -> Never: ...
    def __set_name__(self, owner: type, name: str) -> None: ...

def key_of(store: xlocal) -> Key: ...
def add_hooks(*, on_subclass: Callable[[type[xlocal]], object], on_instance: Callable[[xlocal], object]) -> None: ...
