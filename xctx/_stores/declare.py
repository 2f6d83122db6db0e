"""The names that a subclass of xlocal declares by annotating them."""

import sys
from collections.abc import Iterable
from typing import Any


def annotated_names(cls: type) -> frozenset[str]:
    """The names annotated in the body of `cls` itself, but for ClassVars.

    Raises:
        TypeError: one of them starts with an underscore, so could never be bound.
    """
    names = frozenset(name for name, annotation in annotations(cls).items() if not is_classvar(annotation))
    for name in names:
        if name.startswith("_"):
            raise TypeError(f"{cls.__name__!r} declares {name!r}: names that start with an underscore are reserved")
    return names


def annotations(cls: type) -> dict[str, Any]:
    """The annotations of the body of `cls`; not evaluated where the interpreter can do without (PEP 649)."""
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.STRING)
    import inspect  # not at the top: importing xctx stays cheap

    return inspect.get_annotations(cls)


def is_classvar(annotation: object) -> bool:
    if isinstance(annotation, str):
        return annotation.partition("[")[0].rpartition(".")[2].strip() == "ClassVar"
    from typing import ClassVar, get_origin

    return annotation is ClassVar or get_origin(annotation) is ClassVar


def undeclared(cls: type, name: str, declared: Iterable[str]) -> TypeError:
    """The TypeError for binding a name that `cls` does not declare."""
    import difflib

    close = difflib.get_close_matches(name, declared, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"it declares {', '.join(sorted(declared))}"
    return TypeError(f"{cls.__name__!r} declares no name {name!r}: {hint}")
