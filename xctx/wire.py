"""Bindings across machines: put into the headers of a request or a message, and taken out at the other end.

Only names that an xlocal declares as :class:`xctx.carried` travel, in the ``baggage`` header of W3C, which services in
other languages read and write, too. A value is written as JSON, or by the codec of its declaration; a string is written
as it is where no reader can take it for other JSON.

What arrives is checked against the declared type, and never unpickled. Whether it is true only the program can say: a
service that faces the public should take in nothing that grants a right.

What had to be dropped, on either side, is told to the logger ``xctx.wire`` at debug level, or to `report` if one is
given: a callable that gets what was dropped, and why.
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

    Baggage that the carrier has, and that of the current OpenTelemetry context where the program uses one, goes along.
    A name of ours replaces one of theirs. A baggage has at most 64 members and 8192 bytes: the rest is left out,
    and reported.

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


NOTHING = snapshot_of(())


def extract(carrier: Any, /, *xlocals: xlocal, report: Report | None = None) -> Snapshot:
    """Takes what is carried to this process out of the headers of an incoming request or message.

    Names that no xlocal declares are ignored. What is malformed, too large or of the wrong type is left out, and
    reported. Nothing is raised, whatever the carrier is or contains. If a name comes twice, the last one counts.

    Args:
        carrier: a mapping of strings, whose keys may be of any case, or pairs of str or of bytes.
        xlocals: those that may get something. Default: each that declares carried names, at both ends.
        report: told of what was left out, in place of the log.

    Returns:
        What arrived, as a snapshot: ``with extract(headers):`` binds it, and so does ``extract(headers).run(func)``, in
        whatever unit. It comes on top of what is bound there.

    Raises:
        TypeError: one of `xlocals` is no xlocal, or carries nothing.

    Thread-safety: from any unit.
    """
    values = arrived(carrier, xlocals, report)
    return snapshot_of(values.items(), barriers=False) if values else NOTHING
