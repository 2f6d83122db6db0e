"""What the annotations of a class say of carrying: which names, how, and what their values may be.

It is imported with a program's first class that declares names, and imports typing only if a name is carried.
"""

import builtins
import sys

from xctx._stores import declare
from xctx._wire.carried import carried

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

NoneType, UnionType = type(None), type(int | None)


def types_of(annotation: "Any") -> tuple[type, ...] | None:
    """The types of which values of this annotation are instances, as a codec writes and reads them; None for any."""
    import typing

    if annotation is None:
        return (NoneType,)
    if supertype := getattr(annotation, "__supertype__", None):  # typing.NewType
        return types_of(supertype)
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return types_of(annotation.__origin__)
    if origin is typing.Union or origin is UnionType:
        found: tuple[type, ...] = ()
        for each in map(types_of, typing.get_args(annotation)):
            if each is None:
                return None
            found += each
        return found
    if origin is typing.Literal:
        return tuple({type(each) for each in typing.get_args(annotation)})
    if typing.is_typeddict(annotation):
        return (dict,)
    if isinstance(origin, type):
        annotation = origin
    if not isinstance(annotation, type) or annotation in (object, typing.Any):
        return None
    return (annotation,)


class Names(dict[str, "Any"]):
    """Where the names in an annotation that is text are looked up. A name that is found nowhere stands for any type."""

    def __init__(self, cls: type) -> None:
        module = sys.modules.get(cls.__module__)
        super().__init__({**vars(builtins), **(vars(module) if module else {}), **vars(cls)})
        self.missing: set[str] = set()

    def __missing__(self, name: str) -> object:
        self.missing.add(name)
        return object


def annotations(cls: type) -> "Iterator[tuple[str, Any]]":
    """The names that the body of `cls` annotates, and the annotations, evaluated as far as they can be now."""
    found = declare.annotations(cls, "FORWARDREF")
    for name, annotation in found.items():
        yield name, evaluated(cls, name, annotation) if isinstance(annotation, str) else annotation


def evaluated(cls: type, name: str, text: str) -> object:
    names = Names(cls)
    try:
        annotation: object = eval(text, {}, names)
    except Exception as exc:
        if "carried" in text:
            raise TypeError(f"{cls.__name__!r} declares {name!r} as {text!r}, which cannot be evaluated") from exc
        return object
    if "carried" in names.missing:
        raise TypeError(f"{cls.__name__!r} declares {name!r} as {text!r}: no 'carried' is found in its module")
    return annotation


def how_carried(annotation: "Any") -> carried | None:
    """The mark in an annotation, or None."""
    for each in getattr(annotation, "__metadata__", ()):
        if each is carried:
            return carried()
        if isinstance(each, carried):
            return each
    return None
