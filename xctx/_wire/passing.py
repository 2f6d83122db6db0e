"""What passes through this service: the members of others in a baggage that came in, which go on to the next service.

They are bound as names are, by xlocals of this room, so that they go wherever what arrived with them goes: to other
units, and with a pickled snapshot to other processes. There is one for each kind of unit, because they must be seen
where the names are that came in the same header.
"""

from collections.abc import Iterable
from typing import Any

from xctx import _core
from xctx._stores.xlocal import key_of, xlocal
from xctx._wire.baggage import Member


class Passing(xlocal):
    """What came in one header and is passed on."""

    # Members that no xlocal of this process declares.
    others: tuple[Member, ...] = ()
    # Members that are bound here under a name, and had properties. These go on as long as the value is the same.
    ours: tuple[Member, ...] = ()


class by_key:
    """One for each kind of unit. Each is an attribute, by whose name it pickles."""

    process = Passing(key=_core.process)
    thread = Passing(key=_core.thread)
    greenlet = Passing(key=_core.greenlet)
    task = Passing(key=_core.task)
    flow = Passing(key=_core.flow)
    work = Passing(key=_core.work)
    context = Passing(key=_core.context)


BY_KEY = {id(getattr(_core, name)): getattr(by_key, name) for name in vars(by_key) if not name.startswith("_")}


def beside(stores: Iterable[xlocal]) -> list[Passing]:
    """The xlocals for what passes, which are seen where these are.

    The one of `flow` is used if no store is given, and for keys that the program made.
    """
    found: dict[int, Passing] = {}
    for store in stores:
        passing = BY_KEY.get(id(key_of(store)), by_key.flow)
        found[id(passing)] = passing
    return list(found.values()) or [by_key.flow]


def names_for(others: Iterable[Member], ours: Iterable[Member]) -> dict[str, Any]:
    """What one of them binds: both names, so that what came with an outer request does not show through."""
    return {"others": tuple(others), "ours": tuple(ours)}


def bound(stores: Iterable[xlocal]) -> tuple[list[Member], list[Member]]:
    """What passes through here: the members of others, and those of ours that have properties."""
    others: dict[Member, None] = {}
    ours: dict[Member, None] = {}
    for passing in beside(stores):
        if names := passing.__dict__:
            others.update(dict.fromkeys(names["others"]))
            ours.update(dict.fromkeys(names["ours"]))
    return list(others), list(ours)
