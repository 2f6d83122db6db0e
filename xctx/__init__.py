"""Execution-context toolkit."""
from xctx._batch import BatchExecutor

__all__ = ["BatchExecutor"]
