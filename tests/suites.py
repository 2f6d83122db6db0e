"""The tests of other libraries, before and after: ``make test-suites``, or ``python tests/suites.py flask django``.

Each library is installed into an environment of its own. Its tests, which come from its source distribution, are run as
they are, and then again under ``python -m xctx run --all``. Outcomes that differ are printed. What differs is tried a
second time, because some of these tests fail now and then by themselves. The run fails if an outcome differs both times
and EXPLAINED does not say why, or if something that EXPLAINED names does not differ any more.
"""

import argparse
import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "suites"
LIMIT = 1800  # seconds in which the tests of one library must end, on a busy machine


@dataclasses.dataclass(frozen=True)
class Suite:
    """A library whose tests are run.

    Args:
        version: for which EXPLAINED holds.
        needs: what its tests need besides.
        commands: arguments for the interpreter that run them: what each runs are other tests.
        folder: of the source distribution, in which they are run.
        report: "junit" for pytest, "unittest" for what prints as unittest does.
    """

    version: str
    needs: tuple[str, ...]
    commands: tuple[tuple[str, ...], ...]
    folder: str = "."
    report: str = "junit"


def by_pytest(*arguments):
    return (("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *arguments),)


def of_gevent(*names):
    # One after the other, because some patch the process.
    return tuple(("-m", "unittest", "-v", f"gevent.tests.test__{name}") for name in names)


SUITES = {
    "flask": Suite("3.1.3", ("pytest<9", "asgiref", "greenlet", "python-dotenv"), by_pytest("tests")),
    "werkzeug": Suite(
        "3.1.9",
        ("pytest", "pytest-timeout", "ephemeral-port-reserve", "watchdog", "cryptography", "greenlet"),
        by_pytest("tests", "--deselect", "tests/test_serving.py"),
    ),
    "sqlalchemy": Suite(
        "2.1.9",
        ("pytest", "pytest-xdist", "greenlet", "aiosqlite", "typing-extensions", "setuptools"),
        by_pytest(
            "-p", "no:logging", "test/orm/test_scoping.py", "test/orm/test_session.py", "test/ext/asyncio",
            "test/engine/test_pool.py", "test/base/test_concurrency.py", "test/base/test_utils.py",
            "--db", "sqlite", "--db", "aiosqlite",
        ),
    ),
    "django": Suite(
        "5.2.19",
        ("jinja2", "tblib"),
        (("runtests.py", "-v", "2", "--parallel", "1", "handlers", "asgi", "async", "i18n", "db_utils", "backends",
         "transactions", "transaction_hooks", "urlpatterns_reverse", "middleware", "signals", "logging_tests"),),
        "tests",
        "unittest",
    ),
    "gevent": Suite(
        "26.9.0",
        ("greenlet", "zope.event", "zope.interface", "psutil"),
        of_gevent("local", "greenlet", "greenletset", "pool", "threadpool", "event", "contextvars", "semaphore", "lock",
                  "monkey", "queue", "hub", "hub_join", "thread"),
        report="unittest",
    ),
    "asgiref": Suite("3.13.0", ("pytest", "pytest-asyncio", "packaging"), by_pytest("tests")),
    "structlog": Suite(
        "26.1.0", ("pytest", "pytest-asyncio", "simplejson", "time-machine"), by_pytest("tests", "-p", "asyncio")
    ),
    "celery": Suite(
        "5.7.0",
        ("pytest", "pytest-subtests", "pytest-timeout", "pytest-click", "pytest-order", "pytest-celery", "freezegun",
         "gevent", "eventlet", "moto", "boto3", "pydantic", "PyYAML", "msgpack"),
        by_pytest("t/unit/app", "t/unit/tasks", "t/unit/concurrency", "t/unit/utils", "t/unit/worker"),
    ),
}  # fmt: skip

# By library: regular expressions of tests, and why their outcome differs under xctx.
EXPLAINED: dict[str, dict[str, str]] = {name: {} for name in SUITES} | {
    "gevent": {
        r"TestCExt\.test_c_extension": "the class is xctx's, and so in a module of xctx",
        r"test_locals_collected_when_unreferenced_even_in_running_greenlet": "a greenlet has one link for all stores, "
        "which stays while it runs, rather than one for each",
    },
    "asgiref": {
        r"test_data_name_protected|test_new_returns_specialized_subclass|test_local_cannot_be_subclassed": "about how "
        "asgiref's class is made: xctx's is another one, has no name that is reserved, and can be subclassed",
        r"test_local_not_inherited_by_new_thread": "a thread that enters a copy of another's context by hand sees what "
        "that had, as with a context variable; one that merely starts sees nothing",
    },
    "structlog": {
        r"TestThreadLocalDict::test_delattr_missing": "the text of the error has the name of xctx's class",
    },
}


# --- how the tests get here ------------------------------------------------------------------------------------------


def prepared(name):
    """The interpreter and the source of a library, installed and unpacked where they are not yet."""
    suite = SUITES[name]
    place = BUILD / f"{name}-{suite.version}-{sys.implementation.cache_tag}{sys.abiflags}"
    python, source = place / "venv" / "bin" / "python", place / "source"
    if not (place / "ready").exists():
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(place / "venv")], check=True)
        pip = [str(python), "-m", "pip", "-qq", "--disable-pip-version-check"]
        wanted = f"{name}=={suite.version}"
        subprocess.run([*pip, "install", wanted, *suite.needs], check=True)
        subprocess.run([*pip, "download", "--no-deps", "--no-binary", name, "-d", str(place), wanted], check=True)
        [archive] = place.glob("*.tar.gz")
        with tarfile.open(archive) as packed:
            packed.extractall(source, filter="data")
        # xctx and nothing else of this tree, whose folders have names that those of others have too.
        (place / "path").mkdir()
        (place / "path" / "xctx").symlink_to(ROOT / "xctx")
        (place / "ready").touch()
    [unpacked] = source.iterdir()
    return python, unpacked / suite.folder, place


# --- how they are run ------------------------------------------------------------------------------------------------


def outcomes(name, under_xctx):
    """What became of each test: "passed", "failed", "skipped" or the like, by its name."""
    python, folder, place = prepared(name)
    suite = SUITES[name]
    report = place / ("after.xml" if under_xctx else "before.xml")
    found = {}
    with open(place / ("after.txt" if under_xctx else "before.txt"), "w") as log:
        for arguments in suite.commands:
            command = [str(python), *(("-m", "xctx", "run", "--all") if under_xctx else ()), *arguments]
            if suite.report == "junit":
                report.unlink(missing_ok=True)
                command.append(f"--junitxml={report}")
            text = run(command, folder, place)
            log.write(f"{' '.join(command)}\n{text}\n")
            more = of_junit(report) if suite.report == "junit" else of_unittest(text)
            if not more:
                raise SystemExit(f"{name}: no test was run by {' '.join(command)}\n{text[-4000:]}")
            found |= more
    return found


def run(command, folder, place):
    """What a command printed. Whatever it has started ends with it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "XCTX"))}
    environment |= {"PYTHONPATH": str(place / "path"), "PYTHONNOUSERSITE": "1", "PYTHONUNBUFFERED": "1"}
    with open(place / "printed.txt", "w+", errors="replace") as printed:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=printed,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            process.wait(LIMIT)
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        printed.seek(0)
        return printed.read()


def of_junit(report):
    if not report.exists():
        return {}
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        found[f"{case.get('classname')}::{case.get('name')}"] = kinds[0] if kinds else "passed"
    return found


# A second line has the first one of a docstring, and what the test prints stands between it and its outcome.
LINE = re.compile(
    r"^(\w+) \(([\w.]+)\)[^\n]*?(?:\n[^\n]*?)? \.\.\. .*?"
    r"(ok|FAIL|ERROR|skipped|expected failure|unexpected success)(?: ['\"].*)?$",
    re.MULTILINE,
)


def of_unittest(text):
    found = {}
    for test, where, outcome in LINE.findall(text):
        found[where if where.endswith(f".{test}") else f"{where}.{test}"] = outcome
    return found


def differing(name):
    """The tests whose outcome differs, with both outcomes; and all outcomes before."""
    before, after = outcomes(name, False), outcomes(name, True)
    return {
        test: (before.get(test, "not run"), after.get(test, "not run"))
        for test in sorted(before.keys() | after.keys())
        if before.get(test) != after.get(test)
    }, before


def judge(name):
    """Whether all that differs is explained. Prints what was found."""
    began = time.monotonic()
    found, before = differing(name)
    if found:
        again, _ = differing(name)
        found = {test: found[test] for test in found.keys() & again.keys()}
    counts = {outcome: [*before.values()].count(outcome) for outcome in sorted({*before.values()})}
    told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    print(f"{name} {SUITES[name].version}: {told}; {len(found)} differ; {time.monotonic() - began:.0f} s", flush=True)
    well, used = True, set()
    for test, (was, now) in sorted(found.items()):
        reasons = {pattern: reason for pattern, reason in EXPLAINED[name].items() if re.search(pattern, test)}
        used |= reasons.keys()
        well = well and bool(reasons)
        print(f"  {test}: {was}, under xctx {now}: {'; '.join(reasons.values()) or 'NOT EXPLAINED'}", flush=True)
    for pattern in EXPLAINED[name].keys() - used:
        well = False
        print(f"  {pattern}: explained, but no such test differs", flush=True)
    return well


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("libraries", nargs="*", metavar="LIBRARY", help=f"of {', '.join(SUITES)} (default: all)")
    options = parser.parse_args()
    if unknown := {*options.libraries} - SUITES.keys():
        parser.error(f"no library is called {', '.join(sorted(unknown))}: use {', '.join(SUITES)}")
    judged = {name: judge(name) for name in options.libraries or SUITES}
    if not all(judged.values()):
        raise SystemExit(f"Not as explained: {', '.join(name for name, well in judged.items() if not well)}")


if __name__ == "__main__":
    main()
