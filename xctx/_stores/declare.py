"""The names that a subclass of xlocal declares by annotating them."""

import sys
from collections.abc import Iterable
from typing import Any


def annotated_names(cls: type) -> frozenset[str]:
    """The names that the body of `cls` itself annotates, but for those that are ClassVar or Final.

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
            raise ValueError(
                f"{cls.__name__!r} declares {name!r} with a {type(default).__name__!r} as its default, which everybody "
                "would share: leave the default out and bind a new one for each block, or take one that is immutable"
            )
    return names


def annotations(cls: type) -> dict[str, Any]:
    """The annotations of the body of `cls`; not evaluated where the interpreter can do without (PEP 649)."""
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.STRING)
    import inspect  # not at the top: importing xctx stays cheap

    return inspect.get_annotations(cls)


def is_constant(annotation: object) -> bool:
    """Whether it is ClassVar or Final, with or without brackets."""
    if isinstance(annotation, str):
        return annotation.partition("[")[0].rpartition(".")[2].strip() in ("ClassVar", "Final")
    from typing import ClassVar, Final, get_origin

    return annotation in (ClassVar, Final) or get_origin(annotation) in (ClassVar, Final)


def undeclared(cls: type, name: str, declared: Iterable[str]) -> TypeError:
    """The TypeError for binding a name that `cls` does not declare."""
    import difflib

    close = difflib.get_close_matches(name, declared, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"it declares {', '.join(sorted(declared))}"
    return TypeError(f"{cls.__name__!r} declares no name {name!r}: {hint}")
