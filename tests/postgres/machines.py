"""A process that stands for a machine: it has nothing in common with the test but the server, or the local lock's name.

    with Machine(conninfo, name) as machine:        # without a conninfo: the local lock
        machine.ask("acquire", exclusive=True)      # what the method of the lock gave, or its error as text
        machine.kill()

As a program it reads calls, one JSON object a line, and answers each with a line.
"""

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
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

    @property
    def alive(self):
        return self._process.poll() is None

    @property
    def said(self):
        """Whether there is an answer already."""
        poll = select.poll()  # select() takes no descriptor beyond 1023, and a storm opens more
        poll.register(self._process.stdout, select.POLLIN)
        return bool(poll.poll(0))

    def signal(self, number):
        self._process.send_signal(number)

    def kill(self):
        self._process.kill()
        self._process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process.stdout.close()


def lock_of(name, conninfo, **options):
    if conninfo is None:
        return xctx.SharedLock(name, on_death="ignore", **options)
    return xctx.postgres.SharedLock(name, conninfo, **options)


class Referee:
    """Sees whether two write at once: by the lock of a file, which the kernel takes back when a process dies.

    The kernel closes the files of a process that is killed from the last opened to the first. So this one is opened
    when the lock is held for the first time, and by then there is the connection to the server.
    """

    def __init__(self, path):
        self._path = path
        self._file = None

    @contextlib.contextmanager
    def watch(self, exclusive):
        if self._file is None:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_NB | (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH))
        yield
        fcntl.flock(self._file, fcntl.LOCK_UN)


def work(lock, referee, seconds, conninfo, writes):
    """Uses the lock for so long: of 20 uses so many are a write, which counts up a row by what it read before."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        end = time.monotonic() + seconds
        wrote = read = 0
        while time.monotonic() < end:
            if (wrote + read) % 20 < writes:
                with lock.exclusive(), referee.watch(True):
                    ((value,),) = connection.execute("SELECT value FROM storm").fetchall()
                    connection.execute("UPDATE storm SET value = %s", [value + 1])
                    wrote += 1
            else:
                with lock, referee.watch(False):
                    read += 1
    return wrote, read


def fork_and_stay(lock):
    """Forks a child that lives until it is killed; gives its number."""
    child = os.fork()
    if not child:
        signal.alarm(60)
        signal.pause()
    return child


def main():
    name, conninfo, options = json.loads(sys.argv[1])
    referee = Referee(options.pop("referee")) if "referee" in options else None
    lock = lock_of(name, conninfo, **options)
    for line in sys.stdin:
        call, arguments = json.loads(line)
        try:
            if call == "fork":
                result = fork_and_stay(lock)
            elif call == "work":
                result = work(lock, referee, **arguments)
            else:
                result = getattr(lock, call)
                result = result(**arguments) if callable(result) else result
        except Exception as error:
            result = f"{type(error).__name__}: {error}"
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
