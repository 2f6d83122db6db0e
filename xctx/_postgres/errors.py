"""LockLost, apart from the locks, so that all files of the room can raise it."""


class LockLost(RuntimeError):
    """The server gave the lock away, or may have, while a unit of this process held it.

    Others may have changed, since then, what the lock guards. The lock is released all the same at the end of the
    block; the next acquisition gets it anew, by a new session.
    """
