"""Bindings across machines: they are put into the headers of a request or a message, and taken out at the other end.

Only names that an xlocal declares as :class:`xctx.carried` travel, in W3C's ``baggage`` header, which services in other
languages read and write too. A value is written as JSON, or by the codec of its declaration; a string is written
without quotes if no reader can mistake it for other JSON.

What arrives is checked against the declared type, and never unpickled. Only the program can tell whether it is true: a
service that faces the public should not grant rights by it.

What has to be left out, on either side, is logged at debug level by the logger ``xctx.wire``; or, if `report` is given,
that is called with what was left out, and why.
"""

from collections.abc import MutableMapping
from typing import Any, TypeVar

from xctx._carry.snapshot import Snapshot, snapshot_of
from xctx._stores.xlocal import xlocal
from xctx._wire.baggage import members
from xctx._wire.fields import declare
from xctx._wire.headers import headers_of, joined, put
from xctx._wire.incoming import arrived
from xctx._wire.outgoing import bound_here, merged, telemetry
from xctx._wire.report import Report, guarded

__all__ = ["declare", "extract", "inject"]

_C = TypeVar("_C", bound="MutableMapping[str, str] | list[Any]")


def inject(carrier: _C, /, *xlocals: xlocal, report: Report | None = None) -> _C:
    """Puts the carried names that are bound here into the headers of an outgoing request or message.

    Baggage that the carrier has already stays, and that of the current OpenTelemetry context, if the program uses it,
    is added. A carried name replaces the same name in these. A baggage header has at most 64 members and 8192 bytes:
    the rest is left out, and reported.

    Args:
        carrier: a mapping of strings, as headers are, or a list of pairs of str or bytes. It gets a ``baggage`` header.
        xlocals: those whose bindings go. Default: each that declares carried names. If several of them have bound a
            name, the xlocal that was made last counts.
        report: called with what was left out, and why, in place of the log.

    Returns:
        The carrier.

    Raises:
        TypeError, ValueError: a value cannot be written; the message names it. The carrier is unchanged.

    Thread-safety: may be called in any unit; no other thread may change the carrier meanwhile.
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


NOTHING = snapshot_of(())


def extract(carrier: Any, /, *xlocals: xlocal, report: Report | None = None) -> Snapshot:
    """Takes the carried names out of the headers of an incoming request or message.

    Names that no xlocal declares are ignored. What is malformed, too large or of the wrong type is left out, and
    reported. No exception is raised, whatever the carrier is or contains. If a name comes twice, the last one counts.

    Args:
        carrier: a mapping of strings, whose keys may be of any case, or pairs of str or of bytes.
        xlocals: those whose names may be bound. Default: each that declares carried names.
        report: called with what was left out, and why, in place of the log.

    Returns:
        A snapshot of what arrived. ``with extract(headers):`` binds it, and so does ``extract(headers).run(func)``, in
        any unit. It is bound in addition to what is bound there.

    Raises:
        TypeError: one of `xlocals` is no xlocal, or carries nothing.

    Thread-safety: may be called in any unit.
    """
    values = arrived(carrier, xlocals, report)
    return snapshot_of(values.items(), barriers=False) if values else NOTHING
