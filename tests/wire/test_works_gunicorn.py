"""Each request is a unit of work, behind gunicorn: workers that serve one after the other, threads, greenlets."""

import contextlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from http.client import HTTPConnection
from pathlib import Path

import pytest
from helpers.packages import installed

if not installed("gunicorn"):
    pytest.skip("gunicorn is not installed here", allow_module_level=True)

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
LISTENS = re.compile(r"http://127\.0\.0\.1:(\d+)")


@contextlib.contextmanager
def gunicorn(kind):
    command = [sys.executable, "-m", "gunicorn", "-k", kind, "-w", "1", "-b", "127.0.0.1:0", "works_app:application"]
    command += ["--threads", "4"] if kind == "gthread" else []
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE), "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )
    said, ports, listens = [], [], threading.Event()

    def listen():
        for line in process.stderr:
            said.append(line)
            if (found := LISTENS.search(line)) and not ports:
                ports.append(int(found[1]))
                listens.set()
        listens.set()

    reader = threading.Thread(target=listen)
    reader.start()
    try:
        listens.wait(60)
        assert ports, "".join(said)
        yield ports[0]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        reader.join()
        process.stderr.close()


@pytest.fixture(scope="module", params=["sync", "gthread", *(["gevent"] if installed("gevent") else [])])
def port(request):
    with gunicorn(request.param) as port:
        yield port


def get(port, path):
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body


def hang_up(port, path):
    """Asks, takes a part of the answer, and resets the connection."""
    client = socket.create_connection(("127.0.0.1", port), timeout=60)
    client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    assert client.recv(10)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


NOTHING = {"kept": [], "bound": []}


def test_each_request_starts_clean_and_leaves_nothing(port, eventually):
    for path in ("/list", "/stream", "/list", "/raises", "/list", "/stream"):
        status, body = get(port, path)
        assert status == (500 if path == "/raises" else 200)
        if path == "/list":
            assert json.loads(body) == NOTHING
        if path == "/stream":
            assert json.loads(body) == {**NOTHING, "path": path}
    eventually(lambda: get(port, "/alive")[1] == b"0")


def test_clients_that_hang_up_end_it(port, eventually):
    for _ in range(5):
        hang_up(port, "/endless")
    assert json.loads(get(port, "/list")[1]) == NOTHING
    eventually(lambda: get(port, "/alive")[1] == b"0")


def test_many_at_the_same_time(port, eventually):
    answers = []

    def ask(i):
        for n in range(20):
            path = f"/stream/{i}/{n}"
            status, body = get(port, path)
            answers.append((status, json.loads(body) == {**NOTHING, "path": path}))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [(200, True)] * 80
    eventually(lambda: get(port, "/alive")[1] == b"0")
