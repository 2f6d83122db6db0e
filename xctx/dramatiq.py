"""Dramatiq: each message is a unit of work, and runs with the carried names that were bound where it was sent.

Call ``xctx.dramatiq.install(broker)`` once, where the broker is made, in programs that send messages and in the
workers. This module imports dramatiq.
"""

import contextlib
from typing import Any

import dramatiq

from xctx._carry.snapshot import AppliedBlock
from xctx._stores.local import local
from xctx._stores.works import work
from xctx._stores.xlocal import xlocal
from xctx._wire.fields import chosen
from xctx._wire.report import Report
from xctx.wire import extract, inject

__all__ = ["Middleware", "install"]


class Middleware(dramatiq.Middleware):
    """What :func:`install` gives a broker. Put it before all others yourself where a program makes that list.

    Args:
        xlocals: those that take part. Default: each that declares carried names.
        report: called with what was left out, and why, in place of the log: see :mod:`xctx.wire`.

    Raises:
        TypeError: one of `xlocals` is no xlocal, or carries nothing.

    Thread-safety: as a broker needs it: messages are processed in many threads at a time.
    """

    def __init__(self, *xlocals: xlocal, report: Report | None = None) -> None:
        chosen(xlocals)
        self._xlocals = xlocals
        self._report = report
        self._open = local()  # the blocks of the message that a worker's thread is processing

    def before_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
        inject(message.options, *self._xlocals, report=self._report)

    def before_process_message(self, broker: Any, message: Any) -> None:
        self._leave()
        self._open.blocks = blocks = contextlib.ExitStack()
        blocks.enter_context(work())
        header = message.options.get("baggage")
        if header:
            blocks.enter_context(AppliedBlock(extract({"baggage": header}, *self._xlocals, report=self._report)))

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        self._leave()

    def after_skip_message(self, broker: Any, message: Any) -> None:
        self._leave()

    def _leave(self) -> None:
        blocks: contextlib.ExitStack | None = vars(self._open).pop("blocks", None)
        if blocks is not None:
            blocks.close()


def install(broker: Any, *xlocals: xlocal, report: Report | None = None) -> None:
    """From now on each message is a unit of work, and has a ``baggage`` option, whose names its actor sees.

    A message is a unit of work (:class:`xctx.work`) while it is processed, so the next message of that thread does not
    see what it left bound. The option is made where the message is sent, with what is bound there at that moment; in
    retries, pipelines and groups' callbacks with what the message before had. A value that cannot be written is logged
    as an error, and the message is sent without it.

    Args:
        broker: that of the program. The middleware becomes its first, so that what others send sees the same.
        xlocals: those that take part. Default: each that declares carried names.
        report: called with what was left out, and why, in place of the log: see :mod:`xctx.wire`.

    Raises:
        TypeError: one of `xlocals` is no xlocal, or carries nothing.

    Thread-safety: call it before the broker is used. Called again, it replaces what it did before.
    """
    made = Middleware(*xlocals, report=report)
    broker.middleware[:] = [each for each in broker.middleware if not isinstance(each, Middleware)]
    first = type(broker.middleware[0]) if broker.middleware else None
    broker.add_middleware(made, before=first) if first else broker.add_middleware(made)
