"""Forms: how the values of one type are written as data of JSON, and are made of data that came from outside.

A form checks in both directions, all the way down. What is no value of its type is a TypeError or a ValueError, on
either side. Data are of the exact types that `json` makes, so no subclass of the program influences what is written.
"""

from math import isfinite
from types import NoneType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

# What can stand in JSON, by the types of data. `text` may also stand in a header as it is, without JSON around it.
KINDS = {str: "text", int: "int", float: "float", bool: "bool", NoneType: "null", list: "list", dict: "dict"}
EVERY_KIND = frozenset(KINDS.values())


class Form:
    """How the values of one type are written. This one is the base of all.

    Thread-safety: never changes after it was made.
    """

    __slots__ = ("kinds", "name")

    # What data may be, among KINDS.
    kinds: frozenset[str]
    # The type, as messages call it.
    name: str

    def __init__(self, name: str, *kinds: str) -> None:
        self.name = name
        self.kinds = frozenset(kinds)

    def out(self, value: "Any") -> "Any":
        """The data of a value of the program."""
        raise NotImplementedError

    def into(self, data: "Any") -> "Any":
        """The value of data from outside."""
        raise NotImplementedError

    def wrong(self, value: object) -> TypeError:
        return TypeError(f"{value!r:.200} is no {self.name}")


class Anything(Form):
    """Any value of JSON, unchanged. A tuple goes as a list."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("value of JSON", *EVERY_KIND)

    def out(self, value: "Any") -> "Any":
        for plain in (TEXT, TRUTH, WHOLE, FRACTION, NONE):
            if isinstance(value, plain.type):
                return plain.out(value)
        if isinstance(value, (list, tuple)):
            return [self.out(each) for each in value]
        if isinstance(value, dict):
            return {key_of(name): self.out(each) for name, each in dict.items(value)}
        raise self.wrong(value)

    def into(self, data: "Any") -> "Any":
        return data


class Plain(Form):
    """A type that JSON has itself: values of its subclasses go as values of the type."""

    __slots__ = ("exact", "type")

    def __init__(self, type: type, exact: "Callable[[Any], Any]") -> None:
        super().__init__("None" if type is NoneType else type.__name__, KINDS[type])
        self.type = type
        self.exact = exact

    def out(self, value: "Any") -> "Any":
        if not isinstance(value, self.type) or (isinstance(value, bool) and self.type is int):
            raise self.wrong(value)
        return self.exact(value)

    def into(self, data: "Any") -> "Any":
        if type(data) is not self.type:
            raise self.wrong(data)
        return data


class Fraction(Plain):
    """A float. JSON has one type of number, so a whole one is a float as well."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(float, finite)
        self.kinds = frozenset({"float", "int"})

    def out(self, value: "Any") -> "Any":
        if type(value) is int:
            if float(value) != value:
                raise ValueError(f"{value!r:.200} is no float exactly")
            return float(value)
        return super().out(value)

    def into(self, data: "Any") -> "Any":
        return super().into(float(data) if type(data) is int else data)


def finite(value: float) -> float:
    exact = float.__float__(value)
    if not isfinite(exact):
        raise ValueError(f"{exact!r} is no JSON")
    return exact


TEXT = Plain(str, str.__str__)
WHOLE = Plain(int, int.__int__)
TRUTH = Plain(bool, bool)
NONE = Plain(NoneType, lambda value: value)
FRACTION = Fraction()
ANYTHING = Anything()
PLAIN: dict[object, Form] = {str: TEXT, int: WHOLE, float: FRACTION, bool: TRUTH, NoneType: NONE, None: NONE}


def key_of(name: object) -> str:
    """The key of an object of JSON."""
    if not isinstance(name, str):
        raise TypeError(f"{name!r:.200} is no str, as the keys of JSON are")
    return str.__str__(name)


class Written(Form):
    """A type whose values are written as text: a UUID, a point in time."""

    __slots__ = ("read", "type", "unlike", "write")

    def __init__(
        self, type: type, write: "Callable[[Any], str]", read: "Callable[[str], Any]", unlike: "type | None" = None
    ) -> None:
        super().__init__(type.__name__, "text")
        self.type = type
        self.write = write
        self.read = read
        # A subclass whose values are not of this type, although isinstance() says so: a datetime is no date.
        self.unlike = unlike

    def out(self, value: "Any") -> "Any":
        if not isinstance(value, self.type) or (self.unlike is not None and isinstance(value, self.unlike)):
            raise self.wrong(value)
        return self.write(value)

    def into(self, data: "Any") -> "Any":
        if type(data) is not str:
            raise self.wrong(data)
        return self.read(data)


class OneOf(Form):
    """One of a few values: a Literal, or the members of an Enum, which are written as their values."""

    __slots__ = ("_data", "_values")

    def __init__(self, name: str, pairs: "Iterable[tuple[Any, Any]]") -> None:
        """`pairs`: the data and the value of each. Types are compared too, because 1 and True are equal."""
        self._values: dict[tuple[type, Any], Any] = {}
        self._data: dict[tuple[type, Any], Any] = {}
        for data, value in pairs:
            self._values.setdefault((type(data), data), value)
            self._data.setdefault((type(value), value), data)
        super().__init__(name, *(KINDS[type] for type, _ in self._values))

    def out(self, value: "Any") -> "Any":
        try:
            return self._data[type(value), value]
        except (KeyError, TypeError):  # or it has no hash
            raise self.wrong(value) from None

    def into(self, data: "Any") -> "Any":
        try:
            return self._values[type(data), data]
        except (KeyError, TypeError):
            raise self.wrong(data) from None

    def pairs(self) -> "list[tuple[Any, Any]]":
        return [(data, value) for (_, data), value in self._values.items()]


class ListOf(Form):
    """A list. Where the program says Sequence or the like, a tuple is written as well, and a list arrives."""

    __slots__ = ("item", "types")

    def __init__(self, item: Form, types: "tuple[type[Any], ...]" = (list,)) -> None:
        super().__init__("list" if item is ANYTHING else f"list[{item.name}]", "list")
        self.item = item
        self.types = types

    def out(self, value: "Any") -> "Any":
        if not isinstance(value, self.types):
            raise self.wrong(value)
        return [self.item.out(each) for each in value]

    def into(self, data: "Any") -> "Any":
        if type(data) is not list:
            raise self.wrong(data)
        return [self.item.into(each) for each in data]


class TupleOf(Form):
    """A tuple, written as a list. `rest` is the form of any number of items, None where `items` are all."""

    __slots__ = ("items", "rest")

    def __init__(self, items: tuple[Form, ...], rest: Form | None = None) -> None:
        told = [each.name for each in items] if rest is None else [rest.name, "..."]
        super().__init__(f"tuple[{', '.join(told) or '()'}]", "list")
        self.items = items
        self.rest = rest

    def forms(self, value: "Any", type_wanted: "type[Any]") -> "Iterable[tuple[Form, Any]]":
        if not isinstance(value, type_wanted) or (self.rest is None and len(value) != len(self.items)):
            raise self.wrong(value)
        items = self.items if self.rest is None else (self.rest,) * len(value)
        return zip(items, value, strict=True)

    def out(self, value: "Any") -> "Any":
        return [form.out(each) for form, each in self.forms(value, tuple)]

    def into(self, data: "Any") -> "Any":
        return tuple(form.into(each) for form, each in self.forms(data, list))


class DictOf(Form):
    """A dict with any keys that are text."""

    __slots__ = ("value",)

    def __init__(self, value: Form) -> None:
        super().__init__("dict" if value is ANYTHING else f"dict[str, {value.name}]", "dict")
        self.value = value

    def out(self, value: "Any") -> "Any":
        if not isinstance(value, dict):
            raise self.wrong(value)
        return {key_of(name): self.value.out(each) for name, each in dict.items(value)}

    def into(self, data: "Any") -> "Any":
        if type(data) is not dict:
            raise self.wrong(data)
        return {name: self.value.into(each) for name, each in data.items()}


class Either(Form):
    """A union. No two of its members are written as the same kind of data, so the kind that arrives selects one."""

    __slots__ = ("by_kind", "members")

    def __init__(self, members: "list[Form]") -> None:
        super().__init__(" or ".join(each.name for each in members), *(kind for each in members for kind in each.kinds))
        # The float comes last: an int is one as well where no member is for ints.
        self.members = sorted(members, key=lambda member: member is FRACTION)
        self.by_kind: dict[str, Form] = {}
        for member in self.members:
            for kind in member.kinds:
                self.by_kind.setdefault(kind, member)

    def out(self, value: "Any") -> "Any":
        refused: Exception | None = None
        for member in self.members:
            try:
                return member.out(value)
            except TypeError:
                pass
            except ValueError as exc:  # it is of this type, and cannot be written
                refused = exc
        raise refused or self.wrong(value)

    def into(self, data: "Any") -> "Any":
        member = self.by_kind.get(KINDS[type(data)])
        if member is None:
            raise self.wrong(data)
        return member.into(data)


def either(members: "list[Form]") -> Form | None:
    """The form of a union, or None if the kind of the data would not select one member."""
    flat: list[Form] = []
    few: list[tuple[Any, Any]] = []
    for each in members:
        for form in each.members if isinstance(each, Either) else [each]:
            if form is ANYTHING:
                return ANYTHING
            if isinstance(form, OneOf) and form.name.startswith("Literal"):
                few += form.pairs()
            elif form not in flat:
                flat.append(form)
    # Literals need not be listed if their whole type is a member anyway.
    plain = {each.type for each in flat if isinstance(each, Plain)}
    few = [(data, value) for data, value in few if type(value) not in plain]
    if few:
        flat.append(OneOf(literal_name(few), few))
    taken: set[str] = set()
    for form in flat:
        kinds = form.kinds - {"int"} if form is FRACTION else form.kinds
        if kinds & taken:
            return None
        taken |= kinds
    return flat[0] if len(flat) == 1 else Either(flat)


def literal_name(pairs: "list[tuple[Any, Any]]") -> str:
    return f"Literal[{', '.join(repr(value) for _, value in pairs)}]"
