"""Bindings across machines: they are put into the headers of a request or a message, and taken out at the other end.

Only names that an xlocal declares as :class:`xctx.carried` travel, in W3C's ``baggage`` header, which services in other
languages read and write too. The manual says how values are written (:doc:`wire`). Members of others that came in go on
to the next service, with their properties.

What arrives is checked against the declared type, and never unpickled. Only the program can know whether it is true: a
service that faces the public should not grant rights by it, and says what it takes by `accept`.

What has to be left out of what came in is logged at debug level by the logger ``xctx.wire``, and a value that cannot be
written as an error; or, if `report` is given, that is called with what was left out, and why.
"""

from collections.abc import Collection, MutableMapping
from typing import Any, TypeVar

from xctx._carry.snapshot import Snapshot, snapshot_of
from xctx._stores.xlocal import xlocal
from xctx._wire.fields import declare
from xctx._wire.headers import headers_of, joined, put
from xctx._wire.incoming import arrived, check_accept
from xctx._wire.outgoing import header_here
from xctx._wire.report import Report, guarded
from xctx._wire.request_id import RequestId

__all__ = ["RequestId", "declare", "extract", "inject"]

_C = TypeVar("_C", bound="MutableMapping[str, str] | list[Any]")


def inject(carrier: _C, /, *xlocals: xlocal, report: Report | None = None) -> _C:
    """Puts the carried names that are bound here into the headers of an outgoing request or message.

    Baggage that the carrier has already stays, that of the current OpenTelemetry context, if the program uses it, is
    added, and so are the members of others that came in with what is bound here. A carried name replaces the same name
    in these. The header has at most 64 members and 8192 bytes in all: the rest is left out, and reported.

    A value that is not of its declared type, or cannot be written, is left out and reported: it is logged as an error,
    or `report` is called. The others go.

    Args:
        carrier: a mapping of strings, as headers are, or a list of pairs of str or bytes. It gets a ``baggage`` header.
        xlocals: those whose bindings go. Default: each that declares carried names. If several of them have bound a
            name, the xlocal that was made last counts.
        report: called with what was left out, and why, in place of the log.

    Returns:
        The carrier.

    Raises:
        TypeError: one of `xlocals` is no xlocal, or carries nothing.

    Thread-safety: may be called in any unit; no other thread may change the carrier meanwhile.
    """
    found = headers_of(carrier)
    text = header_here(joined(found, guarded(report)), xlocals, report)
    if text or (found and text is not None):
        put(carrier, found, text)
    return carrier


NOTHING = snapshot_of(())


def extract(
    carrier: Any, /, *xlocals: xlocal, report: Report | None = None, accept: Collection[str] | None = None
) -> Snapshot:
    """Takes the carried names out of the headers of an incoming request or message.

    What is malformed, too large or of the wrong type is left out, and reported. No exception is raised, whatever the
    carrier is or contains. If a name comes twice, the last one counts. Names that no xlocal declares are kept beside
    those that are bound, and :func:`inject` passes them on.

    Args:
        carrier: a mapping of strings, whose keys may be of any case, or pairs of str or of bytes.
        xlocals: those whose names may be bound. Default: each that declares carried names.
        report: called with what was left out, and why, in place of the log.
        accept: the names, as they are on the wire, that are taken in, whether declared or passed on; nothing else is.
            Default: all.

    Returns:
        A snapshot of what arrived. ``with extract(headers):`` binds it, and so does ``extract(headers).run(func)``, in
        any unit. It is bound in addition to what is bound there.

    Raises:
        TypeError: one of `xlocals` is no xlocal, or carries nothing; `accept` is no collection of str.

    Thread-safety: may be called in any unit.
    """
    values = arrived(carrier, xlocals, report, check_accept(accept))
    return snapshot_of(values.items(), barriers=False) if values else NOTHING
