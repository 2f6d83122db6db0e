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
    """A transparent proxy of one object, for the thread that made it.

    Every operation goes to the object. On free-threaded builds an operation leaves the object's reference count alone, so
    that threads which share the object do not slow each other down. The wrapper can do just what the object can do:
    callable(), isinstance() and the abstract base classes answer as for the object. If the object cannot change in place,
    `wrapper += x` gives a new wrapper.

    Args:
        wrapped: the object.

    Thread-safety: a wrapper never changes. Give each thread a wrapper of its own, because threads that share one all write
    its reference count.
    Lifetime: owns the object.
    """
    def __new__(cls, wrapped: _T) -> _T: ...  # type: ignore[misc]
    @classmethod
    def lazy(cls, factory: Callable[[], _V], /) -> _V:
        """A wrapper of the object that `factory()` returns, which is called for the first operation that needs the object.

        The factory runs once: other threads and greenlets that need the object meanwhile wait for it. Where the factory
        raises, so does the operation, and the next operation calls it again. repr() does not call it. Because nobody knows
        beforehand what the object can do, the class of a lazy wrapper has every special method, as that of a LocalProxy.

        Args:
            factory: a callable without arguments. It is released when it has returned.

        Raises:
            TypeError: `factory` is not callable; or this is called on a class derived from LocalWrapper.
            RuntimeError: by an operation: the factory itself uses the wrapper.

        Thread-safety: may be used by any thread.
        """
    @property
    def wrapped(self) -> _T:
        """The object behind the wrapper. It never changes."""

@disjoint_base
class LocalProxy(Proxy, Generic[_T]):
    """A transparent proxy of the object that the source yields at the time of each operation.

    Args:
        source: an xlocal, a local or another object, of which `name` is an attribute; or a ContextVar, a LocalProxy or a
            callable, which yields the object itself, or an object of which `name` is an attribute.
        name: the attribute; a dotted name leads to an attribute of an attribute.
        unbound_message: what the RuntimeError says when there is no object.

    Raises:
        TypeError: `source` is something else, or a store without a `name`; `name` is not a str.

    If there is no object, an operation raises RuntimeError; but bool() is False, dir() is empty and repr() says so.

    Thread-safety: a proxy never changes; the object that it finds is held until the operation is over.
    Lifetime: owns the source, and not the object that the source yields.
    """
    @overload
    def __new__(cls, source: ContextVar[_T], name: None = None, *, unbound_message: str | None = None) -> _T: ...  # type: ignore[misc]
    @overload
    def __new__(cls, source: Callable[[], _T], name: None = None, *, unbound_message: str | None = None) -> _T: ...  # type: ignore[misc]
    # What a name leads to a checker cannot see, and a proxy of a proxy has the type of its target already.
    @overload
    def __new__(cls, source: Any, name: str | None = None, *, unbound_message: str | None = None) -> Any: ...
    def _get_current_object(self) -> _T: ...

def unwrap(proxy: _T, /) -> _T:
    """The object that is behind a proxy now; if that is a proxy too, the object behind that one, and so on.

    Args:
        proxy: a proxy. Any other object is returned as it is.

    Raises:
        RuntimeError: `proxy` is a LocalProxy with nothing behind it. What its source raises is raised too.

    Thread-safety: may be called from any thread.
    """

def is_proxy(obj: object, /) -> bool:
    """Whether an object is a LocalWrapper or a LocalProxy. isinstance() would ask the object behind the proxy as well.

    Thread-safety: may be called from any thread.
    """
