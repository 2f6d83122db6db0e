"""A process that stands for a machine: it has nothing in common with the test but the server.

    with Machine(conninfo, name) as machine:
        machine.ask("acquire", exclusive=True)      # what the method of the lock gave, or its error as text
        machine.kill()

As a program it reads calls, one JSON object a line, and answers each with a line.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from helpers.interpreters import environment

import xctx.postgres


class Machine:
    def __init__(self, conninfo, name, **options):
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", __file__, json.dumps([name, conninfo, options])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(path=[Path(__file__).parents[1]]),
        )
        self.pid = self._process.pid

    def tell(self, call, **arguments):
        """Has the process call a method of its lock, or read an attribute, without waiting for what comes of it."""
        self._process.stdin.write(json.dumps([call, arguments]) + "\n")
        self._process.stdin.flush()

    def answer(self):
        """What came of the call that was told first."""
        line = self._process.stdout.readline()
        assert line, f"the machine died: {self._process.wait()}"
        return json.loads(line)

    def ask(self, call, **arguments):
        self.tell(call, **arguments)
        return self.answer()

    def signal(self, number):
        self._process.send_signal(number)

    def kill(self):
        self._process.kill()
        self._process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process.stdout.close()


def fork_and_stay(lock):
    """Forks a child that lives until it is killed; gives its number."""
    child = os.fork()
    if not child:
        signal.alarm(60)
        signal.pause()
    return child


def main():
    name, conninfo, options = json.loads(sys.argv[1])
    lock = xctx.postgres.SharedLock(name, conninfo, **options)
    for line in sys.stdin:
        call, arguments = json.loads(line)
        try:
            if call == "fork":
                result = fork_and_stay(lock)
            else:
                result = getattr(lock, call)
                result = result(**arguments) if callable(result) else result
        except Exception as error:
            result = f"{type(error).__name__}: {error}"
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
