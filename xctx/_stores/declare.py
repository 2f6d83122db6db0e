"""The names that a subclass of xlocal declares by annotating them."""

import sys
from collections.abc import Iterable
from typing import Any


def annotated_names(cls: type) -> frozenset[str]:
    """The names annotated in the body of `cls` itself, but for those that are ClassVar or Final.

    Raises:
        TypeError: one of them starts with an underscore, so could never be bound.
        ValueError: the default of one of them can be changed, as dataclasses decides it.
    """
    names = frozenset(name for name, annotation in annotations(cls).items() if not is_class_constant(annotation))
    for name in names:
        if name.startswith("_"):
            raise TypeError(f"{cls.__name__!r} declares {name!r}: names that start with an underscore are reserved")
        default = cls.__dict__.get(name)
        if type(default).__hash__ is None:
            raise ValueError(
                f"{cls.__name__!r} declares {name!r} with a mutable default, which all units would share: "
                f"bind a {type(default).__name__} of its own in each block, or make the default immutable"
            )
    return names


def annotations(cls: type) -> dict[str, Any]:
    """The annotations of the body of `cls`; not evaluated where the interpreter can do without (PEP 649)."""
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.STRING)
    import inspect  # not at the top: importing xctx stays cheap

    return inspect.get_annotations(cls)


def is_class_constant(annotation: object) -> bool:
    """Whether it says that the name is the class's own: ClassVar, or Final, which nothing may bind again (PEP 591)."""
    if isinstance(annotation, str):
        return annotation.partition("[")[0].rpartition(".")[2].strip() in ("ClassVar", "Final")
    from typing import ClassVar, Final, get_origin

    said = get_origin(annotation) or annotation
    return said is ClassVar or said is Final


def undeclared(cls: type, name: str, declared: Iterable[str]) -> TypeError:
    """The TypeError for binding a name that `cls` does not declare."""
    import difflib

    close = difflib.get_close_matches(name, declared, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"it declares {', '.join(sorted(declared))}"
    return TypeError(f"{cls.__name__!r} declares no name {name!r}: {hint}")
