"""The names that a subclass of xlocal declares by annotating them."""

import sys


def annotated_names(cls):
    """The names annotated in the body of `cls` itself, but for ClassVars.

    Raises:
        TypeError: one of them starts with an underscore, so could never be bound.
    """
    names = frozenset(name for name, annotation in annotations(cls).items() if not is_classvar(annotation))
    for name in names:
        if name.startswith("_"):
            raise TypeError(f"{cls.__name__!r} declares {name!r}: names that start with an underscore are reserved")
    return names


def annotations(cls):
    """The annotations of the body of `cls`, unevaluated where the interpreter defers them (PEP 649)."""
    if sys.version_info >= (3, 14):
        annotate = getattr(cls, "__annotate__", None)
        if annotate is None or "__annotate_func__" not in cls.__dict__ and "__annotate__" not in cls.__dict__:
            return cls.__dict__.get("__annotations__", {})
        import annotationlib

        return annotationlib.call_annotate_function(annotate, annotationlib.Format.STRING, owner=cls)
    return cls.__dict__.get("__annotations__", {})


def is_classvar(annotation):
    if isinstance(annotation, str):
        return annotation.partition("[")[0].rpartition(".")[2].strip() == "ClassVar"
    from typing import ClassVar, get_origin

    return annotation is ClassVar or get_origin(annotation) is ClassVar


def undeclared(cls, name, declared):
    """The TypeError for binding a name that `cls` does not declare."""
    import difflib

    close = difflib.get_close_matches(name, declared, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"it declares {', '.join(sorted(declared))}"
    return TypeError(f"{cls.__name__!r} declares no name {name!r}: {hint}")
