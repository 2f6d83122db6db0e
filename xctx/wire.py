"""Bindings across machines: put into the headers of a request or a message, and taken out at the other end.

Only names that an xlocal declares as :class:`xctx.carried` travel. The wire form is the ``baggage`` header of W3C, so
that services in other languages read it, and what they send is read. A value is written as JSON, or by the codec of its
declaration; a string is written as it is where nobody could take it for other JSON.

What arrives is the word of whoever sent it. It is checked against the declared type, and never unpickled; whether to
believe it is for the program to say: a service that faces the public should carry in nothing that grants anything.

What had to be dropped, on either side, is told to the logger ``xctx.wire`` at debug level, or to `report` where it is
given: a callable that gets what was dropped, and why.
"""

import json
import logging
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from math import isfinite
from typing import Any, TypeVar

from xctx._carry.snapshot import Snapshot, snapshot_of
from xctx._stores.xlocal import xlocal
from xctx._wire.baggage import BARE_IN_KEYS, BYTES, MEMBERS, Member, Report, decoded, encoded, members, within_limits
from xctx._wire.fields import Field, carriers, declare, fields_of

__all__ = ["declare", "extract", "inject"]

HEADER = "baggage"
MISSING = object()

_logger = logging.getLogger("xctx.wire")
_C = TypeVar("_C", bound="MutableMapping[str, str] | list[Any]")


def to_log(what: str, why: str) -> None:
    _logger.debug("dropped %.200r: %s", what, why)


def guarded(report: Report | None) -> Report:
    """A report that never raises into the request."""
    if report is None:
        return to_log

    def tell(what: str, why: str) -> None:
        try:
            report(what, why)
        except Exception:
            _logger.debug("%r raised when told that %.200r was dropped: %s", report, what, why, exc_info=True)

    return tell


def said(exc: Exception) -> str:
    try:
        return repr(exc)
    except Exception:
        return type(exc).__name__


def chosen(stores: tuple[xlocal, ...]) -> list[tuple[xlocal, Mapping[str, Field]]]:
    """The xlocals asked for, or all, and what each carries."""
    if not stores:
        return carriers()
    found = []
    for store in stores:
        fields = fields_of(store)
        if not fields:
            raise TypeError(
                f"{store!r} carries nothing: declare names of its class as xctx.carried, or use wire.declare"
            )
        found.append((store, fields))
    return found


# --- values -----------------------------------------------------------------------------------------------------------


# A value that was taken in can be written again, at the next request that goes out: nothing that JSON does not have, no
# number that reads as infinite, nothing nested too deep for whoever is deeper in the stack, no surrogate alone.
DEEPEST = 64


def refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def finite(text: str) -> float:
    number = float(text)
    return number if isfinite(number) else refused(text)


def parsed(text: str) -> Any:
    if text.count("[") + text.count("{") > DEEPEST:
        depth = deepest = 0
        for character in text:
            depth += (character in "[{") - (character in "]}")
            deepest = max(deepest, depth)
        if deepest > DEEPEST:
            raise ValueError(f"it is nested {deepest} deep")
    value = json.loads(text, parse_constant=refused, parse_float=finite)
    if "\\" in text:
        json.dumps(value, ensure_ascii=False).encode()
    return value


def to_text(field: Field, value: Any) -> str:
    """A value as text.

    Raises:
        TypeError, ValueError: it cannot be written.
    """
    if field.encode is not None:
        text = field.encode(value)
        if not isinstance(text, str):
            raise TypeError(f"{field.encode!r} gave {text!r}: a str was wanted")
        return text
    if type(value) is str:
        if field.types == (str,):
            quotes = value.startswith('"')
        else:
            try:
                parsed(value)
                quotes = True
            except ValueError:
                quotes = False
        if not quotes and value == value.strip():
            return value
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def from_text(field: Field, text: str) -> Any:
    """The value of a text that came from outside.

    Raises:
        Exception: of whatever kind; it is none.
    """
    value: Any
    if field.decode is not None:
        value = field.decode(text)
    elif field.types == (str,) and not text.startswith('"'):
        value = text
    else:
        try:
            value = parsed(text)
        except ValueError:
            if field.types is not None and str not in field.types:
                raise
            value = text
    if field.types is not None:
        if type(value) is int and float in field.types and int not in field.types:
            value = float(value)  # JSON has one kind of number
        if (type(value) is bool and bool not in field.types) or not isinstance(value, field.types):
            raise TypeError(f"{value!r} is no {' or '.join(each.__name__ for each in field.types)}")
    return value


# --- carriers ---------------------------------------------------------------------------------------------------------


def text_of(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, (bytes, bytearray)):
        return value.decode("latin-1")
    if isinstance(value, (list, tuple)):
        parts = [text_of(each) for each in value]
        return None if None in parts else ",".join(parts)  # type: ignore[arg-type]
    return None


def is_header(pair: Any) -> bool:
    """Whether a pair is a header of baggage, whatever its case."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        return False
    key = pair[0]
    return key.lower() == HEADER if isinstance(key, str) else isinstance(key, bytes) and key.lower() == b"baggage"


def headers_of(carrier: Any) -> list[tuple[Any, Any]]:
    return [
        (pair[0], pair[1]) for pair in (carrier.items() if hasattr(carrier, "items") else carrier) if is_header(pair)
    ]


def joined(found: Iterable[tuple[Any, Any]], report: Report) -> str:
    texts = []
    for _, value in found:
        text = text_of(value)
        if text is None:
            report(HEADER, f"its value is a {type(value).__name__}, not text")
        else:
            texts.append(text)
    return ",".join(texts)


def put(carrier: Any, found: list[tuple[Any, Any]], text: str) -> None:
    """Puts one header in place of those found."""
    if isinstance(carrier, list):
        wants_bytes = isinstance((found or carrier or [("",)])[0][0], bytes)
        pair = (HEADER.encode(), text.encode("ascii")) if wants_bytes else (HEADER, text)
        carrier[:] = [each for each in carrier if not is_header(each)] + [pair]
        return
    # email.message.Message, which http.client has for headers, adds where others replace.
    keys = {key for key, _ in found}
    if len(keys) > 1 or (keys and hasattr(carrier, "replace_header")):
        for key in keys:
            if key in carrier:
                del carrier[key]
    carrier[found[0][0] if found else HEADER] = text


# --- out --------------------------------------------------------------------------------------------------------------


def inject(carrier: _C, /, *xlocals: xlocal, report: Report | None = None) -> _C:
    """Puts the carried names that are bound here into the headers of an outgoing request or message.

    Baggage that the carrier has, and that of the current OpenTelemetry context where the program uses one, goes along.
    A name of ours replaces one of theirs. A baggage has at most 64 members and 8192 bytes: what does not fit is left
    out, and reported.

    Args:
        carrier: a mapping of strings, as headers are, or a list of pairs of str or bytes. It gets a ``baggage`` header.
        xlocals: those whose bindings go. Default: each that declares carried names. A name that several of them have
            bound goes as the one made last has it.
        report: told of what was left out, in place of the log.

    Returns:
        The carrier.

    Raises:
        TypeError, ValueError: a value cannot be written; it is named. The carrier is unchanged.

    Thread-safety: from any unit; the carrier is not to be changed by others meanwhile.
    """
    tell = guarded(report)
    ours = bound_here(xlocals, tell)
    theirs = telemetry(tell)
    if not ours and not theirs:
        return carrier
    found = headers_of(carrier)
    text = merged(list(members(joined(found, tell), tell)), ours, theirs, tell)
    if text or found:
        put(carrier, found, text)
    return carrier


def bound_here(xlocals: tuple[xlocal, ...], report: Report) -> dict[str, str]:
    """The carried names that are bound here, as they are called and written on the wire."""
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
    """The text of a header with what was there, what is ours, and what is the telemetry's."""
    parts = []
    kept = set()
    for member in there:
        if member.key not in ours or (decoded(member.value) == decoded(ours[member.key]) and member.key not in kept):
            parts.append(member.text)  # with its properties
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
    """The baggage of an OpenTelemetry context, encoded; nothing where the program did not import its API.

    Its own propagator writes a space as a plus sign, which to other languages is one, so it is not asked to write.
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
    except Exception as exc:  # a half-imported module, a propagator of its own: not worth a request
        report("the baggage of OpenTelemetry", said(exc))
    return found


# --- in ---------------------------------------------------------------------------------------------------------------


NOTHING = snapshot_of(())


def extract(carrier: Any, /, *xlocals: xlocal, report: Report | None = None) -> Snapshot:
    """Takes what is carried to this process out of the headers of an incoming request or message.

    Names that no xlocal declares are ignored. What is malformed, too large or of the wrong type is left out, and
    reported; whatever the carrier is or has in it, nothing is raised. Of a name that comes twice the last counts.

    Args:
        carrier: a mapping of strings, whose keys may be of any case, or pairs of str or of bytes.
        xlocals: those that may get something. Default: each that declares carried names, at both ends.
        report: told of what was left out, in place of the log.

    Returns:
        What arrived, as a snapshot: ``with extract(headers):`` binds it, and so does ``extract(headers).run(func)``, in
        whatever unit. It comes on top of what is bound there.

    Raises:
        TypeError: one of `xlocals` is none, or carries nothing.

    Thread-safety: from any unit.
    """
    values = arrived(carrier, xlocals, report)
    return snapshot_of(values.items(), barriers=False) if values else NOTHING


def arrived(
    carrier: Any, xlocals: tuple[xlocal, ...] = (), report: Report | None = None
) -> dict[xlocal, dict[str, Any]]:
    """What there is in a carrier for each xlocal; those that get nothing are left out."""
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
