"""The server that the tests and the example start is gone when they are, however they end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import postgres_server
from helpers.waiting import eventually

USER = """
import sys, postgres_server
with postgres_server.server() as server:
    print(server.data, server.pid, flush=True)
    sys.stdin.read()
"""


def test_a_program_that_is_killed_leaves_no_server_behind():
    found = {**os.environ, "PYTHONPATH": str(Path(postgres_server.__file__).parent)}
    program = subprocess.Popen(
        [sys.executable, "-c", USER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=found
    )
    with program:
        data, pid = program.stdout.readline().split()
        assert Path(data).exists()
        os.kill(program.pid, signal.SIGKILL)
        eventually(lambda: not Path(data).parent.exists() and not Path("/proc", pid).exists())
