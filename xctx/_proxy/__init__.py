"""The proxies: LocalWrapper and LocalProxy, one table of slots."""
