"""A WSGI application, which servers load in several interpreters of one process. It looks for what is of another one.

An answer is JSON: what it was asked, who answered, and in `wrong` what was not as it had to be.
"""

import itertools
import json
import os
import threading
import traceback
from pathlib import Path
from urllib.parse import parse_qs

import xctx
import xctx.concurrent
import xctx.debug
from xctx._runtime import copies

HERE = Path(__file__).parent  # the directory of this run, where all interpreters write

current = xctx.xlocal()
under = {name: xctx.xlocal(key=getattr(xctx.keys, name)) for name in xctx.keys.__all__ if name.islower()}
kept = xctx.local()
everyone = xctx.local(key=xctx.keys.process)
of_work = xctx.local(key=xctx.keys.work)
user = xctx.LocalProxy(current, "user")
settings = xctx.LocalWrapper({"secret": "s"})
numbers = xctx.BatchExecutor(itertools.count().__next__, 10)
named = xctx.SharedLock(f"embedding-{HERE.name}")
nameless = xctx.SharedRLock()
lazily = threading.Lock()


def note(name):
    """Says that this process has begun to answer for an application."""
    with open(HERE / "begun", "a") as file:
        file.write(f"{name} {os.getpid()}\n")


class Application:
    def __init__(self, name):
        self.name = name
        self.pid = None
        self.executor = None

    def begin(self):
        """What a process does at its first request: it may have been forked since this was imported."""
        with lazily:
            if self.pid != os.getpid():
                assert not everyone.__dict__, everyone.__dict__
                everyone.name = self.name
                note(self.name)
                self.executor = xctx.concurrent.ThreadPoolExecutor(2)
                self.pid = os.getpid()

    def __call__(self, environ, start_response):
        number = int(parse_qs(environ["QUERY_STRING"])["number"][0])
        answer = {
            "application": self.name,
            "number": number,
            "pid": os.getpid(),
            "type": id(xctx.local),
            "main": copies.is_main(),
        }
        try:
            self.begin()
            with xctx.work():
                self.look(number)
        except BaseException:
            answer["wrong"] = traceback.format_exc()
        body = json.dumps(answer).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    def look(self, number):
        mine = f"{self.name} {number}"
        assert not [name for name in ("user", "number") if hasattr(current, name)]
        assert not user
        assert not [name for name, x in under.items() if vars(x)], {name: vars(x) for name, x in under.items()}
        assert not of_work.__dict__
        assert kept.__dict__.get("name", self.name) == self.name  # of an earlier request in this thread
        assert everyone.name == self.name
        kept.name, kept.number, of_work.number = self.name, number, number
        with current(user=mine, number=number):
            blocks = [x(mine=mine) for x in under.values()]
            for block in blocks:
                block.__enter__()
            try:
                for name, x in under.items():
                    assert x.mine == mine, name
                assert user == mine
                assert self.executor.submit(self.seen_in_a_thread).result(60) == (mine, number, number, {})
                assert xctx.carry(lambda: str(user))() == mine
            finally:
                for block in reversed(blocks):
                    block.__exit__(None, None, None)
            self.count()
            assert user == mine
        assert settings["secret"] == "s"
        assert isinstance(numbers.load(), int)
        assert (kept.name, kept.number, of_work.number) == (self.name, number, number)

    @staticmethod
    def seen_in_a_thread():
        return str(user), current.number, of_work.number, kept.__dict__

    def count(self):
        """Counts in a file, as no two interpreters or processes could at once without a lock."""
        with nameless, nameless:
            assert named.acquire(timeout=60)
            named.release()
            assert named.acquire(True, timeout=60)
            try:
                file = HERE / "count"
                counted = int(file.read_text() or 0) if file.exists() else 0
                file.write_text(str(counted + 1))
            finally:
                named.release()
