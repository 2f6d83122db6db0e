"""Reports what had to be dropped from a header: to the log, or to a callable of the program."""

import logging
from collections.abc import Callable

_logger = logging.getLogger("xctx.wire")

# A callable that gets what was dropped, and why.
Report = Callable[[str, str], object]


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
    """What an exception says; it may come from code of the program, whose repr raises as well."""
    try:
        return repr(exc)
    except Exception:
        return type(exc).__name__
