"""Chooses the form of an annotation.

It runs when a class is made that carries names. Modules whose types a program does not use, such as uuid and datetime,
are not imported for it: a type can only be in an annotation after its module was imported.
"""

import sys
import typing

from xctx._wire import libraries
from xctx._wire.forms import (
    ANYTHING,
    KINDS,
    PLAIN,
    DictOf,
    Form,
    ListOf,
    OneOf,
    TupleOf,
    Written,
    either,
    literal_name,
)
from xctx._wire.records import DataclassOf, Record, TypedDictOf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

UnionType = type(int | None)


class UnknownTypeError(Exception):
    """An annotation has a type for which xctx has no form. `args[0]` is that type, or the metadata of one."""


def form_of(name: str, annotation: "Any", names: "Mapping[str, Any] | None" = None) -> Form:
    """The form of the values of a carried name.

    Args:
        name: the name, for messages.
        annotation: its type.
        names: where names in annotations that are text, as in ``list["Item"]``, are looked up. A name that is not found
            stands for any type.

    Raises:
        TypeError: neither xctx nor a library that the program has imported can write such values.
    """
    try:
        return Forms(names or {}).of(annotation)
    except UnknownTypeError as exc:
        culprit = exc.args[0]
    except RecursionError:
        culprit = annotation
    form = libraries.by_library(annotation, culprit)
    if form is None:
        raise TypeError(
            f"{name!r} is carried, but {named(culprit)!r} is no type that xctx can write and check: "
            "give carried(encode=..., decode=...)"
        )
    return form


def named(thing: object) -> str:
    return thing.__name__ if isinstance(thing, type) else repr(thing)


class Forms:
    """The forms of one annotation. Noted, because records may refer to themselves."""

    def __init__(self, names: "Mapping[str, Any]") -> None:
        self.names = names
        self.records: dict[type, Record] = {}

    def of(self, annotation: "Any") -> Form:
        if isinstance(annotation, typing.ForwardRef):
            annotation = annotation.__forward_arg__
        if isinstance(annotation, str):
            try:
                annotation = eval(annotation, {}, self.names)
            except Exception:
                return ANYTHING
        try:
            plain = PLAIN.get(annotation)
        except TypeError:  # it has no hash
            raise UnknownTypeError(annotation) from None
        if plain is not None:
            return plain
        if annotation is typing.LiteralString:
            return PLAIN[str]
        if annotation in (typing.Any, object) or isinstance(annotation, (typing.TypeVar, typing.ForwardRef)):
            return ANYTHING
        if supertype := getattr(annotation, "__supertype__", None):  # typing.NewType
            return self.of(supertype)
        if type(annotation).__name__ == "TypeAliasType":  # type X = ..., or of typing_extensions
            return self.of(annotation.__value__)
        origin = typing.get_origin(annotation)
        if origin is not None:
            return self.of_generic(annotation, origin, typing.get_args(annotation))
        if isinstance(annotation, type):
            return self.of_class(annotation)
        raise UnknownTypeError(annotation)

    def of_generic(self, annotation: "Any", origin: "Any", args: "tuple[Any, ...]") -> Form:
        if origin is typing.Annotated:
            for metadata in annotation.__metadata__:
                if libraries.owner_of(metadata):
                    raise UnknownTypeError(metadata)
            return self.of(annotation.__origin__)
        if origin is typing.Union or origin is UnionType:
            union = either([self.of(each) for each in args])
            if union is None:
                raise UnknownTypeError(annotation)
            return union
        if origin is typing.Literal:
            return self.of_literal(annotation, args)
        if origin is tuple and annotation is not typing.Tuple:  # noqa: UP006
            if len(args) == 2 and args[1] is Ellipsis:
                return TupleOf((), self.of(args[0]))
            return TupleOf(tuple(self.of(each) for each in args))
        if isinstance(origin, type):
            collection = self.of_collection(origin, args)
            if collection is not None:
                return collection
        raise UnknownTypeError(annotation)

    def of_literal(self, annotation: "Any", args: "tuple[Any, ...]") -> Form:
        pairs = []
        for value in args:
            data = value._value_ if is_enum(type(value)) else value
            if type(data) not in KINDS:
                raise UnknownTypeError(annotation)
            pairs.append((data, value))
        return OneOf(literal_name(pairs), pairs)

    def of_collection(self, cls: type, args: "tuple[Any, ...]") -> Form | None:
        """The form of a list or a dict, or of an abstract class that one of them implements."""
        if cls is tuple:
            return TupleOf((), ANYTHING)
        if cls is list:
            return ListOf(self.of(args[0]) if args else ANYTHING)
        if cls is dict:
            return DictOf(self.of_values(args))
        if cls.__module__ != "collections.abc":
            return None
        if issubclass(list, cls):  # Sequence, Iterable and the like
            return ListOf(self.of(args[0]) if args else ANYTHING, (list, tuple) if issubclass(tuple, cls) else (list,))
        if issubclass(dict, cls):
            return DictOf(self.of_values(args))
        return None

    def of_values(self, args: "tuple[Any, ...]") -> Form:
        if not args:
            return ANYTHING
        if len(args) != 2 or self.of(args[0]).kinds != {"text"} or self.of(args[0]).into("") != "":
            raise UnknownTypeError(args[0])
        return self.of(args[1])

    def of_class(self, cls: "type[Any]") -> Form:
        if libraries.is_theirs(cls):
            raise UnknownTypeError(cls)
        if is_enum(cls):
            return of_enum(cls)
        written = written_as_text(cls)
        if written is not None:
            return written
        record = self.records.get(cls)
        if record is not None:
            return record
        if typing.is_typeddict(cls):
            return self.of_typed_dict(cls)
        if hasattr(cls, "__dataclass_fields__"):
            return self.of_dataclass(cls)
        collection = self.of_collection(cls, ())
        if collection is None:
            raise UnknownTypeError(cls)
        return collection

    def of_typed_dict(self, cls: "type[Any]") -> Form:
        record = self.records[cls] = TypedDictOf(cls)
        required = set(cls.__required_keys__)  # type: ignore[attr-defined, unused-ignore]
        fields = {}
        for name, annotation in self.hints(cls).items():
            # Where annotations are text, __required_keys__ does not know these.
            while (qualifier := typing.get_origin(annotation)) in QUALIFIERS:
                if qualifier is typing.Required:
                    required.add(name)
                elif qualifier is typing.NotRequired:
                    required.discard(name)
                annotation = typing.get_args(annotation)[0]
            fields[name] = self.of(annotation)
        record.fill(fields, frozenset(required))
        return record

    def of_dataclass(self, cls: "type[Any]") -> Form:
        import dataclasses

        record = self.records[cls] = DataclassOf(cls)
        hints = self.hints(cls)
        fields = {}
        required = set()
        for each in cls.__dataclass_fields__.values():
            if each._field_type is not dataclasses._FIELD:  # type: ignore[attr-defined]
                if each._field_type is dataclasses._FIELD_INITVAR:  # type: ignore[attr-defined]
                    raise UnknownTypeError(cls)
                continue
            if not each.init:
                continue
            fields[each.name] = self.of(hints[each.name])
            if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
                required.add(each.name)
        record.fill(fields, frozenset(required))
        return record

    def hints(self, cls: "type[Any]") -> "dict[str, Any]":
        try:
            return typing.get_type_hints(cls, localns=dict(self.names), include_extras=True)
        except Exception:  # a name in its annotations is found nowhere
            raise UnknownTypeError(cls) from None


QUALIFIERS = {typing.Required, typing.NotRequired, getattr(typing, "ReadOnly", None)} - {None}


def is_enum(cls: type) -> bool:
    enum = sys.modules.get("enum")
    return enum is not None and issubclass(cls, enum.Enum)


def of_enum(cls: "type[Any]") -> Form:
    """Members are written as their values. Not a Flag, which has members that are not listed."""
    pairs = [(member._value_, member) for member in cls.__members__.values()]
    if issubclass(cls, sys.modules["enum"].Flag) or not all(type(data) in KINDS for data, _ in pairs):
        raise UnknownTypeError(cls)
    if any(isinstance(data, (list, dict)) for data, _ in pairs):
        raise UnknownTypeError(cls)
    return OneOf(cls.__name__, pairs)


def written_as_text(cls: "type[Any]") -> Form | None:
    uuid = sys.modules.get("uuid")
    if uuid is not None and cls is uuid.UUID:
        return Written(cls, lambda value: uuid.UUID.__str__(value), cls)
    datetime = sys.modules.get("datetime")
    if datetime is None:
        return None
    if cls is datetime.date:
        return Written(cls, cls.isoformat, cls.fromisoformat, datetime.datetime)
    if cls is datetime.datetime or cls is datetime.time:
        return Written(cls, cls.isoformat, cls.fromisoformat)
    return None
