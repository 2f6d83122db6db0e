"""OpenTelemetry: the libraries that it instruments send the carried names along.

These libraries let OpenTelemetry's propagators write the headers of their requests. The propagator ``xctx`` adds the
carried names that are bound. It is chosen in the environment, by ``OTEL_PROPAGATORS=tracecontext,baggage,xctx``, if
xctx is installed as a package; or in the program, as the last one of a composite::

    set_global_textmap(CompositePropagator([..., W3CBaggagePropagator(), xctx.telemetry.Propagator()]))
"""

from typing import Any

from xctx._stores.xlocal import xlocal
from xctx._wire.fields import chosen
from xctx._wire.headers import HEADER
from xctx._wire.outgoing import header_here
from xctx._wire.report import Report

__all__ = ["Propagator"]


class Propagator:
    """A propagator that puts the carried names bound here into the ``baggage`` header, beside OpenTelemetry's own.

    It takes nothing out of headers, because it does not learn when a request ends. :mod:`xctx.wsgi` and the like do.

    Args:
        xlocals: those whose bindings go. Default: each that declares carried names.
        report: called with what was left out, and why, in place of the log: see :mod:`xctx.wire`.

    Raises:
        TypeError: one of `xlocals` carries nothing.

    Thread-safety: never changes.
    """

    def __init__(self, *xlocals: xlocal, report: Report | None = None) -> None:
        chosen(xlocals)
        self._xlocals = xlocals
        self._report = report

    @property
    def fields(self) -> set[str]:
        """The headers that :meth:`inject` sets."""
        return {HEADER}

    def inject(self, carrier: Any, context: Any = None, setter: Any = None) -> None:
        """Sets the header, as ``TextMapPropagator.inject`` does. A value that cannot be written is logged."""
        text = header_here("", self._xlocals, self._report, context)
        if not text:
            return
        if setter is None:
            carrier[HEADER] = text
        else:
            setter.set(carrier, HEADER, text)

    def extract(self, carrier: Any, context: Any = None, getter: Any = None) -> Any:
        """Returns the context unchanged."""
        if context is None:
            from opentelemetry.context import get_current

            return get_current()
        return context
