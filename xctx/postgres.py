"""x"""
from xctx._postgres.errors import LockLost
from xctx._postgres.lock import SessionInfo, SharedLock, SharedRLock, advisory_key
from xctx._postgres.sequence import sequence

__all__ = ["LockLost", "SessionInfo", "SharedLock", "SharedRLock", "advisory_key", "sequence"]
