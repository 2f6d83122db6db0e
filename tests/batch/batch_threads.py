"""What the tests of batches share: sources that stop where a test wants them to, and threads that load from them."""

import itertools
import threading

from helpers.waiting import LONG


class Gate:
    """A source of numbers that stops at one of them, sets `there`, and goes on once `go` is set."""

    def __init__(self, stop_at=0):
        self.numbers = itertools.count()
        self.stop_at = stop_at
        self.there = threading.Event()
        self.go = threading.Event()

    def __call__(self):
        number = next(self.numbers)
        if number == self.stop_at:
            self.there.set()
            assert self.go.wait(LONG)
        return number


def in_thread(work):
    """A thread that runs `work()`; after `joined` its `result` is what that returned or raised."""

    def run():
        try:
            thread.result = work()
        except BaseException as error:
            thread.result = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def joined(thread):
    thread.join(LONG)
    assert not thread.is_alive()
    return thread.result
