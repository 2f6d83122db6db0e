"""What there is in the headers of an incoming request or message."""

from typing import Any

from xctx._stores.xlocal import xlocal
from xctx._wire.baggage import decoded, within_limits
from xctx._wire.fields import chosen
from xctx._wire.headers import HEADER, headers_of, joined
from xctx._wire.report import Report, guarded, said
from xctx._wire.values import from_text


def arrived(
    carrier: Any, xlocals: tuple[xlocal, ...] = (), report: Report | None = None
) -> dict[xlocal, dict[str, Any]]:
    """The names and values in a carrier for each xlocal. An xlocal that gets nothing is left out.

    Whatever is in the carrier, nothing is raised; TypeError where one of `xlocals` carries nothing.
    """
    values: dict[xlocal, dict[str, Any]] = {}
    stores = chosen(xlocals)
    if not stores:
        return values
    tell = guarded(report)
    found: dict[str, str] = {}
    try:
        for member in within_limits(joined(headers_of(carrier), tell), tell):
            if found.pop(member.key, None) is not None:
                tell(member.key, "it came more than once: the last counts")
            found[member.key] = member.value
    except Exception as exc:
        tell(HEADER, f"a {type(carrier).__name__} cannot be read: {said(exc)}")
    if not found:
        return values
    for store, fields in stores:
        names = {}
        for field in fields.values():
            value = found.get(field.key)
            if value is None:
                continue
            try:
                names[field.name] = from_text(field, decoded(value))
            except Exception as exc:
                tell(f"{field.key}={value}", said(exc))
        if names:
            values[store] = names
    return values
