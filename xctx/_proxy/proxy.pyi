from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Generic, TypeVar, overload

from typing_extensions import disjoint_base

_T = TypeVar("_T")
_V = TypeVar("_V")

# A proxy has whatever its target has, so a checker is told that it is the target: the constructors give the target's
# type, and `request: Request = LocalProxy(variable)` needs no cast. As classes they are there for annotations,
# subclasses and issubclass(type(obj), LocalProxy). There is no __init__ here: mypy would believe it and not __new__.

@disjoint_base
class Proxy: ...

class LocalWrapper(Proxy, Generic[_T]):
    def __new__(cls, wrapped: _T) -> _T: ...  # type: ignore[misc]
    @classmethod
    def lazy(cls, factory: Callable[[], _V], /) -> _V: ...
    @property
    def wrapped(self) -> _T: ...

@disjoint_base
class LocalProxy(Proxy, Generic[_T]):
    @overload
    def __new__(cls, source: ContextVar[_T], name: None = None, *, unbound_message: str | None = None) -> _T: ...  # type: ignore[misc]
    @overload
    def __new__(cls, source: Callable[[], _T], name: None = None, *, unbound_message: str | None = None) -> _T: ...  # type: ignore[misc]
    # What a name leads to a checker cannot see, and a proxy of a proxy has the type of its target already.
    @overload
    def __new__(cls, source: Any, name: str | None = None, *, unbound_message: str | None = None) -> Any: ...
    def _get_current_object(self) -> _T: ...

def unwrap(proxy: _T, /) -> _T: ...
def is_proxy(obj: object, /) -> bool: ...
