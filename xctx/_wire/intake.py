"""What the servers' middlewares have in common: what they take from the headers of a request, and answer with."""

from collections.abc import Collection
from typing import Any

from xctx._carry.snapshot import Snapshot, snapshot_of
from xctx._stores.xlocal import xlocal
from xctx._wire.fields import chosen
from xctx._wire.incoming import arrived, check_accept
from xctx._wire.report import Report
from xctx._wire.request_id import RequestId


class Intake:
    """What a middleware takes from requests.

    Raises:
        TypeError: one of `xlocals` carries nothing, `accept` is no collection of str, `request_id` no RequestId.

    Thread-safety: never changes.
    """

    __slots__ = ("_accept", "_report", "_xlocals", "request_id")

    def __init__(
        self,
        xlocals: tuple[xlocal, ...],
        report: Report | None,
        accept: Collection[str] | None,
        request_id: RequestId | None,
    ) -> None:
        chosen(xlocals)
        if request_id is not None and not isinstance(request_id, RequestId):
            raise TypeError(f"{request_id!r} is no xctx.wire.RequestId")
        self._xlocals = xlocals
        self._report = report
        self._accept = check_accept(accept)
        self.request_id = request_id

    def of(self, baggage: Any, id_sent: str | None) -> tuple[Snapshot | None, tuple[str, str] | None]:
        """What is to be bound for a request, and the header to answer with; either may be None.

        Args:
            baggage: the value of its ``baggage`` header, or the list of several.
            id_sent: the value of the header that ids of requests come in.
        """
        values = arrived({"baggage": baggage}, self._xlocals, self._report, self._accept) if baggage else {}
        answer = None
        if self.request_id is not None:
            answer = self.request_id.header, self.request_id.add_to(values, id_sent)
        return snapshot_of(values.items(), barriers=False) if values else None, answer
