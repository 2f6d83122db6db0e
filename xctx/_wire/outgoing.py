"""What goes into the header of an outgoing request or message."""

import sys
from typing import Any

from xctx._stores.xlocal import xlocal
from xctx._wire.baggage import BARE_IN_KEYS, BYTES, MEMBERS, Member, decoded, encoded
from xctx._wire.fields import chosen
from xctx._wire.report import Report, said
from xctx._wire.values import to_text

MISSING = object()


def bound_here(xlocals: tuple[xlocal, ...], report: Report) -> dict[str, str]:
    """The carried names that are bound here and their values, both as on the wire.

    Raises:
        TypeError, ValueError: a value cannot be written; it is named.
    """
    ours: dict[str, str] = {}
    for store, fields in chosen(xlocals):
        bound = store.__dict__
        for field in fields.values():
            value = bound.get(field.name, MISSING)
            if value is MISSING:
                continue
            try:
                text = encoded(to_text(field, value))
            except Exception as exc:
                kind = TypeError if isinstance(exc, TypeError) else ValueError
                raise kind(
                    f"cannot carry {field.name!r} of {store!r}: {value!r:.200} cannot be written: {exc}"
                ) from exc
            if ours.setdefault(field.key, text) != text:
                report(f"{field.key}={ours[field.key]}", "an xlocal made later has another value for it")
                ours[field.key] = text
    return ours


def merged(there: list[Member], ours: dict[str, str], theirs: dict[str, str], report: Report) -> str:
    """The text of a header: the members that were there, our names, and those of OpenTelemetry that are neither.

    A member that was there under one of our names stays only if it has the same value, for the sake of its properties.
    """
    parts = []
    kept = set()
    for member in there:
        if member.key not in ours or (decoded(member.value) == decoded(ours[member.key]) and member.key not in kept):
            parts.append(member.text)
            kept.add(member.key)
    length = sum(map(len, parts)) + len(parts) - 1
    for key, value in [*ours.items(), *theirs.items()]:
        if key in kept:
            continue
        part = f"{key}={value}"
        kept.add(key)
        if len(parts) >= MEMBERS:
            report(part, f"a baggage has at most {MEMBERS} members")
        elif length + 1 + len(part) > BYTES:
            report(part, f"a baggage has at most {BYTES} bytes")
        else:
            parts.append(part)
            length += 1 + len(part)
    return ",".join(parts)


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
    except (
        Exception
    ) as exc:  # a module that is half imported, an API of another version: no request fails because of it
        report("the baggage of OpenTelemetry", said(exc))
    return found
