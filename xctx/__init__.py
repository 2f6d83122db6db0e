"""Execution-context toolkit."""
from ._proxy import LocalProxy, LocalWrapper, is_proxy, unwrap

__all__ = ("LocalProxy", "LocalWrapper", "is_proxy", "unwrap")
