from typing_extensions import disjoint_base

class OwnerDiedWarning(RuntimeWarning):
    """A unit that held a lock exclusively has died, so what the lock guards may be half-written.

    Each unit that acquires the lock, in any process, is warned until a unit that holds it exclusively has mended what the lock
    guards and calls :meth:`SharedLock.mark_consistent`. A writer is warned each time; a reader, once in each task, greenlet
    or thread. A lock that was made with ``on_death="raise"`` raises this instead, and is then not held.
    """

@disjoint_base
class BaseLock: ...
