"""x"""
from xctx._postgres.errors import LockLost
from xctx._postgres.lock import SharedLock, SharedRLock, advisory_key

__all__ = ["LockLost", "SharedLock", "SharedRLock", "advisory_key"]
