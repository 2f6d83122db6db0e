"""Functions that run when a module is imported, as soon as its code has run and before its importer sees it.

A finder is first on ``sys.meta_path`` while there are such functions. It lets the others find the module, and puts a
loader into the spec that runs the module and then the functions. The module itself is given its own loader back before
its code runs, so that code which asks a module for its loader never gets this one.

Thread-safety: all of it. The import system lets one thread run a module, and holds that module's lock while the
functions run; so they may not wait for a thread that imports.
"""

import sys
import threading
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Wanted = Callable[[ModuleType], object]

_wanted: dict[str, list[Wanted]] = {}  # guarded by _lock
_lock = threading.RLock()
_finding = threading.local()  # the names that this thread is asking the other finders for


class _Loader:
    """Runs a module by its own loader, and then the functions."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __getattr__(self, name: str) -> Any:  # what else the import system or runpy asks of a loader
        return getattr(self.loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self.loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        # Before the module's code changes it: gevent.local takes the name of its compiled part.
        name = module.__name__
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        module.__loader__ = self.loader
        self.loader.exec_module(module)
        run_wanted(name, sys.modules.get(name, module))


class _Finder:
    """Finds, by the other finders, the modules for which there are functions."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in _wanted:
            return None
        names: set[str] = _finding.__dict__.setdefault("names", set())
        if name in names:  # another finder that asks all finders
            return None
        names.add(name)
        try:
            for finder in list(sys.meta_path):
                find = getattr(finder, "find_spec", None)
                spec: ModuleSpec | None = None if finder is self or find is None else find(name, path, target)
                if spec is not None:
                    if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                        spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
                    return spec
        finally:
            names.discard(name)
        return None

    def invalidate_caches(self) -> None:
        """There are none: importlib calls this on each finder."""


_finder = _Finder()


def run_wanted(name: str, module: ModuleType) -> None:
    with _lock:
        functions = list(_wanted.get(name, ()))
    for function in functions:
        function(module)


def when_imported(name: str, function: Wanted) -> None:
    """Arranges that a function is called with each module of this name that is imported from now on."""
    with _lock:
        _wanted.setdefault(name, []).append(function)
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)


def no_longer(name: str, function: Wanted) -> None:
    """Takes back one call of `when_imported`."""
    with _lock:
        functions = _wanted.get(name, [])
        if function in functions:
            functions.remove(function)
        if not functions:
            _wanted.pop(name, None)
        if not _wanted and _finder in sys.meta_path:
            sys.meta_path.remove(_finder)
