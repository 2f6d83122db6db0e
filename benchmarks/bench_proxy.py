"""Proxies against their peers, in one run: nanoseconds an operation, and ratios with the targets set for them.

    python -m pip install wrapt lazy-object-proxy werkzeug      # ft_utils too, on CPython 3.13 and later
    python benchmarks/bench_proxy.py [--quick]

Each statement stands ten times in a loop; the time of one that does nothing but load the same names is taken off
("net"). Peers take turns, many short rounds, and each keeps its best one, for other programs run on the machine too.
On a free-threaded build a second table shows one thread and two, each with a proxy of its own of one shared object.

cases() gives everything as a list, for a common runner.
"""

import argparse
import importlib
import math
import sys
import sysconfig
import threading
from contextvars import ContextVar
from time import perf_counter_ns, thread_time_ns
from typing import Any, NamedTuple

FREE = bool(sysconfig.get_config_var("Py_GIL_DISABLED")) and not sys._is_gil_enabled()


class Slots:
    __slots__ = ("x",)

    def __init__(self):
        self.x = 1


class Plain:
    def __init__(self):
        self.x = 1

    def method(self):
        pass


class Store:
    """Stands for an xlocal or a local until the real ones are measured by a common runner."""

    __xctx_store__ = True


class Case(NamedTuple):
    name: str  # the operation
    statement: str  # on `p`, the proxy, or with `make`, what makes one
    load: str  # what the statement loads, and does nothing with
    setup: Any  # () -> the object behind the proxy
    kind: str  # "wrapper" or "proxy"
    target: dict  # peer, or "fastest" -> at least so many times as fast


def cases():
    """(name, statement, load, setup, kind, target) of every operation."""
    much, methods, same = {"wrapt": 20, "ft_utils": 20}, {"wrapt": 8, "ft_utils": 8}, {"fastest": 1 / 1.1}
    wrapper = [
        ("attribute", "p.x", "p", Plain, much),
        ("attribute in a slot", "p.x", "p", Slots, much),
        ("method in Python", "p.method()", "p", Plain, methods),
        ("method in C", "p.count(1)", "p", lambda: [1], methods),
        ("[0] of a list", "p[0]", "p", lambda: [1], same),
        ("['a'] of a dict", "p['a']", "p", lambda: {"a": 1}, same),
        ("len", "len(p)", "len; p", lambda: [1], same),
        ("+", "p + 1", "p", lambda: 5, same),
        ("reflected +", "1 + p", "p", lambda: 5, same),
        ("==", "p == 1", "p", lambda: 5, {}),
        ("in", "1 in p", "p", lambda: [1], {}),
        ("call", "p()", "p", lambda: int, {}),
        ("setattr", "p.x = 1", "p", Plain, {}),
        ("making one", "make(5)", "make", lambda: 5, {"ft_utils": 1 / 1.2}),
    ]
    proxy = [
        ("attribute", "p.x", "p", Plain, {"werkzeug": 20}),
        ("len", "len(p)", "len; p", lambda: [1], {"werkzeug": 8}),
        ("[0]", "p[0]", "p", lambda: [1], {"werkzeug": 8}),
    ]
    return [Case(n, s, load, f, "wrapper", t) for n, s, load, f, t in wrapper] + [
        Case(f"{n} over a {source}", s, load, f, f"proxy {source}", t if source != "callable" else {})
        for source in ("ContextVar", "store", "callable")
        for n, s, load, f, t in proxy
    ]


def installed(name, attribute):
    try:
        return getattr(importlib.import_module(name), attribute)
    except ImportError:
        return None


def wrappers():
    """{peer: what makes a proxy of an object}"""
    import xctx

    peers = {"bare": lambda obj: obj, "xctx": xctx.LocalWrapper}
    if wrapt := installed("wrapt", "ObjectProxy"):
        peers["wrapt"] = wrapt
    if lazy := installed("lazy_object_proxy", "Proxy"):
        peers["lazy"] = lambda obj: lazy(lambda: obj)
    if ft := installed("ft_utils.local", "LocalWrapper"):
        peers["ft_utils"] = ft
    return peers


def proxies(source):
    import xctx

    peers = {}

    def over(proxy, local):
        def make(obj):
            if source == "ContextVar":
                variable = ContextVar("variable")
                variable.set(obj)
                return proxy(variable)
            if source == "callable":
                return proxy(lambda: obj)
            store = local()
            store.obj = obj
            return proxy(store, "obj")

        return make

    peers["xctx"] = over(xctx.LocalProxy, Store)
    if werkzeug := installed("werkzeug.local", "LocalProxy"):
        peers["werkzeug"] = over(werkzeug, installed("werkzeug.local", "Local"))
    return peers


def timer(statement, names):
    """A function: nanoseconds a statement, over n times ten of them."""
    code = (
        f"def run(n, {', '.join(names)}):\n start = clock()\n for _ in range(n):\n  "
        + "; ".join([statement] * 10)
        + "\n return (clock() - start) / n / 10"
    )
    space = {"clock": perf_counter_ns}
    exec(code, space)
    run = space["run"]
    return lambda n: run(n, *names.values())


def measure(case, rounds, number):
    """{peer: (net, gross)}, each peer's best."""
    peers = wrappers() if case.kind == "wrapper" else proxies(case.kind.split()[1])
    obj = case.setup()
    timers = {}
    for peer, make in peers.items():
        kind = make if peer != "lazy" or case.name != "making one" else installed("lazy_object_proxy", "Proxy")
        p = make(obj)
        if peer == "wrapt" and case.name == "call":
            p = installed("wrapt", "CallableObjectProxy")(obj)
        names = {"p": p, "make": kind, "len": len}
        timers[peer] = timer(case.statement, names), timer(case.load, names)
    best = {peer: [math.inf, math.inf] for peer in timers}
    for _ in range(rounds):
        for peer, both in timers.items():
            for i, run in enumerate(both):
                best[peer][i] = min(best[peer][i], run(number))
    return {peer: (max(gross - load, 0.1), gross) for peer, (gross, load) in best.items()}


def report(name, times, target, unit="ns"):
    ours = times["xctx"]
    line = f"{name:30}" + "".join(f"{peer} {net:.1f} ({gross:.1f})  " for peer, (net, gross) in times.items())
    verdicts = []
    for peer, wanted in target.items():
        if peer == "fastest":
            rivals = {k: v for k, v in times.items() if k not in ("xctx", "bare")}
            if not rivals:
                continue
            peer = min(rivals, key=lambda k: rivals[k][0])
        if peer in times:
            net, gross = (times[peer][i] / ours[i] for i in (0, 1))
            mark = "reached" if net >= wanted else "SHORT"
            verdicts.append(f"{mark}: {net:.2f}x {peer} (gross {gross:.2f}x), wanted {wanted:.2f}x")
    print(f"{line}\n{'':6}{'; '.join(verdicts)}" if verdicts else line, flush=True)
    return verdicts


# ---- two threads ---------------------------------------------------------------------------------------------------

SHARED = [  # name, statement, the shared object, at most so many times one thread's time; None: see "method in Python"
    ("attribute", "p.x", Plain, 1.15),
    ("[0]", "p[0]", lambda: [1], 1.15),
    ("['a']", "p['a']", lambda: {"a": 1}, 1.15),
    ("len", "len(p)", lambda: [1], 1.15),
    ("+", "p + 1", lambda: 5000, 1.15),
    ("==", "p == 1", lambda: 5000, 1.15),
    ("iteration of 10", "for _ in p: pass", lambda: [1] * 10, 1.15),
    ("method in C", "p.count(1)", lambda: [1], 1.15),
    ("method in Python", "p.method()", Plain, None),
]


def threads_run(statement, peer_make, obj, n, threads):
    """Nanoseconds an operation and thread, with `threads` of them at once; None where one had to wait for a processor,
    for then they did not run at once."""
    repeat = 1 if statement.startswith("for ") else 10
    code = (
        "def run(n, p):\n began, start = cpu(), clock()\n for _ in range(n):\n  "
        + "; ".join([statement] * repeat)
        + "\n return start, clock(), cpu() - began"
    )
    space = {"clock": perf_counter_ns, "cpu": thread_time_ns}
    exec(code, space)
    run, barrier, results = space["run"], threading.Barrier(threads), []

    def work():
        p = peer_make(obj)  # each thread its own
        run(10, p)
        barrier.wait()
        results.append(run(n, p))

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    overlap = min(end for _, end, _ in results) - max(start for start, _, _ in results)
    longest = max(end - start for start, end, _ in results)
    if overlap < 0.85 * longest or any(cpu < 0.95 * (end - start) for start, end, cpu in results):
        return None
    return sum(end - start for start, end, _ in results) / threads / n / repeat


def shared_table(rounds, number):
    print("\nOne shared object, a proxy for each thread: ns an operation and thread, one thread -> two")
    peers = {k: v for k, v in wrappers().items() if k in ("bare", "xctx", "ft_utils")}
    for name, statement, setup, limit in SHARED:
        obj = setup()
        best = {peer: [math.inf, math.inf] for peer in peers}
        for _ in range(rounds):
            for peer, make in peers.items():
                n = number if peer != "ft_utils" or "." not in statement else number // 10
                for i in (0, 1):
                    best[peer][i] = min(best[peer][i], threads_run(statement, make, obj, n, i + 1) or math.inf)
        line = "  ".join(f"{peer} {one:.1f} -> {two:.1f} ({two / one:.2f}x)" for peer, (one, two) in best.items())
        one, two = best["xctx"]
        if limit is not None:
            verdict = f"{'reached' if two / one <= limit else 'SHORT'}: {two / one:.2f}x, wanted at most {limit}x"
        elif "ft_utils" in best:
            ratio = best["ft_utils"][1] / two
            verdict = f"{'reached' if ratio >= 2 else 'SHORT'}: {ratio:.2f}x ft_utils with two threads, wanted 2x"
        else:
            verdict = ""
        print(f"{name:20}{line}\n{'':6}{verdict}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: for a look, not for a claim")
    parser.add_argument("--only", default="", help="cases whose name has this")
    options = parser.parse_args()
    rounds, number = (5, 500) if options.quick else (25, 2000)
    print(sys.version.split()[0], "free-threaded" if FREE else "with a GIL", "- ns: net (gross)")
    for case in cases():
        if options.only in f"{case.kind} {case.name}":
            report(case.name, measure(case, rounds, number), case.target)
    if FREE and options.only in ("", "threads"):
        shared_table(*((50, 2000) if options.quick else (200, 2000)))


if __name__ == "__main__":
    main()
