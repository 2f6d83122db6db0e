"""The forms of types that msgspec or pydantic know and xctx does not: their own models, constraints, sets, attrs.

A library is used only for a declaration that xctx cannot check by itself, and only if the program has imported it
before: so whether a library is there never changes how a type that xctx knows is written.
"""

import sys

from xctx._wire.forms import EVERY_KIND, Form

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ByLibrary(Form):
    """A form that checks what goes out by taking it in, because these libraries write more than they read."""

    __slots__ = ()

    def checked(self, value: "Any", data: "Any") -> "Any":
        """The data of a value, if they would be taken for a value of its type: a dict is written as a model is."""
        if type(self.into(data)) is not type(value):
            raise self.wrong(value)
        return data


class ByMsgspec(ByLibrary):
    """What ``msgspec.convert`` checks."""

    __slots__ = ("_library", "_type")

    def __init__(self, name: str, annotation: "Any", library: "Any") -> None:
        super().__init__(name, *EVERY_KIND)
        self._type = annotation
        self._library = library
        if any_custom(library.inspect.type_info(annotation), library.inspect, set()):
            raise TypeError(annotation)

    def out(self, value: "Any") -> "Any":
        return self.checked(value, self._library.to_builtins(value, str_keys=True))

    def into(self, data: "Any") -> "Any":
        return self._library.convert(data, self._type, str_keys=True)


def any_custom(info: "Any", inspect: "Any", seen: set[int]) -> bool:
    """Whether msgspec's description of a type contains one that msgspec would not check."""
    if id(info) in seen:
        return False
    seen.add(id(info))
    if isinstance(info, inspect.CustomType):
        return True
    if isinstance(info, (list, tuple)):
        return any(any_custom(each, inspect, seen) for each in info)
    names = getattr(info, "__struct_fields__", ()) if type(info).__module__ == "msgspec.inspect" else ()
    return any(any_custom(getattr(info, name), inspect, seen) for name in names if name not in ("cls", "default"))


class ByPydantic(ByLibrary):
    """What a ``pydantic.TypeAdapter`` checks, in its strict mode."""

    __slots__ = ("_adapter",)

    def __init__(self, name: str, annotation: "Any", library: "Any") -> None:
        super().__init__(name, *EVERY_KIND)
        self._adapter = library.TypeAdapter(annotation)

    def out(self, value: "Any") -> "Any":
        return self.checked(value, self._adapter.dump_python(value, mode="json", warnings="error"))

    def into(self, data: "Any") -> "Any":
        import json

        return self._adapter.validate_json(json.dumps(data), strict=True)


LIBRARIES: "tuple[tuple[str, type[Any], tuple[str, ...]], ...]" = (
    ("msgspec", ByMsgspec, ("__struct_fields__", "__attrs_attrs__")),
    ("pydantic", ByPydantic, ("__pydantic_core_schema__", "__get_pydantic_core_schema__", "__pydantic_validator__")),
)
# Where the constraints in the metadata of an annotation come from, and whose they are.
CONSTRAINTS = {"msgspec": "msgspec", "pydantic": "pydantic", "annotated_types": "pydantic"}


def owner_of(metadata: object) -> str | None:
    """The library that checks by this metadata of an annotation, if the program has imported it."""
    owner = CONSTRAINTS.get(type(metadata).__module__.partition(".")[0])
    return owner if owner in sys.modules else None


def is_theirs(cls: type) -> bool:
    """Whether a class is a model of a library, rather than a dataclass that looks like one."""
    return any(hasattr(cls, name) for _, _, attributes in LIBRARIES for name in attributes)


def by_library(annotation: "Any", culprit: object) -> Form | None:
    """The form of an annotation, of which xctx does not know `culprit`; None if no library knows it either."""
    # The library that the culprit belongs to comes first: the other one may know its type in part.
    whose = owner_of(culprit)
    own = [each for each in LIBRARIES if each[0] == whose or any(hasattr(culprit, attribute) for attribute in each[2])]
    for name, form, _ in own or LIBRARIES:
        library = sys.modules.get(name)
        if library is None:
            continue
        if name == "msgspec":
            import msgspec.inspect  # type: ignore[import-not-found, unused-ignore]  # noqa: F401
        try:
            made: Form = form(getattr(annotation, "__name__", None) or repr(annotation), annotation, library)
        except Exception:  # of the library's own classes, raised for a type that it does not know
            continue
        return made
    return None
