"""A hundred thousand greenlets, all alive at once, that keep something in each of ten stores: time and memory.

Each contender is measured in processes of its own. One process by hand:

    python -m benchmarks.bench_greenlets xctx 100000 10
"""

import functools
import gc
import json
import sys
import time

from benchmarks.macro import Macro, figures_of, resident

COUNT, QUICK_COUNT = 100_000, 10_000
ROUNDS = 3
PEERS = {"gevent.local": "gevent", "werkzeug.local": "werkzeug"}
ALONE = "greenlets alone (floor)"


def macros():
    return [macro_of(10), macro_of(1)]


def macro_of(stores):
    title = f"{COUNT:,} greenlets with {'a store' if stores == 1 else f'{stores} stores'} each"
    return Macro(
        title,
        ["xctx", *PEERS, ALONE],
        {"time": "second", "memory": "byte"},
        functools.partial(rounds, stores),
        lambda quick: 1 if quick else ROUNDS,
        lambda quick: 4 + (0 if quick else 8 + stores),
        needs=("gevent", *PEERS.values()),
        references=(ALONE,),
    )


def rounds(stores, quick):
    """For each round, {measure: {contender: figure}}; scaled to the full count where fewer greenlets are made."""
    count = QUICK_COUNT if quick else COUNT
    names = ["xctx", *PEERS, ALONE]
    for number in range(1 if quick else ROUNDS):
        told = {}
        for name in names[number % len(names) :] + names[: number % len(names)]:
            told[name] = figures_of("benchmarks.bench_greenlets", name, str(count), str(stores))
        scale = COUNT // count
        yield {measure: {name: told[name][measure] * scale for name in names} for measure in ("time", "memory")}


def store_of(name):
    if name == "xctx":
        import xctx

        return xctx.local()
    if name == "gevent.local":
        import gevent.local

        return gevent.local.local()
    if name == "werkzeug.local":
        import werkzeug.local

        return werkzeug.local.Local()
    raise ValueError(f"a contender is xctx, {', '.join(PEERS)} or {ALONE!r}, not {name!r}")


def measure(name, count, stores):
    """{"time": seconds, "memory": bytes} of that many greenlets.

    Time goes from the first spawn until the last is joined; memory is what the process grew by when all are waiting.

    Raises:
        AssertionError: a greenlet found what it had not put there.
    """
    import gevent
    from gevent.event import Event

    held = [] if name == ALONE else [store_of(name) for _ in range(stores)]
    go = Event()
    there = 0
    wrong = []

    def work(number):
        nonlocal there
        for store in held:
            store.number = number
        there += 1
        go.wait()
        for store in held:
            if store.number != number:
                wrong.append((number, store.number))

    gevent.spawn(int).join()  # what the first greenlet makes is not counted
    gc.collect()
    before = resident()
    begin = time.perf_counter()
    greenlets = [gevent.spawn(work, number) for number in range(count)]
    while there < count:
        gevent.sleep(0)
    took = time.perf_counter() - begin
    grown = resident() - before
    begin = time.perf_counter()
    go.set()
    for each in greenlets:
        each.join()
    took += time.perf_counter() - begin
    assert not wrong, wrong[:3]
    assert all(each.successful() for each in greenlets)
    return {"time": took, "memory": max(grown, 1)}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
