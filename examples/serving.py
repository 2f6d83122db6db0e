"""For the examples that start a server: waits until it listens, asks it from many clients at once, and stops it.

The server is a process of its own, on a free port that it tells in its log. It is stopped in all cases, with whatever
processes it has started.
"""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

LISTENS = re.compile(r"https?://127\.0\.0\.1:(\d+)")
PATIENCE = 60  # seconds, on a machine that has other work


@contextlib.contextmanager
def server(*command, cwd=None):
    """Runs a server in the block, as a group of processes of its own; gives the port it listens on.

    Raises:
        RuntimeError: it ended, or did not listen in time; with what it had to say.
    """
    process = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )
    said, found, ready = [], [], threading.Event()

    def listen():
        for line in process.stdout:
            said.append(line)
            if not found and (match := LISTENS.search(line)):
                found.append(int(match[1]))
                ready.set()
        ready.set()

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        ready.wait(PATIENCE)
        if not found:
            raise RuntimeError(f"the server does not listen:\n{''.join(said)}")
        yield found[0]
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what is left of the group
        else:
            process.kill()
        process.wait()
        listener.join()
        process.stdout.close()


def ask(port, path, headers=None):
    """What the server answers: the JSON of it.

    Raises:
        RuntimeError: it answers with another status than 200.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise RuntimeError(f"GET {path}: {answer.status} {body[:500]!r}")
    return json.loads(body)


def ask_all(port, paths, at_once=50, headers=lambda path: {}):
    """The answers to all of them, from so many clients at once; `headers` gives those of a request."""
    with ThreadPoolExecutor(at_once) as clients:
        return list(clients.map(lambda path: ask(port, path, headers(path)), paths))


def hang_up(port, path):
    """Asks, takes the beginning of the answer, and resets the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
        client.recv(10)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def ask_until(port, path, is_right, seconds=10):
    """The answer once it is right, or the last one: clients may have theirs a moment before the requests end."""
    end = time.monotonic() + seconds
    while not is_right(answer := ask(port, path)) and time.monotonic() < end:
        time.sleep(0.05)
    return answer


def report(rows):
    """Prints a table of names and numbers."""
    for name, value in rows:
        print(f"  {name:<38}{value:>8}", flush=True)
