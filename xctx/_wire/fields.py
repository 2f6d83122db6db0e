"""What each xlocal carries to other machines: which names, called what there, and how their values are written.

Nothing else ever leaves the process. A declaration stands in the class, or is made for one xlocal by hand; every xlocal
that has one is known here for as long as it lives, so that what arrives finds the xlocals it is for.
"""

import builtins
import inspect
import sys
from _weakref import ref
from collections.abc import Callable, Iterator, Mapping
from types import NoneType, UnionType
from typing import Any

from xctx._stores.xlocal import xlocal
from xctx._wire.carried import carried, check_key

JSON_TYPES = frozenset({str, int, float, bool, NoneType, list, dict})


class Field:
    """One carried name: what it is called here and on the wire, how its value is written, what it may be.

    `types` is None where any value will do. Never changes.
    """

    __slots__ = ("decode", "encode", "key", "name", "types")

    def __init__(self, name: str, how: carried, annotation: object) -> None:
        self.name = name
        self.key = check_key(name) if how.name is None else how.name
        self.encode = how.encode
        self.decode = how.decode
        self.types = types_of(annotation)
        if how.encode is None and self.types is not None:
            for each in self.types:
                if each not in JSON_TYPES:
                    raise TypeError(
                        f"{name!r} is carried, but {each.__name__!r} is no type of JSON: "
                        "give carried(encode=..., decode=...)"
                    )


# --- what annotations say ---------------------------------------------------------------------------------------------


def types_of(annotation: Any) -> tuple[type, ...] | None:
    """The classes that values of this annotation have, as far as that is cheap to check; None for any."""
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
    if not isinstance(annotation, type) or annotation in (object, Any):
        return None
    abstract = getattr(annotation, "__abstractmethods__", None)
    if abstract and annotation not in JSON_TYPES:  # Mapping, Sequence: whether a dict or a list will do, they know
        return tuple(each for each in (dict, list, str) if issubclass(each, annotation)) or (annotation,)
    return (annotation,)


class Names(dict[str, Any]):
    """Where the names in an annotation that is text are looked up. Those found nowhere stand for anything."""

    def __init__(self, cls: type) -> None:
        module = sys.modules.get(cls.__module__)
        super().__init__({**vars(builtins), **(vars(module) if module else {}), **vars(cls)})
        self.missing: set[str] = set()

    def __missing__(self, name: str) -> object:
        self.missing.add(name)
        return Any


def annotations(cls: type) -> Iterator[tuple[str, Any]]:
    """The names that the body of `cls` annotates, and the annotations, evaluated as far as they can be now."""
    if sys.version_info >= (3, 14):
        import annotationlib

        found = annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    else:
        found = inspect.get_annotations(cls)
    for name, annotation in found.items():
        yield name, evaluated(cls, name, annotation) if isinstance(annotation, str) else annotation


def evaluated(cls: type, name: str, text: str) -> object:
    names = Names(cls)
    try:
        annotation: object = eval(text, {}, names)
    except Exception as exc:
        if "carried" in text:
            raise TypeError(f"{cls.__name__!r} declares {name!r} as {text!r}, which cannot be evaluated") from exc
        return Any
    if "carried" in names.missing:
        raise TypeError(f"{cls.__name__!r} declares {name!r} as {text!r}: no 'carried' is found in its module")
    return annotation


def how_carried(annotation: Any) -> carried | None:
    """What an annotation says of carrying, or None."""
    for each in getattr(annotation, "__metadata__", ()):
        if each is carried:
            return carried()
        if isinstance(each, carried):
            return each
    return None


def class_fields(cls: type) -> dict[str, Field]:
    """What `cls` and its bases carry, by name. A name that is annotated anew is carried as it says anew.

    Raises:
        TypeError, ValueError: what stands there cannot be carried so.
    """
    fields: dict[str, Field] = {}
    for base in reversed(cls.__bases__):
        fields.update(getattr(base, "__xctx_carried__", None) or {})
    for name, annotation in annotations(cls):
        fields.pop(name, None)
        how = how_carried(annotation)
        if how is not None:
            fields[name] = Field(name, how, annotation)
    unique(cls.__name__, fields)
    return fields


def unique(owner: str, fields: Mapping[str, Field]) -> None:
    taken: dict[str, str] = {}
    for field in fields.values():
        if taken.setdefault(field.key, field.name) != field.name:
            raise TypeError(f"{owner!r} carries both {taken[field.key]!r} and {field.name!r} as {field.key!r}")


# --- who carries ------------------------------------------------------------------------------------------------------

# Each xlocal that carries something, in the order they were made, and what. Inner dicts are replaced, never changed.
_carriers: dict[ref[Any], Mapping[str, Field]] = {}


def register(store: Any, fields: Mapping[str, Field]) -> None:
    _carriers[ref(store, forget)] = fields


def forget(gone: ref[Any], pop: Callable[..., object] = _carriers.pop) -> None:
    pop(gone, None)


def declare(store: Any, /, *names: str, **fields: Any) -> None:
    """Declares names of one xlocal as carried, where no class of its own does.

    For example, ``wire.declare(current, "request_id", retries=int, tenant=xctx.carried("tenant-id"))``.

    Args:
        store: the xlocal.
        names: names whose values may have any type of JSON.
        fields: names with a type, an :class:`xctx.carried`, or an ``Annotated`` type with one.

    Raises:
        TypeError: `store` is no xlocal, its class declares no such name, or a value of the type needs a codec.
        ValueError: the name cannot stand on the wire.

    Thread-safety: two threads may not declare names of one xlocal at the same time; everything else may go on.
    """
    made: dict[str, Field] = dict(fields_of(store) or {})
    declared = type(store).__xctx_names__
    for name, said in {**dict.fromkeys(map(check_key, names), carried), **fields}.items():
        if declared is not None and name not in declared:
            from xctx._stores.declare import undeclared

            raise undeclared(type(store), name, declared)
        if name[:1] == "_":
            raise TypeError(f"cannot carry {name!r}: names that start with an underscore are reserved")
        how = carried() if said is carried else said if isinstance(said, carried) else how_carried(said)
        made[name] = Field(name, how or carried(), Any if isinstance(said, carried) or said is carried else said)
    unique(type(store).__name__, made)
    register(store, made)


def fields_of(store: Any) -> Mapping[str, Field] | None:
    """What one xlocal carries, or None."""
    if not issubclass(type(store), xlocal):
        raise TypeError(f"{store!r} is no xlocal")
    return _carriers.get(ref(store))


def carriers() -> list[tuple[Any, Mapping[str, Field]]]:
    """Each xlocal alive that carries something, in the order they were made, and what."""
    while True:
        try:
            found = list(_carriers.items())
        except RuntimeError:  # another thread made one meanwhile
            continue
        return [(store, fields) for each, fields in found if (store := each()) is not None]


def chosen(stores: tuple[Any, ...]) -> list[tuple[Any, Mapping[str, Field]]]:
    """The xlocals asked for, or all, and what each carries."""
    if not stores:
        return carriers()
    found = []
    for store in stores:
        fields = fields_of(store)
        if not fields:
            raise TypeError(
                f"{store!r} carries nothing: declare names of its class as xctx.carried, or use wire.declare"
            )
        found.append((store, fields))
    return found
