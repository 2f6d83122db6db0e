"""Runs all benchmarks on this interpreter: prints a table; writes a pyperf file, a reStructuredText table and charts.

Run:  python -m benchmarks [--quick] [--only WORD ...] [--output DIR]

Why not pyperf's own Runner: it measures one benchmark after the other, each in processes of its own, so a ratio of two
would compare what the machine did at different times. Here each process measures every case, and within a case the
contenders take turns. The rest is as with pyperf: several processes (their memory layouts and hash seeds differ), loops
calibrated once, a warm-up in each process, all values kept, in its file format.
"""

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import threading
import time
from datetime import datetime

from benchmarks import harness, macro, report, results, rooms

HERE = pathlib.Path(__file__).parent
PROCESSES, TURNS = 8, 9
QUICK_PROCESSES, QUICK_TURNS, QUICK_SECONDS = 3, 3, 0.003
BUSY = 0.5  # of the machine's processors in use before we begin: figures are not worth keeping
CASE_SECONDS = 120  # a process that needs longer for a case hangs


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter turns: less sure, in under a minute")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="WORD", help="only cases with one of these in the title"
    )
    where = "where to write (default: benchmarks/results; with --quick, build/benchmarks)"
    parser.add_argument("--output", type=pathlib.Path, metavar="DIR", help=where)
    parser.add_argument("--processes", type=int, help=f"default: {PROCESSES}, with --quick {QUICK_PROCESSES}")
    parser.add_argument("--turns", type=int, help=f"in each process; default: {TURNS}, with --quick {QUICK_TURNS}")
    parser.add_argument("--list", action="store_true", help="print the titles of all cases, and measure nothing")
    options = parser.parse_args(argv)

    usable, left = rooms.peers()
    rooms.forbid(left)
    cases, macros = rooms.cases(options.only), rooms.macros(options.only)
    if options.list:
        print("\n".join(each.title for each in [*cases, *macros]))
        return 0
    if not cases and not macros:
        parser.error(f"no case has {' or '.join(options.only)} in its title")
    print(f"{harness.interpreter()} beside {', '.join(f'{peer} {version}' for peer, version in usable.items())}")
    for peer, reason in left.items():
        print(f"  without {peer}: {reason}")

    about = facts(usable)
    processes = options.processes or (QUICK_PROCESSES if options.quick else PROCESSES)
    turns = options.turns or (QUICK_TURNS if options.quick else TURNS)
    seconds = QUICK_SECONDS if options.quick else harness.TURN_SECONDS
    weights = {case.title: expected(case, turns, seconds) for case in cases}
    whole_rounds = sum(each.count(options.quick) * each.seconds(options.quick) for each in macros)
    whole_seconds = processes * (sum(weights.values()) + 2) + whole_rounds
    print(f"about {whole_seconds / 60:.0f} minutes" if whole_seconds > 90 else f"about {whole_seconds:.0f} seconds")
    progress = Progress(processes * sum(weights.values()) + whole_rounds)
    found, notes = micro(cases, list(left), processes, turns, seconds, progress, weights)
    found += whole(macros, options.quick, progress, notes)
    progress.end()
    if not found:
        print("nothing could be measured", *notes, sep="\n", file=sys.stderr)
        return 1
    print(report.console(found))
    if about.get("load_avg_1min", 0) > processors() * BUSY:
        notes.append(f"the machine was busy (load {about['load_avg_1min']}): these figures are not worth keeping")
    for note in notes:
        print(f"note: {note}")
    folder = options.output or (HERE.parent / "build" / "benchmarks" if options.quick else HERE / "results")
    if options.output or not options.only:
        write(found, about, folder)
    return 0


def expected(case, turns, seconds):
    """Seconds that measuring a case takes, about: turns, one to warm up, and calibrating."""
    at_once = harness.AT_ONCE_SECONDS / harness.TURN_SECONDS
    shares = [1 if each.at_once == 1 else 1.3 * at_once for each in case.contenders]
    return sum(shares) * (turns + 1.5) * seconds


class Progress:
    """Where the run is: one line that is written over on a terminal, a line for each tenth elsewhere."""

    def __init__(self, whole, stream=None):
        """
        Args:
            whole: the seconds that all is expected to take; they need not be right, only in proportion to each step's.
        """
        self.whole, self.stream = whole, stream or sys.stderr
        self.done, self.told, self.begin = 0.0, -1, time.monotonic()
        self.terminal = self.stream.isatty()

    def step(self, what, weight):
        """Tells that something is done which was expected to take `weight` seconds."""
        self.done += weight
        part = min(self.done / self.whole, 1.0)
        took = time.monotonic() - self.begin
        line = f"{part:4.0%}  {took:4.0f} s, about {took / part - took:.0f} s to go  {what}"
        if self.terminal:
            print(f"\r\033[K{line[:110]}", end="", file=self.stream, flush=True)
        elif int(part * 10) != self.told:
            self.told = int(part * 10)
            print(line, file=self.stream, flush=True)

    def end(self):
        if self.terminal:
            print("\r\033[K", end="", file=self.stream)
        print(f"took {time.monotonic() - self.begin:.0f} s", file=self.stream, flush=True)


# --- cases -----------------------------------------------------------------------------------------------------------


def micro(cases, without, processes, turns, seconds, progress, weights):
    """(results, notes) of the cases, each measured in each of the processes."""
    raw, notes, loops, broken = {case.title: [] for case in cases}, [], {}, set()
    for number in range(processes):
        titles = [case.title for case in cases if case.title not in broken]
        # So that no case is always measured in the state that the same others leave a process in.
        titles = titles[::-1] if number % 2 else titles
        while titles:
            told = {"titles": titles, "turns": turns, "seconds": seconds, "loops": loops, "without": without}
            reached = None
            for line in worker(told, notes):
                if "begins" in line:
                    reached = line["begins"]
                    continue
                raw[line["title"]].append(line)
                loops[line["title"]] = line["loops"]
                progress.step(f"process {number + 1} of {processes}: {line['title']}", weights[line["title"]])
                titles = titles[1:]
            if titles:  # it died
                lost = titles[0]
                broken.add(lost)
                notes.append(f"{lost}: left out, its process died ({'in' if reached == lost else 'before'} it)")
                titles = titles[1:]
                progress.step(f"without {lost}", weights[lost] * (processes - number))
    found = []
    for case in cases:
        if case.title not in broken:
            found += result_of(case, raw[case.title], notes)
    return found, notes


def worker(told, notes):
    """What one process tells, line by line; a note when it dies, or hangs and is killed."""
    with subprocess.Popen(
        rooms.command("benchmarks.worker"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        process.stdin.write(json.dumps(told) + "\n")
        process.stdin.close()
        while True:
            watch = threading.Timer(CASE_SECONDS, process.kill)
            watch.start()
            line = process.stdout.readline()
            watch.cancel()
            if not line:
                break
            yield json.loads(line)
    if process.returncode:
        notes.append(f"a process ended with {process.returncode}")


def result_of(case, lines, notes):
    """The Result of a case, from what processes told: a list of it, or of nothing."""
    for name, why in {name: why for line in lines for name, why in line["left"].items()}.items():
        notes.append(f"{case.title}: without {name} ({why})")
    lines = [line for line in lines if line["turns"]]
    contenders = [each for each in case.contenders if lines and all(each.name in line["loops"] for line in lines)]
    if not contenders or contenders[0] is not case.contenders[0]:
        notes.append(
            f"{case.title}: no turn could be had in which all ran at once"
            if not lines
            else f"{case.title}: xctx failed"
        )
        return []
    result = results.Result(case.group, case.name)
    for each in contenders:
        result.series.append(
            results.Series(
                each.name,
                [[turn[each.name] for turn in line["turns"]] for line in lines],
                [line["warmup"][each.name] for line in lines] if all(line["warmup"] for line in lines) else [],
                [line["loops"][each.name] for line in lines],
                each.inner_loops,
                each.reference,
                case.targets.get(each.name),
            )
        )
    return [result]


# --- whole programs --------------------------------------------------------------------------------------------------


def whole(macros, quick, progress, notes):
    """The results of macro benchmarks: a turn is a round."""
    found = []
    for each in macros:
        rounds = []
        try:
            for figures in each.rounds(quick):
                rounds.append(figures)
                progress.step(each.title, each.seconds(quick))
        except Exception as error:
            notes.append(f"{each.title}: {type(error).__name__}: {error}")
            progress.step(f"{each.title} failed", each.seconds(quick) * (each.count(quick) - len(rounds)))
        if rounds:
            found += results_of(each, rounds)
    return found


def results_of(each: macro.Macro, rounds):
    """A Result for each measure, of the rounds {measure: {contender: figure}}."""
    found = []
    for measure, kind in each.measures.items():
        unit, rate = (kind, "") if isinstance(kind, str) else kind
        result = results.Result(each.group, measure, unit, rate)
        for name in each.contenders:
            # A round has processes of its own: what pyperf calls a run.
            runs = [[figures[measure][name]] for figures in rounds]
            target = each.targets.get(measure, {}).get(name)
            result.series.append(results.Series(name, runs, reference=name in each.references, target=target))
        found.append(result)
    return found


# --- what is written -------------------------------------------------------------------------------------------------


def facts(usable):
    """What tells this run from others. No host, no path: results are published."""
    import pyperf

    made = {
        "interpreter": harness.interpreter(),
        "python_implementation": sys.implementation.name,
        "python_version": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu_count": processors(),
        "perf_version": pyperf.__version__,
        **({"load_avg_1min": round(os.getloadavg()[0], 2)} if hasattr(os, "getloadavg") else {}),
        "date": str(datetime.now())[:19],
    }
    return made | {f"peer_{peer}": version for peer, version in usable.items()}


def processors():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def write(found, about, folder):
    folder.mkdir(parents=True, exist_ok=True)
    tag = harness.tag()
    results.save(found, folder / f"{tag}.json", about)
    report.write(found, about, folder, tag)
    print(f"wrote {tag}.json, .rst, .svg and -cases.svg into {folder}")


if __name__ == "__main__":
    sys.exit(main())
