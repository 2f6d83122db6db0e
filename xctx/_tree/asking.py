"""In the process that asks another one for its tree: ``python -m xctx dump PID``."""

import contextlib
import json
import os
import secrets
import select
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from xctx._lock import names
from xctx._tree.answering import credentials_of, signal_of, socket_prefix
from xctx._tree.nodes import Tree, tree_of

CALL_AGAIN = 0.5  # seconds after which a process that has not answered gets the signal again

# What CPython 3.14 and later run in the other process, in its main thread between two instructions: as the signal
# handler of answering.py, it only starts a thread. If a program does not use xctx, this does not import it there.
SCRIPT = """
def xctx_dump(path):
    import sys
    def told():
        if "xctx" in sys.modules:
            from xctx._tree.answering import answer
            answer(path)
        else:
            import _socket
            asker = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
            asker.connect(path)
            asker.sendall(b'{{"error": "it does not use xctx"}}')
            asker.close()
    scheduling = sys.modules.get("xctx._runtime.scheduling")
    if scheduling is None:
        import _thread
        _thread.start_new_thread(told, ())
    else:
        scheduling.start_system_thread(told)
xctx_dump({path!r})
del xctx_dump
"""


def ask(pid: int, *, values: bool = False, timeout: float = 10.0) -> Tree:
    """The tree of another process.

    Raises:
        ProcessLookupError: there is no such process, or it ended before it had answered.
        PermissionError: it is another user's.
        RuntimeError: it does not listen; or it could not make its tree.
        TimeoutError: it has not answered in time.
    """
    check_owner(pid)
    signum = signal_for(pid)
    with contextlib.ExitStack() as undone:
        listener = undone.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        if signum is None:
            place = undone.enter_context(tempfile.TemporaryDirectory(prefix="xctx-dump-"))  # open to this user alone
        else:
            place = names.directory()
            os.close(names.open_directory(place))
        path = os.path.join(place, f"{socket_prefix(pid)}{secrets.token_hex(6)}")
        listener.bind(path)
        undone.callback(remove, path)
        listener.listen(1)
        if signum is None:
            run_there(pid, path, place)
        answer = listen_to(listener, pid, signum, values, time.monotonic() + timeout)
    if "error" in answer:
        raise RuntimeError(f"process {pid} says: {answer['error']}")
    return tree_of(answer)


def check_owner(pid: int) -> None:
    with none_such(pid):
        os.kill(pid, 0)
        if os.path.exists(f"/proc/{pid}") and (user := os.stat(f"/proc/{pid}").st_uid) != os.geteuid():
            raise PermissionError(f"process {pid} is of user {user}: ask as that user")


@contextlib.contextmanager
def none_such(pid: int) -> Iterator[None]:
    """Names the process in errors of the system."""
    try:
        yield
    except (ProcessLookupError, FileNotFoundError, OverflowError):
        raise ProcessLookupError(f"there is no process {pid}") from None
    except PermissionError as exc:
        if exc.errno is None:
            raise
        raise PermissionError(f"process {pid} is another user's: ask as that user") from None


def signal_for(pid: int) -> int | None:
    """The signal by which the process listens; None where it has to be asked otherwise.

    A process that has no handler for it, or not any more, would be killed by the signal.
    """
    signum = None
    if os.path.isdir(f"/proc/{pid}/fd"):
        with none_such(pid):
            signum = signal_of(pid)
            if signum is not None and handles(pid, signum):
                return signum
    if not hasattr(sys, "remote_exec"):
        raise RuntimeError(
            f"process {pid} does not listen: it has to call xctx.debug.listen() beforehand, "
            "or both have to run under CPython 3.14 or later"
        )
    return None


def handles(pid: int, signum: int) -> bool:
    with open(f"/proc/{pid}/status") as file:
        caught = next((line.split()[1] for line in file if line.startswith("SigCgt:")), "0")
    return bool(int(caught, 16) >> (signum - 1) & 1)


def run_there(pid: int, path: str, place: str) -> None:
    script = os.path.join(place, "ask.py")
    with open(script, "w") as file:
        file.write(SCRIPT.format(path=path))
    remote_exec: Any = vars(sys)["remote_exec"]
    try:
        remote_exec(pid, script)
    except (RuntimeError, OSError) as exc:
        raise RuntimeError(
            f"process {pid} does not listen, and nothing can be run there ({exc}): "
            "it has to call xctx.debug.listen() beforehand"
        ) from None


def call(pid: int, signum: int) -> None:
    """Sends the signal, which would kill a process that has executed another program meanwhile."""
    with none_such(pid):
        if handles(pid, signum):
            os.kill(pid, signum)


def listen_to(listener: socket.socket, pid: int, signum: int | None, values: bool, until: float) -> dict[str, Any]:
    """What the process answers.

    Args:
        signum: the signal by which it is asked, if it is.

    Raises: as `ask`.
    """
    with watched(pid) as gone:
        while True:
            if signum is not None:
                # Repeatedly: a process that has just been forked forgets the signals that it had not handled.
                while time.monotonic() < until:
                    call(pid, signum)
                    if is_ready(listener, gone, min(until, time.monotonic() + CALL_AGAIN)):
                        break
            wait(listener, gone, pid, until)
            answering, _ = listener.accept()
            with answering:
                credentials = credentials_of(answering)
                if credentials is not None and (credentials[0] != pid or credentials[1] != os.geteuid()):
                    continue
                # The other end may have sent its answer already, and closed.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    answering.sendall(json.dumps({"values": values}).encode())
                said = bytearray()
                while True:
                    wait(answering, gone, pid, until)
                    try:
                        part = answering.recv(1 << 16)
                    except ConnectionResetError:
                        part = b""
                    if not part:
                        break
                    said += part
                try:
                    found: dict[str, Any] = json.loads(said)
                except ValueError:
                    raise ProcessLookupError(
                        f"process {pid} ended, or closed the connection, while it answered"
                    ) from None
                return found


@contextlib.contextmanager
def watched(pid: int) -> Iterator[int | None]:
    """A descriptor that becomes readable when the process ends; None if the system has none."""
    if not hasattr(os, "pidfd_open"):
        yield None
        return
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        raise ProcessLookupError(f"process {pid} ended before it had answered") from None
    except OSError:  # an old kernel
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


def wait(there: socket.socket, gone: int | None, pid: int, until: float) -> None:
    """Until there is something to read, or to accept."""
    ready = is_ready(there, gone, until)
    if there in ready:
        return
    if ready:
        raise ProcessLookupError(f"process {pid} ended before it had answered")
    raise TimeoutError(
        f"process {pid} has not answered in time: it may be stopped, or its main thread busy in code that is not Python"
    )


def is_ready(there: socket.socket, gone: int | None, until: float) -> list[Any]:
    """Which of the two can be read by then; empty if neither can."""
    watched: list[Any] = [there] if gone is None else [there, gone]
    return select.select(watched, [], [], max(0.0, until - time.monotonic()))[0]


def remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def main(arguments: list[str]) -> int:
    import argparse

    parser = argparse.ArgumentParser(
        prog="python -m xctx dump",
        description="Who is running in another process: its threads, tasks, greenlets and units of work, what is bound "
        "and kept for each, which locks they hold and wait for. The process has called xctx.debug.listen(), or both "
        "run under CPython 3.14 or later.",
        epilog="Ends with 0 where the process has answered, 1 where it has not, 2 where the command makes no sense.",
    )
    parser.add_argument("pid", type=int, help="of the process")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--html", metavar="FILE", help="write a page to this file")
    parser.add_argument("--values", action="store_true", help="values too, not only names and types")
    parser.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS", help="how long to wait (default: 10)")
    options = parser.parse_args(arguments)
    if options.pid <= 0:
        parser.error(f"a process has a number above 0, not {options.pid}")
    try:
        tree = ask(options.pid, values=options.values, timeout=options.timeout)
    except (OSError, RuntimeError) as exc:
        print(f"{parser.prog}: {exc}", file=sys.stderr)
        return 1
    if options.html is not None:
        with open(options.html, "w", encoding="utf-8") as file:
            file.write(tree.html())
    else:
        print(tree.json() if options.json else tree)
    return 0
