"""Which parts of a snapshot can go to another process, pickled, or to another interpreter of this one."""

import io
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from xctx._runtime.importable import find_name
from xctx._stores.xlocal import xlocal

# Values of these types can be pickled, so they need not be tried.
PLAIN = {type(None), bool, int, float, complex, str, bytes, bytearray}


_Place = tuple[str, str]
_Named = Iterable[tuple[Any, dict[str, Any]]]
_Going = list[tuple[_Place, dict[str, Any]]]


def portable(
    named: _Named,
    variables: Iterable[tuple[Any, Any]],
    locals_: _Named,
    kept: _Named | None,
    judge: Callable[[Any], str | None],
    skip: bool,
    how: str = "be pickled",
) -> tuple[_Going, list[tuple[_Place, Any]], _Going, _Going | None]:
    """The parts of a snapshot that can go, with the names by which the other process or interpreter finds each.

    Args:
        named: xlocals, or their module and qualified name, with the names and values of each.
        variables: context variables, or their module and qualified name, with their values.
        locals_: locals that were passed to `capture`, or their module and qualified name, with names and values.
        kept: the same for the locals of the unit of work that comes along; None if none does. Values of these that
            cannot go are left out.
        judge: says why a value cannot go, or returns None if it can.
        skip: whether to leave out what cannot go, rather than raise.
        how: completes the message, "this snapshot cannot …".

    Raises:
        TypeError: something cannot go, and `skip` is false. The message names all of it.
    """
    problems: list[str] = []
    going = those_of_stores(named, judge, problems)
    going_locals = those_of_stores(locals_, judge, problems)
    going_kept = None if kept is None else those_of_stores(kept, judge, [])
    going_variables: list[tuple[_Place, Any]] = []
    for var, value in variables:
        place = place_of(var, problems)
        if place is not None:
            going_variables += [
                (place, each) for _, each in those_that_go([(place[1], value)], judge, f"in {place[0]}", problems)
            ]
    if problems and not skip:
        raise TypeError(f"this snapshot cannot {how}: {'; '.join(problems)}")
    return going, going_variables, going_locals, going_kept


def those_of_stores(named: _Named, judge: Callable[[Any], str | None], problems: list[str]) -> _Going:
    going: _Going = []
    for owner, names in named:
        place = place_of(owner, problems)
        if place is not None:
            told = f"of {place[0]}.{place[1]}"
            going.append((place, dict(those_that_go(names.items(), judge, told, problems))))
    return going


def that_pickle(kept: _Named) -> list[tuple[Any, dict[str, Any]]]:
    """Stores, with those of their names whose values can be pickled."""
    pickles = pickling(pickle.DEFAULT_PROTOCOL)
    return [(store, dict(those_that_go(names.items(), pickles, "", []))) for store, names in kept]


def place_of(thing: Any, problems: list[str]) -> tuple[str, str] | None:
    if isinstance(thing, tuple):
        return thing
    try:
        if issubclass(type(thing), xlocal):
            module, qualname = thing.__reduce_ex__(2)[1]
            return module, qualname
        return find_name(thing)
    except TypeError:
        problems.append(f"no module has {thing!r} by a name")
        return None


def those_that_go(
    names: Iterable[tuple[str, Any]], judge: Callable[[Any], str | None], told: str, problems: list[str]
) -> Iterator[tuple[str, Any]]:
    for name, value in names:
        problem = None if type(value) in PLAIN else judge(value)
        if problem is None:
            yield name, value
        else:
            problems.append(f"{name!r} {told} ({type(value).__name__}: {problem})")


def pickling(protocol: int) -> Callable[[Any], str | None]:
    """A function that says why the pickler that is running cannot pickle a value, or returns None if it can."""
    kind = pickler_at_work()

    def attempt(pickler: Any, value: Any) -> str | None:
        try:
            pickler(io.BytesIO(), protocol).dump(value)
        except Exception as exc:
            return str(exc) or type(exc).__name__
        return None

    def pickles(value: Any) -> str | None:
        problem = attempt(pickle.Pickler, value)
        if problem is None or kind is pickle.Pickler:
            return problem
        # While a child is spawned, its pickler notes each descriptor that the child gets. This attempt adds none.
        spawning = sys.modules.get("multiprocessing.context")
        child = spawning.get_spawning_popen() if spawning is not None else None
        noted = getattr(child, "_fds", None)
        if child is None or noted is None:
            return attempt(kind, value)
        child._fds = list(noted)
        try:
            return attempt(kind, value)
        finally:
            child._fds = noted

    return pickles


def pickler_at_work() -> Any:
    """The class of the pickler that is running. Some, such as cloudpickle's, pickle more types than pickle's own does.

    A pickler written in C has no frame. The frame of its caller is that of a method of a subclass, or of a function of
    the same module. If it is any other frame, the pickler is assumed to be pickle's own.
    """
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    name = frame.f_globals.get("__name__", "")
    for local in ("self", "cls"):
        thing = frame.f_locals.get(local)
        kind = thing if isinstance(thing, type) else type(thing)
        if issubclass(kind, (pickle.Pickler, pickle._Pickler)):
            return kind
    if name.startswith("multiprocessing."):
        from multiprocessing.reduction import ForkingPickler

        return ForkingPickler
    return pickle.Pickler
