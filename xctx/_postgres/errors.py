"""LockLost, apart from the locks, so that all files of the room can raise it."""


class LockLost(RuntimeError):
    """The server gave the lock away, or may have, while a unit of this process held it.

    Others may have changed what the lock guards since then. The lock is released all the same at the end of the block;
    the next acquisition gets it again, through a new session.
    """
