"""What looking at a process raises: see error_cases."""

import signal

import xctx
from xctx._tree import answering


def listens_already():
    before = answering.listens_by
    answering.listens_by = 63
    try:
        xctx.debug.listen(62)
    finally:
        answering.listens_by = before


TREE = [
    (
        RuntimeError,
        "signal … has a handler already, …: another signal was wanted",
        "``debug.listen(signum)``",
        lambda: xctx.debug.listen(signal.SIGINT),
    ),
    (
        RuntimeError,
        "this process listens by signal … already",
        "``debug.listen(signum)`` again, with another signal",
        listens_already,
    ),
]

TOLD = "printed by python -m xctx dump: test_dump.py"
LEFT_OUT = {
    "a process listens on Linux only: elsewhere CPython 3.14 and later can be asked": "another system",
    "process … is of user …: ask as that user": TOLD,
    "process … is another user's: ask as that user": TOLD,
    "there is no process …": TOLD,
    "process … does not listen: it has to call xctx.debug.listen() beforehand, or both have to run under CPython 3.14 "
    "or later": TOLD,
    "process … does not listen, and nothing can be run there (…): it has to call xctx.debug.listen() beforehand": TOLD,
    "process … ended, or closed the connection, while it answered": TOLD,
    "process … ended before it had answered": TOLD,
    "process … has not answered in time: it may be stopped, or its main thread busy in code that is not Python": TOLD,
    "process … says: …": TOLD,
}
