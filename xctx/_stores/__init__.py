"""The stores: xlocal (scoped, read-only names) and local (mutable attributes)."""
