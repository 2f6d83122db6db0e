"""Tells the interpreters that a program starts what to patch.

``XCTX_PATCH`` has the parts, and what is allowed or denied: ``locals proxies carry deny=logging,queue``. ``PYTHONPATH``
begins with the folder whose ``sitecustomize.py`` has each interpreter read that before it runs its program.
"""

import os
from collections.abc import MutableMapping
from typing import NamedTuple

from xctx._patch.carrying import Policy
from xctx._patch.handles import Patch

VARIABLE = "XCTX_PATCH"
FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "children")
PARTS = ("locals", "proxies", "carry")


class Wish(NamedTuple):
    """What to patch."""

    parts: tuple[str, ...]
    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()

    def __str__(self) -> str:
        allow = [] if self.allow is None else [f"allow={','.join(self.allow)}"]
        return " ".join([*self.parts, *allow, *([f"deny={','.join(self.deny)}"] if self.deny else [])])

    def fulfil(self) -> None:
        if self.parts:
            Patch(self.parts, Policy(self.allow, self.deny) if "carry" in self.parts else None)


def read(text: str) -> Wish:
    """The wish that a text says.

    Raises:
        ValueError: it says something else.
    """
    parts: list[str] = []
    lists: dict[str, tuple[str, ...]] = {}
    for word in text.split():
        name, equals, names = word.partition("=")
        if equals and name in ("allow", "deny"):
            lists[name] = tuple(filter(None, names.split(",")))
        elif word == "all":
            parts += PARTS
        elif word in PARTS:
            parts.append(word)
        else:
            raise ValueError(f"{VARIABLE} is made of locals, proxies, carry, all, allow= and deny=, not {word!r}")
    return Wish(tuple(dict.fromkeys(parts)), lists.get("allow"), lists.get("deny", ()))


def tell_children(wish: Wish, variables: MutableMapping[str, str]) -> None:
    """Makes the interpreters that are started with these environment variables do the same."""
    variables[VARIABLE] = str(wish)
    folders = [each for each in variables.get("PYTHONPATH", "").split(os.pathsep) if each and each != FOLDER]
    variables["PYTHONPATH"] = os.pathsep.join([FOLDER, *folders])


def fulfil_what_is_told() -> None:
    """Patches what the environment says."""
    text = os.environ.get(VARIABLE)
    if text:
        read(text).fulfil()
