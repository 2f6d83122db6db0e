"""Stores of a module, for tests in which a unit of work crosses processes; and functions that read them there."""

import xctx

kept = xctx.local(key=xctx.keys.work)
also = xctx.local(key=xctx.keys.work)
of_flow = xctx.local(key=xctx.keys.flow)


def look():
    """What is kept there, whether there is a unit of work, and that it can be set."""
    kept.there = True
    return vars(kept), getattr(of_flow, "a", None), xctx.work.current() is not None


def outside():
    return xctx.work.current() is None and not vars(kept)


def tell(connection):
    connection.send(look())
