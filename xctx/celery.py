"""Celery: each task is a unit of work, and runs with the carried names that were bound where it was sent.

Call ``xctx.celery.install()`` once, where the application is made, in programs that send tasks and in the workers.
"""

import contextlib
from typing import Any

from xctx._carry.snapshot import AppliedBlock
from xctx._stores.works import work
from xctx._stores.xlocal import xlocal
from xctx._wire.fields import chosen
from xctx._wire.report import Report
from xctx.wire import extract, inject

__all__ = ["install", "uninstall"]

OURS = "xctx.celery"
HELD = "xctx_work"


def install(*xlocals: xlocal, report: Report | None = None) -> None:
    """From now on each task is a unit of work, and each message has a ``baggage`` header, whose names the task sees.

    A task is a unit of work (:class:`xctx.work`) from its prerun signal to its postrun signal, so the next task of the
    worker does not see what it left bound. A task that is run eagerly is a unit of work inside that of its caller.

    The header is made where the task is sent, by a request or by another task, with what is bound there at that moment.
    So retries, chains, groups and callbacks have what the task before them had. A task that is run eagerly runs in the
    unit that calls it, and sees what is bound there. A value that cannot be written is logged as an error, and the
    message is sent without it.

    Args:
        xlocals: those that take part. Default: each that declares carried names.
        report: called with what was left out, and why, in place of the log: see :mod:`xctx.wire`.

    Raises:
        ImportError: Celery is not installed.
        TypeError: one of `xlocals` carries nothing.

    Thread-safety: call it before the application is used. Called again, it replaces what it did before.
    """
    from celery import signals

    chosen(xlocals)

    def before_publish(headers: dict[str, Any] | None = None, **_: Any) -> None:
        if headers is not None:
            inject(headers, *xlocals, report=report)

    def before_run(task: Any, **_: Any) -> None:
        request = task.request
        header = request.get("baggage") or (request.headers or {}).get("baggage")
        stack = contextlib.ExitStack()
        stack.enter_context(work())
        setattr(request, HELD, stack)
        if header:
            stack.enter_context(AppliedBlock(extract({"baggage": header}, *xlocals, report=report)))

    uninstall()
    signals.before_task_publish.connect(before_publish, weak=False, dispatch_uid=OURS)
    signals.task_prerun.connect(before_run, weak=False, dispatch_uid=OURS)
    signals.task_postrun.connect(after_run, weak=False, dispatch_uid=OURS)


def after_run(task: Any, **_: Any) -> None:
    stack: contextlib.ExitStack | None = vars(task.request).pop(HELD, None)
    if stack is not None:
        stack.close()


def uninstall() -> None:
    """Undoes :func:`install`, if it was called. Tasks that are running keep their bindings until they end.

    Raises:
        ImportError: Celery is not installed.

    Thread-safety: as :func:`install`.
    """
    from celery import signals

    signals.before_task_publish.disconnect(dispatch_uid=OURS)
    signals.task_prerun.disconnect(dispatch_uid=OURS)
