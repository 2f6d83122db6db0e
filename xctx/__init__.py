"""Execution-context toolkit: state of one thread, greenlet, task or process, read at C speed."""

from xctx import keys
from xctx._batch import BatchExecutor
from xctx._local import local
from xctx._xlocal import xlocal

__all__ = ["BatchExecutor", "keys", "local", "xlocal"]
