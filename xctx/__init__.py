"""Execution-context toolkit: state of one thread, greenlet, task or process, read at C speed."""

from xctx import keys
from xctx._local import local
from xctx._xlocal import xlocal

__all__ = ["keys", "local", "xlocal"]
