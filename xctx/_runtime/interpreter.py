"""Which interpreter of the process this is, and which files its compiled rooms are: the installed ones, or copies.

The compiled rooms keep state of the process and of its threads in C, in static variables, which two interpreters cannot
share. The main interpreter uses the files as they are. Each other interpreter loads copies, where the platform has
them: see copies.h.
"""

import sys

from xctx._runtime import copies

TYPE_CHECKING = False  # importing xctx does not import typing
if TYPE_CHECKING:
    from types import FrameType


def prepare() -> None:
    """Before the first compiled room is imported.

    Raises:
        ImportError: xctx cannot be used in this interpreter.
    """
    if copies.is_main():
        return
    if not hasattr(copies, "take"):
        raise ImportError(
            "xctx cannot be used in this interpreter: on this platform only the main interpreter can use it. Run the "
            "program there: WSGIApplicationGroup %{GLOBAL} for mod_wsgi, single-interpreter = true for uWSGI, a "
            "ThreadPoolExecutor or ProcessPoolExecutor for an InterpreterPoolExecutor.",
            name="xctx",
        )
    from xctx._runtime import copying

    copying.install()


def of_interpreter() -> str:
    """Which interpreter this is, as the end of a name for people to read: nothing for the main one."""
    return "" if copies.is_main() else f" of interpreter {copies.interpreter()}"


TRIED, SENT = 1, 2


def is_crossing() -> int:
    """Whether what is being pickled goes to another interpreter of this process, and nowhere else: SENT, or TRIED where
    it is only tried whether it can go; otherwise 0.

    CPython pickles what interpreters cannot share (from 3.14 on), and tells the object nothing of it. But it does so in
    C: the innermost Python code is that of concurrent.interpreters, or there is none, where a call returns to the
    interpreter that made it. A program that pickles calls the pickler itself.
    """
    if sys.version_info < (3, 14):
        return 0
    frame: FrameType | None
    try:
        frame = sys._getframe(1)
    except ValueError:
        frame = None
    # A class of the program's own, that of the lock or of what has it, may say how it is pickled.
    while frame is not None and frame.f_code.co_name in ("__reduce__", "__reduce_ex__"):
        frame = frame.f_back
    if frame is None:
        return 0 if copies.is_main() else SENT
    name = str(frame.f_globals.get("__name__"))
    return TRIED if name == "xctx._carry.crossing" else SENT if name.startswith("concurrent.interpreters") else 0


prepare()
