"""Stand-ins for werkzeug's proxies: for the class, and for those that exist already, such as Flask's ``request``.

A proxy of werkzeug's keeps its source and its message in the function that asks the source. They are read from there; a
proxy whose function looks otherwise than werkzeug 2.2 to 3.1 make it has no stand-in, and stays.
"""

from operator import attrgetter
from types import FunctionType
from typing import Any

from xctx._proxy.proxy import LocalProxy


def for_werkzeug(original: type) -> type:
    """Of ``werkzeug.local.LocalProxy``. What was made by the original passes for an object of it."""

    class Asked(type):
        def __instancecheck__(cls, obj: object) -> bool:
            return type.__instancecheck__(cls, obj) or (cls is made and isinstance(obj, original))

    made = Asked("LocalProxy", (LocalProxy,), {"__slots__": (), "__doc__": vars(original).get("__doc__")})
    made.__module__, made.__qualname__ = original.__module__, original.__qualname__
    return made


def stand_in(cls: type, proxy: Any) -> Any:
    """A proxy, of the class `cls`, that does what a proxy of werkzeug's does; None if that cannot be found out."""
    try:
        function = object.__getattribute__(proxy, "_get_current_object")
        source = object.__getattribute__(proxy, "_LocalProxy__wrapped")
    except AttributeError:
        return None
    if not isinstance(function, FunctionType):
        return None
    try:
        kept = {
            name: cell.cell_contents
            for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        }
    except ValueError:  # a cell that is empty
        return None
    if kept.get("local", kept) is not source or "get_name" not in kept:
        return None
    get_name, message = kept["get_name"], kept.get("unbound_message")
    if isinstance(get_name, attrgetter):
        names = get_name.__reduce__()[1]
        if len(names) != 1:
            return None
        name = names[0]
    elif getattr(get_name, "__qualname__", None) == "_identity":
        name = None
    else:
        return None
    try:
        made: Any = cls(source, name, unbound_message=message)
    except TypeError:
        return None
    return made
