"""local beside the four that it stands in for, and asgiref's."""

import contextlib
import threading

import xctx
from benchmarks.harness import Case, Contender, Reenterable
from benchmarks.rooms import two_threads


def peers():
    """The peers that install on this interpreter, by name."""
    found = {"threading.local": threading.local()}
    for name, module, cls in [
        ("gevent.local", "gevent.local", "local"),
        ("werkzeug.local", "werkzeug.local", "Local"),
        ("asgiref.local", "asgiref.local", "Local"),
        ("multiprocessing_utils", "multiprocessing_utils.local", "Local"),
    ]:
        try:
            found[name] = getattr(__import__(module, fromlist=[cls]), cls)()
        except ImportError:
            continue
    return found


# Key -> peer -> the ratios that reading and writing are not to pass.
TARGETS = {
    "greenlet": {"threading.local": (0.8, 0.8), "gevent.local": (1 / 4, 1 / 4)},
    "context": {"werkzeug.local": (1 / 4, 1 / 4)},
    "task": {"asgiref.local": (1 / 15, 1 / 15)},
    "thread": {"threading.local": (0.8, 0.8), "multiprocessing_utils": (0.8, 0.8)},
    "process": {"threading.local": (1.0, 1.0)},
}


def cases():
    """The cases that this room is measured by."""
    others = peers()
    made = []
    for store in others.values():
        store.a = 1
    for key, targets in TARGETS.items():
        store = xctx.local(key=getattr(xctx.keys, key))
        store.a = 1
        beside = [name for name in targets if name in others]

        def case(name, statement, limits, store=store, beside=beside, group=f"local ({key})"):
            contenders = [Contender("xctx", statement, {"store": store})]
            contenders += [Contender(peer, statement, {"store": others[peer]}) for peer in beside]
            return Case(group, name, contenders, limits)

        for at, (operation, statement) in enumerate([("get", "store.a"), ("set", "store.a = 1")]):
            made.append(case(operation, statement, {name: targets[name][at] for name in beside}))
        if key == "greenlet":
            for name, statement in [("hasattr", "hasattr(store, 'b')"), ("getattr", "getattr(store, 'b', None)")]:
                made.append(case(f"miss ({name})", statement, {"threading.local": 1.0}))
    made += cases_of_works()
    store, old = xctx.local(), threading.local()
    for operation, body in [("get", reader), ("set", writer)]:
        name = f"{operation} by two threads"
        made.append(two_threads("local (greenlet)", name, body(store), peers=[("threading.local", body(old), ())]))
    return made


def cases_of_works():
    store, x = xctx.local(key=xctx.keys.work), xctx.xlocal()

    @contextlib.contextmanager
    def inside():
        with xctx.work(), x(a=1):
            store.a = 1
            yield

    return [
        Case(
            "local (work)",
            "get",
            [
                Contender("xctx", "store.a", {"store": store}, Reenterable(inside)),
                Contender("xctx, an xlocal", "x.a", {"x": x}, Reenterable(inside), reference=True),
            ],
            {"xctx, an xlocal": 1.3},
        ),
        Case(
            "local (work)",
            "open and end a unit of work",
            [
                Contender("xctx", "with work(): pass", {"work": xctx.work}),
                Contender("xctx, a block", "with x(a=1): pass", {"x": x}, reference=True),
            ],
            {"xctx, a block": 2.0},
        ),
    ]


def reader(store):
    def make():
        store.a = object()  # of this thread: a shared value's own count would be what is measured

        def body(number, store=store):  # no cell, for which two threads would queue
            for _ in range(number):
                store.a  # noqa: B018

        return body

    return make


def writer(store):
    def make():
        value = object()

        def body(number, store=store, value=value):  # no cell, for which two threads would queue
            for _ in range(number):
                store.a = value

        return body

    return make
