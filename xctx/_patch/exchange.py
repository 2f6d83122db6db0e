"""Exchanges what names in modules refer to, and takes that back.

Originals are found by identity: each global name of a module that refers to an original is made to refer to its
stand-in. An object that only resembles an original, or that a module keeps elsewhere than in a global name, is left
alone.

Thread-safety: callers hold the lock of parts.py. Other threads may import meanwhile, from the modules that define the
originals: these come first in each exchange.
"""

import _thread
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any, TypeGuard

# What defines the compiled class of gevent.local.
LEFT_ALONE = frozenset({"gevent._gevent_clocal"})


class Exchange:
    """Which originals have a stand-in now.

    Lifetime: holds both while it lives, so that no other object can get the id of either.
    """

    def __init__(self) -> None:
        self.stand_ins: dict[int, tuple[Any, Any]] = {}  # by the id of the original
        self.originals: dict[int, tuple[Any, Any]] = {}  # by the id of the stand-in

    def add(self, original: Any, stand_in: Any) -> None:
        self.stand_ins[id(original)] = (original, stand_in)
        self.originals[id(stand_in)] = (original, stand_in)

    def has(self, original: Any) -> bool:
        return id(original) in self.stand_ins

    def put(self) -> None:
        """Makes all names that refer to an original refer to its stand-in."""
        for names, name, value in all_names():
            pair = self.stand_ins.get(id(value))
            # gevent keeps its hubs in a store of `_thread._local`, which must stay as it is.
            if pair is not None and (name != "_local" or names is not vars(_thread) or is_of_gevent(pair[0])):
                names[name] = pair[1]

    def take_back(self, *originals: Any) -> None:
        """Makes names that refer to a stand-in of these (default: of any) refer to the original, and forgets it.

        Where it fails it can be called again.
        """
        pairs = [self.stand_ins[id(each)] for each in originals] if originals else list(self.stand_ins.values())
        by_stand_in = {id(stand_in): original for original, stand_in in pairs}
        for names, name, value in all_names(keep=False):
            if id(value) in by_stand_in:
                names[name] = by_stand_in[id(value)]
        for original, stand_in in pairs:
            self.originals.pop(id(stand_in), None)
            self.stand_ins.pop(id(original), None)


def is_of_gevent(cls: Any) -> bool:
    return bool(cls.__module__ == "gevent._gevent_clocal")


def modules() -> Iterator[tuple[str, ModuleType]]:
    """The modules whose names may be exchanged."""
    for name, module in sys.modules.copy().items():
        if is_module(module) and name not in LEFT_ALONE and name.partition(".")[0] != "xctx":
            yield name, module


def is_module(obj: object) -> TypeGuard[ModuleType]:
    """Whether an object is a module. Programs put others into sys.modules; cffi's tell isinstance that they are."""
    return issubclass(type(obj), ModuleType)


_dict_of = vars(ModuleType)["__dict__"].__get__  # a class made of it may have another __dict__


def names_of(module: ModuleType) -> dict[str, Any]:
    """The global names of a module. One that loads when it is used stays unloaded."""
    names: dict[str, Any] | None = _dict_of(module)
    return {} if names is None else names  # it has none before ModuleType.__init__, in 3.11


def all_names(keep: bool = True) -> Iterator[tuple[dict[str, Any], str, Any]]:
    """The names of all these modules, and unless `keep` what gevent saved of them before it patched them."""
    for _, module in modules():
        names = names_of(module)
        # A copy is made in one step. Going through the names makes objects, so in 3.11 a finaliser may add a name.
        for name, value in names.copy().items():
            yield names, name, value
    state = sys.modules.get("gevent.monkey._state")
    saved = getattr(state, "saved", None)
    if not keep and isinstance(saved, dict):
        for names in saved.copy().values():
            for name, value in names.copy().items():
                yield names, name, value
