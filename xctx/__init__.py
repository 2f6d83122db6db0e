"""Execution-context toolkit: state of one thread, greenlet, task or process, read at C speed."""

from xctx import keys
from xctx._local import local
from xctx._lock import OwnerDiedWarning, SharedLock, SharedRLock
from xctx._xlocal import xlocal

__all__ = ["OwnerDiedWarning", "SharedLock", "SharedRLock", "keys", "local", "xlocal"]
