"""What goes into the header of an outgoing request or message."""

import logging
import sys
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_plus

from xctx._stores.xlocal import xlocal
from xctx._wire.baggage import BARE_IN_KEYS, BYTES, MEMBERS, Member, decoded, encoded, members
from xctx._wire.fields import Field, chosen
from xctx._wire.passing import bound
from xctx._wire.report import Report, guarded, said
from xctx._wire.values import from_text, to_text

_logger = logging.getLogger("xctx.wire")

MISSING = object()


def header_here(there: str, xlocals: tuple[xlocal, ...], report: Report | None, context: Any = None) -> str | None:
    """The text of a header for what is bound here, with what was `there`; None where nothing is to be added.

    Whatever is bound, nothing is raised; TypeError where one of `xlocals` carries nothing.
    """
    tell = guarded(report)
    stores = chosen(xlocals)
    others, kept = bound(store for store, _ in stores)
    ours: dict[str, Member | None] = {}
    for store, fields in stores:
        names = store.__dict__
        for field in fields.values():
            value = names.get(field.name, MISSING)
            if value is MISSING or not field.send:
                continue
            member = member_of(store, field, value, kept, report)
            before = ours.get(field.key)
            if before is not None and member is not None and before.value != member.value:
                tell(before.text, "an xlocal made later has another value for it")
            ours[field.key] = member
    theirs = telemetry(tell, context)
    if not ours and not theirs and not others:
        return None
    return merged(members(there, tell), ours, theirs, others, tell)


def member_of(store: Any, field: Field, value: Any, kept: Iterable[Member], report: Report | None) -> Member | None:
    """A value as it goes out: as it came in, if it is the same; None if it cannot be written, which is reported."""
    try:
        for member in kept:
            if member.key == field.key:
                came = from_text(field, decoded(member.value))
                if type(came) is type(value) and came == value:
                    return member
        text = encoded(to_text(field, value))
        return Member(field.key, text, f"{field.key}={text}")
    except Exception as exc:
        cannot_be_written(store, field, exc, report)
        return None


def cannot_be_written(store: Any, field: Field, exc: Exception, report: Report | None) -> None:
    """Reports a mistake of this program, not of others: so it is logged as an error."""
    if report is None:
        _logger.error("cannot carry %r of %s: %s", field.name, type(store).__name__, said(exc))
    else:
        guarded(report)(field.key, f"{field.name!r} of {type(store).__name__} cannot be written: {said(exc)}")


def merged(
    there: Iterable[Member],
    ours: dict[str, Member | None],
    theirs: dict[str, str],
    others: list[Member],
    report: Report,
) -> str:
    """The text of a header, within the limits.

    First come the members that were there, then our names, then those of OpenTelemetry, then what passes through. None
    of these has a key of those before it; one that was there under one of our names stays only if it has the same
    value, for the sake of its properties.
    """
    parts: list[str] = []
    length = -1
    taken: set[str] = set()

    def add(text: str) -> None:
        nonlocal length
        if len(parts) >= MEMBERS:
            report(text, f"a baggage has at most {MEMBERS} members")
        elif length + 1 + len(text) > BYTES:
            report(text, f"a baggage has at most {BYTES} bytes")
        else:
            parts.append(text)
            length += 1 + len(text)

    before: set[str] = set()
    for member in there:
        if member.key in ours:
            mine = ours[member.key]
            if mine is None or member.key in taken or decoded(member.value) != decoded(mine.value):
                continue
            taken.add(member.key)
        before.add(member.key)
        add(member.text)
    for mine in ours.values():
        if mine is not None and mine.key not in taken:
            add(mine.text)
    taken |= before | ours.keys()
    came = {member.key: member for member in others}
    for key, value in theirs.items():
        if key in taken:
            continue
        taken.add(key)
        member_there = came.get(key)
        same = member_there is not None and is_same(member_there, decoded(value))
        add(member_there.text if same and member_there is not None else f"{key}={value}")
    for member in others:
        if member.key not in taken:
            add(member.text)
    return ",".join(parts)


def is_same(member: Member, value: str) -> bool:
    """Whether OpenTelemetry has read this value of a member.

    It takes properties for a part of the value, and a plus for a space.
    """
    whole = member.text.partition("=")[2]
    return value in (decoded(member.value), unquote_plus(whole).strip(), unquote_plus(member.value).strip())


def telemetry(report: Report, context: Any = None) -> dict[str, str]:
    """The baggage of an OpenTelemetry context, encoded; nothing where the program has not imported its API.

    Its own propagator is not asked to write this: it writes a space as a plus sign, which others read as a plus.
    """
    api = sys.modules.get("opentelemetry.baggage")
    if api is None:
        return {}
    found = {}
    try:
        for name, value in api.get_all(context).items():
            try:
                found[encoded(str(name), BARE_IN_KEYS)] = encoded(str(value))
            except ValueError:
                report(str(name), "it cannot be written")
    except Exception as exc:  # of a half imported module or another version of the API: no request may fail for that
        report("the baggage of OpenTelemetry", said(exc))
    return found
