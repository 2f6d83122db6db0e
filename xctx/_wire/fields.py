"""What each xlocal carries to other machines: which names, what they are called there, and how values are written.

Nothing else ever leaves the process. A declaration is in the class, or is made for one xlocal by hand; every xlocal
that has one is registered here for as long as it lives, so that what arrives finds the xlocals that it is for.
"""

from _weakref import ref

from xctx._stores.xlocal import xlocal
from xctx._wire.annotations import Names, annotations, how_carried, types_of
from xctx._wire.carried import carried, check_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


class Field:
    """One carried name: what it is called here and on the wire, which way it goes, and how its values are written.

    Either `form` writes and checks its values, or the codec of the program does: then `form` is None, and `types` are
    the types of the values, None where any will do.

    Thread-safety: never changes.
    """

    __slots__ = ("accept", "decode", "encode", "form", "key", "name", "send", "types")

    def __init__(self, name: str, how: carried, annotation: object, names: "Mapping[str, Any] | None" = None) -> None:
        from xctx._wire.form_of import form_of  # imports typing: only where a name is carried

        self.name = name
        self.key = check_key(name) if how.name is None else how.name
        self.accept = how.accept
        self.send = how.send
        self.encode = how.encode
        self.decode = how.decode
        self.form = form_of(name, annotation, names) if how.encode is None else None
        self.types = types_of(annotation) if how.encode is not None else None


def class_fields(cls: type) -> dict[str, Field]:
    """What `cls` and its bases carry, by name. If a class annotates a name again, its annotation counts.

    Raises:
        TypeError, ValueError: a declaration is not possible.
    """
    fields: dict[str, Field] = {}
    for base in reversed(cls.__bases__):
        fields.update(getattr(base, "__xctx_carried__", None) or {})
    for name, annotation in annotations(cls):
        fields.pop(name, None)
        how = how_carried(annotation)
        if how is not None:
            fields[name] = Field(name, how, annotation, Names(cls))
    unique(cls.__name__, fields)
    return fields


def unique(owner: str, fields: "Mapping[str, Field]") -> None:
    taken: dict[str, str] = {}
    for field in fields.values():
        if taken.setdefault(field.key, field.name) != field.name:
            raise TypeError(f"{owner!r} carries both {taken[field.key]!r} and {field.name!r} as {field.key!r}")


# --- the xlocals that carry something ---------------------------------------------------------------------------

# Each xlocal that carries something, in the order in which they were made. The inner mappings never change.
_carriers: "dict[ref[Any], Mapping[str, Field]]" = {}


def register(store: "Any", fields: "Mapping[str, Field]") -> None:
    _carriers[ref(store, forget)] = fields


def forget(gone: "ref[Any]", pop: "Callable[..., object]" = _carriers.pop) -> None:
    pop(gone, None)


def declare(store: "Any", /, *names: str, **fields: "Any") -> None:
    """Declares names of one xlocal as carried, if its class does not.

    For example, ``wire.declare(current, "request_id", retries=int, tenant=xctx.carried("tenant-id"))``.

    Args:
        store: the xlocal.
        names: names that have the type that the class of `store` declares, and are text where it declares none.
        fields: names with a type, an :class:`xctx.carried`, or an ``Annotated`` type with one.

    Raises:
        TypeError: `store` is no xlocal, its class declares no such name, or values of the type need a codec.
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
        owner = type(store)
        if isinstance(said, carried) or said is carried:
            if how is not None and how.encode is not None:  # a codec by hand may make values of any type
                said = object
            else:
                owner, said = declared_type(owner, name, str)
        made[name] = Field(name, how or carried(), said, Names(owner))
    unique(type(store).__name__, made)
    register(store, made)


def declared_type(cls: type, name: str, otherwise: object) -> "tuple[type, Any]":
    """The class among `cls` and its bases that annotates a name, and the type that it says."""
    for base in cls.__mro__:
        if "__xctx_names__" in vars(base):
            for each, annotation in annotations(base):
                if each == name:
                    return base, annotation
    return cls, otherwise


def fields_of(store: "Any") -> "Mapping[str, Field] | None":
    """What one xlocal carries, or None."""
    if not issubclass(type(store), xlocal):
        raise TypeError(f"{store!r} is no xlocal")
    return _carriers.get(ref(store))


def carriers() -> "list[tuple[Any, Mapping[str, Field]]]":
    """Each living xlocal that carries something, with its fields, in the order in which they were made."""
    while True:
        try:
            found = list(_carriers.items())
        except RuntimeError:  # another thread made one meanwhile
            continue
        return [(store, fields) for each, fields in found if (store := each()) is not None]


def chosen(stores: "tuple[Any, ...]") -> "list[tuple[Any, Mapping[str, Field]]]":
    """The xlocals that were asked for, or all, each with its fields.

    Raises:
        TypeError: one that was asked for is no xlocal, or carries nothing.
    """
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
