"""In the process that is asked for its tree: a signal handler, and a thread that answers.

    python -m xctx dump PID      makes a socket in this user's directory, and sends the signal
    the handler                  starts a thread of the system, and does nothing else
    that thread                  makes the tree, and sends it to each socket that is there for this process

The handler runs in the main thread between two instructions, when that thread may hold any lock of the program's, and
waits for none. The thread takes locks as any other thread does. It exists only while it answers: a process that
listens has no thread for that, so it forks as before.

A file descriptor shows that a process listens. It is of an empty file in memory with a name such as `xctx-dump:40`,
which has the number of the signal. A forked child has it too, executing another program closes it, and it ends with
the process. So there is no list of processes that could be out of date.
"""

import _socket
import contextlib
import json
import os
import signal
import struct
from types import FrameType

from xctx._lock import names
from xctx._runtime.scheduling import start_system_thread, unpatched
from xctx._tree import growing

TITLE = "xctx-dump"
PATIENCE = 10.0  # seconds for which the process that asked may keep the thread waiting
CREDENTIALS = struct.Struct("iII")  # pid, user, group


class Answering:
    """Whether a thread of this process answers.

    Thread-safety: the thread that answers has `busy`. The handler sets `again` first, and then tries to take `busy`;
    the thread looks at `again` after it has given `busy` back. So no request is lost.
    Lifetime: of one process. A forked child makes its own, because a thread of the parent may have had `busy`.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.busy = unpatched("allocate_lock")()
        self.again = False


answering = Answering()
listens_by: int | None = None  # the signal. Set in the main thread alone


def listen(signum: int | None = None) -> None:
    """As :func:`xctx.debug.listen` says. Only in the main thread, as :func:`signal.signal`."""
    global listens_by
    if not hasattr(os, "memfd_create"):
        raise NotImplementedError("a process listens on Linux only: elsewhere CPython 3.14 and later can be asked")
    number = int(signal.SIGRTMIN + 6 if signum is None else signum)
    if listens_by not in (None, number):
        raise RuntimeError(f"this process listens by signal {listens_by} already")
    before = signal.getsignal(number)
    if before is not handle:
        if before is not signal.SIG_DFL:
            raise RuntimeError(f"signal {number} has a handler already, {before!r}: another signal was wanted")
        signal.signal(number, handle)
    listens_by = number
    if signal_of("self") is None:
        # Left open: it says that this process listens.
        os.memfd_create(f"{TITLE}:{number}", os.MFD_CLOEXEC)


def signal_of(pid: int | str) -> int | None:
    """By which signal a process listens, or None.

    Raises:
        PermissionError, FileNotFoundError: it is another user's, or gone.
    """
    folder = f"/proc/{pid}/fd"
    for fd in os.listdir(folder):
        with contextlib.suppress(OSError):  # closed meanwhile
            found = os.readlink(f"{folder}/{fd}")
            if found.startswith(f"/memfd:{TITLE}:"):
                return int(found.split(":")[2].split()[0])
    return None


def handle(_signum: int, _frame: FrameType | None) -> None:
    """The handler. Runs in the main thread, which may be doing anything."""
    global answering
    if answering.pid != os.getpid():
        answering = Answering()
    here = answering
    here.again = True
    if here.busy.acquire(False):
        try:
            start_system_thread(serve, (here,))
        except BaseException:  # no thread can be started now. The signal comes again as long as the other process waits
            here.busy.release()


def serve(here: Answering) -> None:
    """The thread."""
    while True:
        here.again = False
        with contextlib.suppress(Exception):
            answer_all()
        here.busy.release()
        if not here.again or not here.busy.acquire(False):
            return


def answer_all() -> None:
    """Answers all processes that have asked this one."""
    place = names.directory()
    os.close(names.open_directory(place))  # raises if it is open to others
    for name in sorted(os.listdir(place)):
        if name.startswith(socket_prefix(os.getpid())):
            with contextlib.suppress(OSError):
                answer(os.path.join(place, name))


def socket_prefix(pid: int) -> str:
    """How the names of the sockets begin by which a process is asked. No lock's name begins with a dot."""
    return f".dump-{pid}."


def answer(path: str) -> None:
    """Makes the tree, as the process that waits at this socket wants it, and sends it.

    Raises:
        OSError: nobody waits there, or not any more.
    """
    asker = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)  # not that of `socket`, which gevent may have patched
    try:
        asker.settimeout(PATIENCE)
        try:
            asker.connect(path)
        except ConnectionRefusedError:  # left by a process that was killed
            os.unlink(path)
            return
        if user_of(asker) not in (None, 0, os.geteuid()):
            return
        wanted = json.loads(asker.recv(1000))
        asker.sendall(told(bool(wanted.get("values"))).encode())
    finally:
        asker.close()


def told(values: bool) -> str:
    """The tree as JSON; or, if that fails, the reason."""
    try:
        return growing.tree(values=values, without=unpatched("get_ident")()).json(None)
    except Exception as exc:
        return json.dumps({"error": f"{type(exc).__name__}: {exc}"})


def user_of(peer: _socket.socket) -> int | None:
    """The user of the process at the other end; None if the system does not say."""
    credentials = credentials_of(peer)
    return None if credentials is None else credentials[1]


def credentials_of(peer: _socket.socket) -> tuple[int, int, int] | None:
    """The pid, user and group of the process at the other end."""
    option = getattr(_socket, "SO_PEERCRED", None)
    if option is None:
        return None
    pid, user, group = CREDENTIALS.unpack(peer.getsockopt(_socket.SOL_SOCKET, option, CREDENTIALS.size))
    return pid, user, group
