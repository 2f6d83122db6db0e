"""What a greenlet's first touch of a store costs, and of further ones: bytes and nanoseconds beyond a bare greenlet."""

import contextvars
import gc
import time
import tracemalloc

GREENLETS = 20_000


def touch(stores):
    """Bytes and nanoseconds that setting one attribute of each store costs a greenlet."""
    from greenlet import getcurrent, greenlet

    main = getcurrent()

    def body():
        for store in stores:
            store.a = 1
        main.switch()

    def finish(greenlets):
        for each in greenlets:
            each.switch()

    greenlets = [greenlet(body) for _ in range(GREENLETS)]
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for each in greenlets:
        each.switch()
    used = (tracemalloc.get_traced_memory()[0] - before) / GREENLETS
    tracemalloc.stop()
    finish(greenlets)
    best = float("inf")
    for _ in range(5):
        greenlets = [greenlet(body) for _ in range(GREENLETS)]
        gc.collect()
        gc.disable()
        begin = time.perf_counter()
        for each in greenlets:
            each.switch()
        best = min(best, (time.perf_counter() - begin) / GREENLETS * 1e9)
        gc.enable()
        finish(greenlets)
    return used, best


class SetsVariable:
    """A store to touch() that sets a context variable."""

    def __init__(self):
        object.__setattr__(self, "var", contextvars.ContextVar("var"))

    def __setattr__(self, name, value):
        self.var.set(value)


def rows():
    """(name, stores, bytes, nanoseconds) beyond a bare greenlet; empty where greenlet or gevent is not installed."""
    try:
        import gevent.local
    except ImportError:
        return []
    import xctx

    bare_bytes, bare_time = touch([])
    made = []
    for name, make in [("xctx.local", xctx.local), ("gevent.local", gevent.local.local), ("ContextVar", SetsVariable)]:
        for count in (1, 10):
            used, took = touch([make() for _ in range(count)])
            made.append((name, count, round(used - bare_bytes), round(took - bare_time)))
    return made
