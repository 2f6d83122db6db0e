"""Shared locks that nobody else wants, beside threading.Lock and multiprocessing_utils; and two threads that read."""

import threading

import xctx
from benchmarks.harness import Case, Contender
from benchmarks.rooms import two_threads


def peers():
    """The shared locks that install on this interpreter, by name."""
    try:
        import multiprocessing_utils
    except ImportError:
        return {}
    return {"multiprocessing_utils": multiprocessing_utils.SharedLock()}


def has_locks():
    """Whether xctx has locks on this system."""
    try:
        xctx.SharedLock()
    except NotImplementedError:
        return False
    return True


def cases():
    """The cases that this room is measured by; none where xctx has no locks."""
    if not has_locks():
        return []
    others = peers()
    ours, again, plain = xctx.SharedLock(), xctx.SharedRLock(), threading.Lock()

    def case(name, lock, statement, plain_statement, limit):
        contenders = [
            Contender("xctx", statement, {"lock": lock}),
            Contender("threading.Lock", plain_statement, {"lock": plain}),
            *(Contender(peer, statement, {"lock": other}) for peer, other in others.items()),
        ]
        return Case("lock", name, contenders, {"threading.Lock": limit, **dict.fromkeys(others, 1 / 100)}, same=False)

    pair = "lock.acquire(); lock.release()"
    made = [
        case("shared", ours, pair, pair, 1.5),
        case("exclusive", ours, "lock.acquire(exclusive=True); lock.release()", pair, 1.5),
        case("shared, re-entrant", again, pair, pair, 1.5),
    ]
    # The peer has no block for its exclusive side.
    for name, block in [("with, shared", "with lock: pass"), ("with, exclusive", "with lock.exclusive(): pass")]:
        contenders = [
            Contender("xctx", block, {"lock": ours}),
            Contender("threading.Lock", "with lock: pass", {"lock": plain}),
        ]
        made.append(Case("lock", name, contenders, {"threading.Lock": 2}, same=False))
    made.append(two_threads("lock", "shared, by two threads", reader(xctx.SharedLock())))
    return made


def reader(lock):
    def make():
        def body(number, lock=lock):  # no cell, for which two threads would queue
            for _ in range(number):
                lock.acquire()
                lock.release()

        return body

    return make
