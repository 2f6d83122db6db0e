"""What is in the headers of an incoming request or message."""

from collections.abc import Collection
from typing import Any

from xctx._stores.xlocal import xlocal
from xctx._wire.baggage import Member, decoded, within_limits
from xctx._wire.fields import Field, carriers, chosen
from xctx._wire.headers import HEADER, headers_of, joined
from xctx._wire.passing import beside, names_for
from xctx._wire.report import Report, guarded, said
from xctx._wire.values import from_text


def check_accept(accept: Collection[str] | None) -> frozenset[str] | None:
    """The names that may be taken in, as a set; None for all."""
    if accept is None:
        return None
    if isinstance(accept, (str, bytes)):
        raise TypeError(f"accept is a collection of names on the wire, not {accept!r}")
    names = frozenset(accept)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"accept is a collection of names on the wire, {name!r} is none")
    return names


def arrived(
    carrier: Any,
    xlocals: tuple[xlocal, ...] = (),
    report: Report | None = None,
    accept: frozenset[str] | None = None,
) -> dict[xlocal, dict[str, Any]]:
    """The names and values in a carrier for each xlocal. An xlocal that gets nothing is left out.

    Whatever is in the carrier, nothing is raised; TypeError where one of `xlocals` carries nothing.
    """
    values: dict[xlocal, dict[str, Any]] = {}
    stores = chosen(xlocals)
    tell = guarded(report)
    found = members_in(carrier, tell, accept)
    if not found:
        return values
    ours: dict[str, list[Member]] = {}
    for store, fields in stores:
        names = {}
        for field in fields.values():
            members = found.get(field.key)
            if members is None:
                continue
            ours[field.key] = []
            if not field.accept:
                tell(members[-1].text, "carried(accept=False): it is taken from nobody")
                continue
            if len(members) > 1:
                tell(field.key, "it came more than once: the last counts")
            try:
                names[field.name] = from_text(field, decoded(members[-1].value))
            except Exception as exc:
                tell(f"{field.key}={members[-1].value}", said(exc))
                continue
            if ";" in members[-1].text:
                ours[field.key] = members[-1:]
        if names:
            values[store] = names
    others = [member for key, members in found.items() if key not in ours for member in members]
    if others:
        closed = {field.key for _, fields in carriers() for field in fields.values() if is_closed(field)}
        others = [member for member in others if member.key not in closed]
    kept = [member for members in ours.values() for member in members]
    if others or kept:
        for passing in beside(store for store, _ in stores):
            values[passing] = names_for(others, kept)
    return values


def is_closed(field: Field) -> bool:
    """Whether a name must not pass through, whether or not its xlocal is among those that are asked for."""
    return not field.accept or not field.send


def members_in(carrier: Any, tell: Report, accept: frozenset[str] | None) -> dict[str, list[Member]]:
    """The members in a carrier, by key."""
    found: dict[str, list[Member]] = {}
    try:
        for member in within_limits(joined(headers_of(carrier), tell), tell):
            if accept is not None and member.key not in accept:
                tell(member.text, "it is not among the names to accept")
            else:
                found.setdefault(member.key, []).append(member)
    except Exception as exc:
        tell(HEADER, f"a {type(carrier).__name__} cannot be read: {said(exc)}")
    return found
