"""Runs all benchmarks on this interpreter: prints tables, and writes JSON, a reStructuredText table and an SVG chart.

Run:  python -m benchmarks [--quick] [--only WORD] [--output DIR]
"""

import argparse
import importlib
import json
import os
import pathlib
import sys

from benchmarks import chart, first_touch, harness

ROOMS = ["bench_xlocal", "bench_local", "bench_batch", "bench_carry"]


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer turns: less sure, in under a minute")
    parser.add_argument("--only", default="", metavar="WORD", help="only cases whose group or name has this word")
    parser.add_argument("--output", type=pathlib.Path, help="where to write results (default: benchmarks/results)")
    options = parser.parse_args(argv)

    rooms = [importlib.import_module(f"benchmarks.{room}") for room in ROOMS]
    results = {"interpreter": harness.interpreter(), "cases": [], "threads": [], "first touch": []}
    print(f"{harness.interpreter()}: ratios below 1 mean that xctx is faster\n")
    for room in rooms:
        for case in room.cases():
            if options.only in f"{case.group} {case.name}":
                results["cases"].append(measured(case, 5 if options.quick else harness.TURNS))
    # With the GIL, two threads take turns: nothing to see.
    for room in rooms if harness.no_gil() else []:
        for name, make_body in room.thread_bodies().items():
            if options.only in name:
                results["threads"].append(measured_threads(name, make_body, 3 if options.quick else 7))
    if not options.only:
        results["first touch"] = first_touch.rows()
        for name, count, used, took in results["first touch"]:
            print(f"first touch of {count:2} stores  {name:16}{used:7} bytes {took:8} ns")
    if options.output is not None or not (options.only or options.quick):
        write(results, options.output or pathlib.Path(__file__).parent / "results")
    return 0


def measured(case, turns):
    harness.settle()
    times = harness.best_times(case, turns)
    own = times["xctx"]
    rows = []
    for name, took in times.items():
        target = case.targets.get(name)
        ratio = own / took
        rows.append({"name": name, "nanoseconds": took, "ratio": ratio, "target": target})
        note = "" if target is None else f"  target {target:.3g}: {'reached' if ratio <= target else 'MISSED'}"
        print(f"{case.group:18} {case.name:26} {name:22}{took:9.1f} ns  ratio {ratio:6.3f}{note}", flush=True)
    return {"group": case.group, "name": case.name, "contenders": rows}


def measured_threads(name, make_body, turns):
    harness.settle()
    one, two = (harness.thread_times(make_body, threads, turns=turns) for threads in (1, 2))
    print(f"two threads        {name:26} one {one:7.1f} ns, two {two:7.1f} ns  ratio {two / one:6.3f}", flush=True)
    return {"name": name, "one": one, "two": two}


def write(results, folder):
    folder.mkdir(parents=True, exist_ok=True)
    tag = f"cpython-{sys.version_info[0]}.{sys.version_info[1]}{getattr(sys, 'abiflags', '')}"
    (folder / f"{tag}.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / f"{tag}.rst").write_text(chart.table(results))
    (folder / f"{tag}.svg").write_text(chart.svg(results))
    print(f"\nwrote {os.path.relpath(folder)}/{tag}.json, .rst and .svg")


if __name__ == "__main__":
    sys.exit(main())
