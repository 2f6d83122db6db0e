"""The names that a subclass of xlocal declares by annotating them.

It runs at the first such class of a program, so it imports neither typing nor inspect.
"""

import sys

from xctx._stores.fields import Field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any


def annotated_names(cls: type) -> frozenset[str]:
    """The names that the body of `cls` itself annotates, except those that are ClassVar or Final.

    Raises:
        TypeError: one of them starts with an underscore, so it could never be bound.
        ValueError: the default of one of them is mutable, so all blocks would share it.
    """
    names = frozenset(name for name, annotation in annotations(cls).items() if not is_constant(annotation))
    for name in names:
        if name.startswith("_"):
            raise TypeError(f"{cls.__name__!r} declares {name!r}: names that start with an underscore are reserved")
        default = cls.__dict__.get(name)
        # The rule of dataclasses: what is mutable and compared by value has no hash.
        if type(default).__hash__ is None:
            kind = type(default).__name__
            raise ValueError(
                f"{cls.__name__!r} declares {name!r} with a {kind!r} as its default, which everybody would share: "
                f"xctx.field(default_factory={kind}) makes a new one for each block"
            )
    return names


def take_factories(cls: type, names: "Iterable[str]") -> "dict[str, Callable[[], Any]] | None":
    """The factories of the names that `cls` and its bases declare; its own fields are taken out of the class.

    Args:
        names: those that the body of `cls` annotates.

    Raises:
        TypeError: a field is not annotated, or is annotated as a constant.
    """
    factories: dict[str, Callable[[], Any]] = {}
    for base in reversed(cls.__bases__):
        factories.update(getattr(base, "__xctx_factories__", None) or {})
    for name, value in list(vars(cls).items()):
        if not isinstance(value, Field):
            factories.pop(name, None)
        elif name not in names:
            raise TypeError(
                f"{cls.__name__!r} has a field {name!r} that it does not declare: "
                "annotate it, as neither ClassVar nor Final"
            )
        else:
            factories[sys.intern(name)] = value.default_factory
            delattr(cls, name)
    return factories or None


def annotations(cls: type, otherwise: str = "STRING") -> "dict[str, Any]":
    """The annotations of the body of `cls`, evaluated where that is possible now.

    Args:
        otherwise: the format of :mod:`annotationlib` for a class with an annotation that names something not defined
            yet (PEP 649, Python 3.14 and later).
    """
    if sys.version_info >= (3, 14):
        try:
            return dict(cls.__annotations__)
        except Exception:
            import annotationlib  # imports ast and more, which most programs do not need here

            return annotationlib.get_annotations(cls, format=annotationlib.Format[otherwise])
    # Not an attribute of the class: a class without annotations of its own would give those of its base.
    return dict(vars(cls).get("__annotations__") or ())


def is_constant(annotation: object) -> bool:
    """Whether it is ClassVar or Final, with or without brackets."""
    if isinstance(annotation, str):
        return annotation.partition("[")[0].rpartition(".")[2].strip() in ("ClassVar", "Final")
    if "typing" not in sys.modules:
        return False
    from typing import ClassVar, Final, get_origin

    return annotation in (ClassVar, Final) or get_origin(annotation) in (ClassVar, Final)


def undeclared(cls: type, name: str, declared: "Iterable[str]") -> TypeError:
    """The TypeError for binding a name that `cls` does not declare."""
    import difflib

    close = difflib.get_close_matches(name, declared, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"it declares {', '.join(sorted(declared))}"
    return TypeError(f"{cls.__name__!r} declares no name {name!r}: {hint}")
