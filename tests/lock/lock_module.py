"""What other interpreters import: objects that have a lock, locks of classes of their own, functions that use them."""

import xctx


class Holding:
    def __init__(self, lock):
        self.lock = lock


class Reduced(Holding):
    def __reduce__(self):
        return Reduced, (self.lock,)


class Own(xctx.SharedLock):
    pass


class OwnReentrant(xctx.SharedRLock):
    pass


class Overriding(xctx.SharedLock):
    def __reduce__(self):
        made, arguments = super().__reduce__()
        return made, arguments


CLASSES = {each.__name__: each for each in (xctx.SharedLock, xctx.SharedRLock, Own, OwnReentrant, Overriding)}
CONTAINERS = {
    "nothing": lambda lock: lock,
    "list": lambda lock: [lock],
    "tuple": lambda lock: (1, lock),
    "list in a tuple": lambda lock: (1, [lock]),
    "dict": lambda lock: {"lock": lock},
    "deep": lambda lock: [{1: (2, {3: [lock]})}],
    "object": Holding,
    "object that says how": Reduced,
}


def made(name, container):
    """A lock that this interpreter has, in something; and the lock."""
    lock = CLASSES[name](key=xctx.keys.process)
    return CONTAINERS[container](lock), lock


def found_in(what):
    while not isinstance(what, xctx.SharedLock):
        if isinstance(what, Holding):
            what = what.lock
        else:
            what = list(what.values() if isinstance(what, dict) else what)[-1]
    return what


kept = []


def hold(what):
    kept.append(found_in(what))
    return kept[-1].acquire(True, timeout=0)


def let_go():
    kept.pop().release()


def give(name, container):
    """A lock that is held here, in something."""
    what, lock = made(name, container)
    assert hold(lock)
    return what


def give_up(name, container):
    """A lock that nobody has any more by the time it arrives."""
    return made(name, container)[0]
