"""Child processes for the tests of locks: they get commands, answer, and are never waited for without a limit."""

import os
import select
import signal
import sys
import time
import traceback

LONG = 30  # seconds: nothing that works takes so long, even on a busy machine
SOON = 5  # seconds: within which others go on, rather than when their time is up; a tenth of one on a quiet machine


class Child:
    """A forked child that runs `function(child)`; both sides use `say` and `hear`. Killed at the end of its block."""

    def __init__(self, function):
        to_child, to_parent = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                self.get, self.put = to_child[0], to_parent[1]
                os.close(to_child[1])
                os.close(to_parent[0])
                function(self)
                status = 0
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(status)
        self.get, self.put = to_parent[0], to_child[1]
        os.close(to_child[0])
        os.close(to_parent[1])
        self.status = None

    def say(self, word="go"):
        os.write(self.put, word.encode() + b"\n")

    def hear(self, seconds=LONG):
        """The next word from the other side; '' where it has gone."""
        word = b""
        until = time.monotonic() + seconds
        while not word.endswith(b"\n"):
            ready, _, _ = select.select([self.get], [], [], max(0, until - time.monotonic()))
            if not ready:
                raise TimeoutError(f"heard nothing but {word!r}")
            byte = os.read(self.get, 1)
            if not byte:
                break
            word += byte
        return word.strip().decode()

    def says_nothing(self, seconds=0.05):
        """Whether it has said nothing, nor does for so long."""
        return not select.select([self.get], [], [], seconds)[0]

    def kill(self, number=signal.SIGKILL):
        if self.status is None:  # otherwise the number may be another's by now
            os.kill(self.pid, number)

    def wait(self, seconds=LONG):
        """Its exit status."""
        until = time.monotonic() + seconds
        while self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > until:
                raise TimeoutError("the child does not end")
            else:
                time.sleep(0.002)
        return self.status

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.status is None:
            self.kill()
            self.wait()
        os.close(self.get)
        os.close(self.put)


def eventually(true, seconds=LONG, pause=time.sleep):
    """Waits until `true()` is; a greenlet with ``pause=gevent.sleep``, so that others run."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "this never came true"
        pause(0.002)
