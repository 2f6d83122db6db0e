"""What had to be dropped of a header is told: to the log, or to a callable of the program's."""

import logging
from collections.abc import Callable

_logger = logging.getLogger("xctx.wire")

# Is told what was dropped, and why.
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
    try:
        return repr(exc)
    except Exception:
        return type(exc).__name__
