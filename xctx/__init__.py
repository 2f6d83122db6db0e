"""Execution-context toolkit: state of one thread, greenlet, task or process, read at C speed."""

from xctx import keys
from xctx._batch.batch import BatchExecutor
from xctx._carry.carry import carry
from xctx._carry.isolated import isolated
from xctx._carry.snapshot import Snapshot, capture, nothing
from xctx._lock.lock import OwnerDiedWarning, SharedLock, SharedRLock
from xctx._proxy.proxy import LocalProxy, LocalWrapper, is_proxy, unwrap
from xctx._stores.fields import field
from xctx._stores.local import local
from xctx._stores.transparent import transparent
from xctx._stores.works import work
from xctx._stores.xlocal import xlocal
from xctx._wire.declarations import carried

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
    "field",
    "is_proxy",
    "isolated",
    "keys",
    "local",
    "nothing",
    "transparent",
    "unwrap",
    "work",
    "xlocal",
]
