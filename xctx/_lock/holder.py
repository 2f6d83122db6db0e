"""What :meth:`xctx.SharedLock.holders` says of each holder."""


class Holder(tuple):
    """A holder of a lock: (mode, pid, the kernel's number of the thread, how many units).

    Thread-safety: it does not change once it is in the list.
    """

    interpreter: int = 0

    def __repr__(self) -> str:
        told = ", ".join(map(repr, self))
        return f"({told}, interpreter {self.interpreter})" if self.interpreter else f"({told})"
