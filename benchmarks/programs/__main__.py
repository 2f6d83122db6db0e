"""Measures programs that are not ours, as they are and under ``python -m xctx run --all``.

Run:  make bench-programs        (ARGS="--only flask --rates 0")

For each program and page: the instructions of a request, by valgrind's callgrind, of a server that is warm (the figure
to quote: it does not depend on how busy the machine is); requests a second, of pairs of servers that are loaded in
turn; and the memory that the server has in use while many requests are in progress. Writes a table and charts, as
``python -m benchmarks`` does.
"""

import argparse
import importlib.metadata
import pathlib
import sys
import tempfile

from benchmarks import __main__ as runner
from benchmarks import harness, macro, report, results
from benchmarks.programs import celery_running, counting, running

RESULTS = pathlib.Path(__file__).parents[1] / "results"
PACKAGES = ("flask", "flask-login", "sqlalchemy", "gunicorn", "gevent", "django", "asgiref", "uvicorn", "celery")
CONTENDERS = tuple(running.RUNNERS)
WARM, LOAD_SECONDS = 30, 2.0


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.programs", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="programs with one of these in the name")
    parser.add_argument("--requests", type=int, default=100, help="of which instructions are counted (default: 100)")
    parser.add_argument("--counts", type=int, default=1, help="how often they are, each in a new process (default: 1)")
    parser.add_argument(
        "--rates", type=int, default=7, help="pairs in which requests a second are measured (default: 7)"
    )
    parser.add_argument("--together", type=int, default=1000, help="requests in progress for memory (default: 1000)")
    parser.add_argument("--output", type=pathlib.Path, default=RESULTS, metavar="DIR", help="where to write")
    options = parser.parse_args(argv)
    if options.counts and (missing := counting.missing()):
        parser.error(f"{missing} is not installed: it counts instructions (or say --counts 0)")
    macro.allow_files(4 * options.together)
    found = []
    for program in [*running.PROGRAMS, *celery_running.PROGRAMS]:
        if options.only and not any(word.lower() in program.name.lower() for word in options.only):
            continue
        if missing := program.missing():
            print(f"without {program.name}: no {missing}")
            continue
        print(f"{program.name} …", flush=True)
        found += measured(program, options)
    if not found:
        print("nothing was measured", file=sys.stderr)
        return 1
    print(report.console(found))
    about = runner.facts({name: importlib.metadata.version(name) for name in PACKAGES if installed(name)})
    tag = f"programs-{harness.tag()}"
    options.output.mkdir(parents=True, exist_ok=True)
    results.save(found, options.output / f"{tag}.json", about)
    report.write(found, about, options.output, tag)
    print(f"wrote {tag}.json, .rst, .svg and -cases.svg into {options.output}")
    missed = [each.title for each in found if each.unit == "integer" and results.ratio(*each.series).value > 1]
    print(*(f"more instructions than without: {title}" for title in missed), sep="\n")
    return 1 if missed else 0


def installed(package):
    try:
        return bool(importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return False


def measured(program, options):
    """A Result for each measure of a program."""
    found = []
    if options.counts:
        runs = [instructions(program, options.requests) for _ in range(options.counts)]
        for page in program.pages:
            made = result(program, f"{page}, instructions", "integer", [run[page] for run in runs])
            made.series[1].target = program.fewer.get(page) and 1 / program.fewer[page]
            found.append(made)
    if options.rates:
        runs = list(rates(program, options.rates))
        found += [result(program, page, "second", [run[page] for run in runs], program.told) for page in program.pages]
    if options.together and program.together:
        found.append(result(program, f"memory with {options.together} in progress", "byte", [memory(program, options)]))
    return found


def result(program, name, unit, rounds, rate=""):
    series = [results.Series(each, [[figures[each]] for figures in rounds]) for each in CONTENDERS]
    return results.Result(program.name, name, unit, rate, series)


def instructions(program, requests):
    """{page: {contender: instructions of a request}}"""
    found = {page: {} for page in program.pages}
    for contender in CONTENDERS:
        with (
            place_of(program) as (place, variables),
            program.serving(contender, place, variables, valgrind=True) as server,
        ):
            for page in program.pages:
                server.serve(page, WARM)
                count = counting.counted(server.process, place, lambda page=page: server.serve(page, requests))
                found[page][contender] = round(count / requests)
    return found


def rates(program, pairs):
    """For each pair {page: {contender: seconds of a request}}."""
    with place_of(program) as (place, variables), place_of(program) as (other, others):
        first, second = CONTENDERS
        with (
            program.serving(first, place, variables) as ours,
            program.serving(second, other, others) as theirs,
        ):
            servers = {first: ours, second: theirs}
            for server in servers.values():
                for page in program.pages:
                    server.load(page, LOAD_SECONDS / 4)  # warm
            for number in range(pairs):
                order = CONTENDERS[::-1] if number % 2 else CONTENDERS
                yield {
                    page: {contender: servers[contender].load(page, LOAD_SECONDS) for contender in order}
                    for page in program.pages
                }


def memory(program, options):
    """{contender: bytes}"""
    found = {}
    for contender in CONTENDERS:
        with (
            place_of(program) as (place, variables),
            program.serving(contender, place, variables, threads=options.together) as server,
        ):
            found[contender] = server.together(options.together)
    return found


class place_of:
    """A folder for a program, which is removed in the end, and its environment."""

    def __init__(self, program):
        self.program = program

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        place = pathlib.Path(self.folder.name)
        return place, running.prepared(self.program.module, place)

    def __exit__(self, *raised):
        self.folder.cleanup()


if __name__ == "__main__":
    sys.exit(main())
