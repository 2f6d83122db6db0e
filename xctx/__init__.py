"""Execution-context toolkit: state of one thread, greenlet, task or process, read at C speed."""

from xctx import keys
from xctx._batch import BatchExecutor
from xctx._carried import carried
from xctx._carry import Snapshot, capture, carry, isolated
from xctx._local import local
from xctx._lock import OwnerDiedWarning, SharedLock, SharedRLock
from xctx._proxy import LocalProxy, LocalWrapper, is_proxy, unwrap
from xctx._xlocal import xlocal

__all__ = [
    "BatchExecutor",
    "LocalProxy",
    "LocalWrapper",
    "OwnerDiedWarning",
    "SharedLock",
    "SharedRLock",
    "Snapshot",
    "capture",
    "carried",
    "carry",
    "is_proxy",
    "isolated",
    "keys",
    "local",
    "unwrap",
    "xlocal",
]
