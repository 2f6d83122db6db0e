"""Objects that are found again by the name of their module and their qualified name."""

import sys
from importlib import import_module
from typing import Any

from xctx._runtime import copies
from xctx._runtime.interpreter import of_interpreter


def object_at(module: str, qualname: str) -> Any:
    """The object that has this name. An object that is pickled as a name is unpickled by this.

    Raises:
        LookupError: there is no such module, or it has no object of that name.
        AttributeError: that module is ``__main__``, in an interpreter that is not the main one. Where CPython unpickles
            what came from another interpreter, it then runs the program's file under another name and tries again.
    """
    try:
        found: Any = import_module(module)
        for name in qualname.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError) as exc:
        if module == "__main__" and isinstance(exc, AttributeError) and not copies.is_main():
            raise
        raise LookupError(f"this process has no {qualname!r} in module {module!r}{of_interpreter()}: {exc}") from exc
    return found


def object_of_type_at(wanted: type, module: str, qualname: str) -> Any:
    """The same for an object that has to be of one type.

    Raises:
        LookupError: there is no such object, or it is of another type.
    """
    found = object_at(module, qualname)
    if not isinstance(found, wanted):
        raise LookupError(
            f"{module}.{qualname} is no {wanted.__name__}{of_interpreter()} in this process, but {found!r}"
        )
    return found


def object_of_type(wanted: type, place: Any) -> Any:
    """The same for a module and a qualified name in a tuple, or for the object itself, where it was found before.

    Raises:
        LookupError: there is no such object, or it is of another type.
    """
    return object_of_type_at(wanted, *place) if type(place) is tuple else place


def is_at(thing: object, module: str | None, qualname: str | None) -> bool:
    """Whether the object is the one that has this name, in a module that is loaded."""
    found: Any = sys.modules.get(module or "")
    for name in (qualname or "").split("."):
        found = getattr(found, name, None)
    return found is thing


def find_name(thing: object, known: tuple[str, str] | None = None, maker: str | None = None) -> tuple[str, str]:
    """The module in which the object has a name, and the qualified name.

    Args:
        known: a module and a qualified name that the object had before.
        maker: the name of the module whose code made the object, which is searched first.

    Raises:
        TypeError: the object has no name in any module.
    """
    if known is not None and is_at(thing, *known):
        return known
    modules = dict(sys.modules)
    # Last the program itself, which may have imported the object. multiprocessing gives it a second name.
    main = modules.get("__main__")
    last = [name for name, module in modules.items() if module is main]
    order = [*([maker] if maker in modules else []), *(name for name in modules if name not in last), *last]
    for module in order:
        # Not vars(): anything may be in sys.modules, and a module that loads itself at its first use is left alone.
        names = getattr(modules[module], "__dict__", None)
        if isinstance(names, dict):
            for name, value in list(names.items()):
                if value is thing and isinstance(name, str):
                    return module, name
    raise TypeError(
        f"cannot pickle {type(thing).__name__!r} object: it is found again by the module and name it stands under, "
        "and no module has this one"
    )
