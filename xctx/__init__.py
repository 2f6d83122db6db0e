"""Execution-context toolkit."""

__all__ = ()
