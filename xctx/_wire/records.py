"""The forms of types with named fields, TypedDicts and dataclasses, which are written as objects of JSON."""

from xctx._wire.forms import Form

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Record(Form):
    """A type with named fields. It is made empty, and filled afterwards, because its fields may be of the same type.

    Fields that this process does not know are ignored when they arrive, so that services can be updated one by one.
    """

    __slots__ = ("fields", "required", "type")

    def __init__(self, type: "type[Any]") -> None:
        super().__init__(type.__name__, "dict")
        self.type = type
        self.fields: dict[str, Form] = {}
        self.required: frozenset[str] = frozenset()

    def fill(self, fields: "dict[str, Form]", required: frozenset[str]) -> None:
        self.fields = fields
        self.required = required

    def named(self, data: "Any") -> "dict[str, Any]":
        """The values of the fields in an object of JSON."""
        if type(data) is not dict:
            raise self.wrong(data)
        for name in self.required:
            if name not in data:
                raise TypeError(f"{data!r:.200} is no {self.name}: it has no {name!r}")
        return {name: form.into(data[name]) for name, form in self.fields.items() if name in data}


class TypedDictOf(Record):
    """A TypedDict: a dict, with keys of its declaration alone."""

    __slots__ = ()

    def out(self, value: "Any") -> "Any":
        if not isinstance(value, dict):
            raise self.wrong(value)
        held = {name: each for name, each in dict.items(value)}  # noqa: C416 (whatever its subclass does)
        for name in self.required:
            if name not in held:
                raise TypeError(f"{value!r:.200} is no {self.name}: it has no {name!r}")
        for name in held:
            if name not in self.fields:
                raise TypeError(f"{value!r:.200} is no {self.name}, which has no {name!r}")
        return {name: form.out(held[name]) for name, form in self.fields.items() if name in held}

    def into(self, data: "Any") -> "Any":
        return self.named(data)


class DataclassOf(Record):
    """A dataclass, but no class derived from it: the receiver could not tell the two apart."""

    __slots__ = ()

    def out(self, value: "Any") -> "Any":
        if type(value) is not self.type:
            raise self.wrong(value)
        return {name: form.out(getattr(value, name)) for name, form in self.fields.items()}

    def into(self, data: "Any") -> "Any":
        return self.type(**self.named(data))
