"""The benchmarks measure what they say: no test here asserts a time."""

import collections
import importlib
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
from helpers.effort import FULL

ROOT = Path(__file__).parents[2]
# At the end of the path, because the xctx that is tested comes from the environment.
sys.path.append(str(ROOT))

from benchmarks import harness, macro, rooms  # noqa: E402
from benchmarks.harness import Case, Contender  # noqa: E402

BRIEF = 0.0005
ROOMS = sorted(path.stem for path in (ROOT / "benchmarks").glob("bench_*.py"))
MACHINE = ("/", "\\", "host")  # what a published result does not tell


def measured(*contenders, turns=3, **options):
    return harness.measured(Case("group", "name", list(contenders), throughput=True), turns, BRIEF, **options)


# Cases


def cases_of(room):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peers
        module = importlib.import_module(f"benchmarks.{room}")
        return getattr(module, "cases", list)()


@pytest.mark.parametrize("room", ROOMS)
def test_contenders_of_a_case_do_the_same(room):
    cases = cases_of(room)
    module = sys.modules[f"benchmarks.{room}"]
    assert hasattr(module, "cases") or hasattr(module, "macros")
    for case in cases:
        own, *others = [harness.outcome(contender) for contender in case.contenders]
        for contender, other in zip(case.contenders[1:], others, strict=True):
            assert not case.same or bool(own == other), (case.title, contender.name, own, other)
    for make_body in getattr(module, "thread_bodies", dict)().values():
        make_body()(3)


@pytest.mark.parametrize("room", ROOMS)
def test_a_case_is_told_from_others_and_names_its_contenders(room):
    cases = cases_of(room)
    assert len({case.title for case in cases}) == len(cases)
    for case in cases:
        names = [contender.name for contender in case.contenders]
        assert names[0] == "xctx"
        assert len(set(names)) == len(names)


def test_a_target_is_set_for_xctx_beside_somebody_known():
    for case in rooms.cases():
        here = {contender.name for contender in case.contenders}
        for target in set(case.targets) - here:
            assert any(peer in target for peer in rooms.PEERS), (case.title, target)


# One case


def test_a_turn_does_what_it_counts():
    hits = []
    result = measured(Contender("xctx", "hits.append(1)", {"hits": hits}), loops={"xctx": 7}, turns=4)
    assert len(hits) == 7 * harness.UNROLL * (4 + 1)
    assert len(result["turns"]) == 4
    assert result["loops"] == {"xctx": 7}
    assert result["warmup"]["xctx"] > 0


def test_contenders_take_turns_and_each_begins_some():
    order = []
    contenders = [Contender(name, "order.append(name)", {"order": order, "name": name}) for name in "abc"]
    result = measured(*contenders, loops=dict.fromkeys("abc", 1), turns=3)
    blocks = order[:: harness.UNROLL]
    assert [sorted(blocks[at : at + 3]) for at in range(0, 12, 3)] == [list("abc")] * 4
    assert set(blocks[::3]) == set("abc")
    assert all(set(turn) == set("abc") for turn in result["turns"])


def test_statements_of_several_lines_and_blocks():
    hits = collections.Counter()
    text = """
    for which in 'ab':
        if which == 'a':
            hits[which] += 1
    """
    measured(Contender("xctx", text, {"hits": hits}), loops={"xctx": 1}, turns=1)
    assert hits == {"a": 2 * harness.UNROLL}


def test_loops_are_calibrated():
    result = measured(Contender("xctx", "pass"))
    assert result["loops"]["xctx"] > 10


def test_what_stands_around_is_entered_for_each_turn():
    entered = []

    class Around:
        def __enter__(self):
            entered.append(1)

        def __exit__(self, *exc):
            entered.append(-1)

    seen = []
    contender = Contender("xctx", "seen.append(sum(entered))", {"seen": seen, "entered": entered}, Around())
    measured(contender, turns=2, loops={"xctx": 1})
    assert set(seen) == {1}
    assert entered == [1, -1] * 3


def test_a_contender_that_fails_is_left_out_and_its_error_told():
    result = measured(Contender("xctx", "pass"), Contender("peer", "1 / 0"))
    assert result["left"] == {"peer": "ZeroDivisionError: division by zero"}
    assert [set(turn) for turn in result["turns"]] == [{"xctx"}] * 3


def test_threads_run_at_once_and_each_has_names_of_its_own():
    meeting, made = threading.Barrier(2), []

    def names():
        made.append(threading.get_ident())
        return {"mine": made[-1], "meeting": meeting, "get_ident": threading.get_ident}

    # Would never end in one thread.
    statement = "meeting.wait(60); assert mine == get_ident()"
    run = Contender("xctx", statement, names, threads=2)
    spans = harness.in_threads(run, 3)
    assert len(spans) == 2
    assert len(made) == 2
    assert all(begin < end for begin, end in spans)


def test_a_thread_that_fails_fails_the_turn():
    with pytest.raises(ZeroDivisionError):
        harness.in_threads(Contender("xctx", "1 / 0", threads=2), 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_processes_run_at_once():
    meeting, parent = multiprocessing.get_context("fork").Barrier(2), os.getpid()
    names = {"meeting": meeting, "parent": parent, "os": os}
    # Would never end in one process.
    statement = "meeting.wait(60); assert os.getpid() != parent"
    spans = harness.in_processes(Contender("xctx", statement, names, processes=2), 20)
    assert len(spans) == 2
    assert all(0 < begin < end for begin, end in spans)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_process_that_fails_fails_the_turn(capfd):
    with pytest.raises(RuntimeError, match="a process of 'xctx' failed"):
        harness.in_processes(Contender("xctx", "1 / 0", processes=2), 1)


def test_threads_that_never_run_at_once_give_no_turn():
    """One is always done before the other begins."""
    turns = threading.Lock()
    contender = Contender("xctx", lambda: lambda number: one_after_the_other(turns), threads=2)
    case = Case("group", "name", [contender])
    if harness.no_gil():
        result = harness.measured(case, 1, BRIEF, {"xctx": 1})
        assert result["turns"] == []
    case.throughput = True
    result = harness.measured(case, 1, BRIEF, {"xctx": 1})
    assert len(result["turns"]) == 1


def one_after_the_other(lock):
    with lock:
        time.sleep(0.01)


def test_what_needs_no_gil_runs_only_without():
    two = Case("group", "name", [Contender("xctx", "pass", threads=2)])
    assert two.runs_here() == harness.no_gil()
    two.throughput = True
    assert two.runs_here()


# The peers


def test_a_forbidden_peer_is_as_one_not_installed():
    code = (
        f"import sys; sys.path.append({str(ROOT)!r})\n"
        "from benchmarks import rooms\n"
        "rooms.forbid(['werkzeug', 'asgiref', 'gevent', 'wrapt'])\n"
        "names = {contender.name for case in rooms.cases() for contender in case.contenders}\n"
        "print(names & {'werkzeug', 'werkzeug.local', 'gevent.local', 'asgiref.local', 'wrapt'})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "set()\n", done.stderr


def test_a_peer_is_usable_or_its_reason_told():
    usable, left = rooms.peers()
    assert set(usable) | set(left) == set(rooms.PEERS)
    assert all(version[0].isdigit() for version in usable.values())
    assert all(left.values())


# Whole programs


def test_flask_serves_with_the_locals_of_each():
    pytest.importorskip("flask")
    pytest.importorskip("psutil")
    from benchmarks import bench_flask

    (figures,) = bench_flask.rounds(1, 0.05)
    assert set(figures) == {*bench_flask.PATHS, bench_flask.MEMORY}
    for measure in figures.values():
        assert set(measure) == {"xctx", "werkzeug"}
        assert all(figure > 0 for figure in measure.values())


def test_the_client_notices_an_answer_to_somebody_else(python):
    script = f"""
import socket, subprocess, sys, threading
sys.path.append({str(ROOT)!r})
from benchmarks import http_client
server = socket.create_server(("127.0.0.1", 0))
def serve():
    connection, _ = server.accept()
    connection.recv(1000)
    body = b"user 1, tenant2"
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
    connection.close()
thread = threading.Thread(target=serve)
thread.start()
try:
    http_client.load(server.getsockname()[1], "api", 1, 5)
except ValueError as error:
    print(error)
thread.join()
server.close()
"""
    assert python(script, "-W", "ignore::ResourceWarning").startswith("no answer to request 1: ")


@pytest.mark.parametrize("name", ["xctx", "gevent.local", "werkzeug.local", "greenlets alone (floor)"])
def test_greenlets_find_what_they_put(name):
    pytest.importorskip("gevent")
    pytest.importorskip("psutil")
    pytest.importorskip("werkzeug")
    figures = macro.figures_of("benchmarks.bench_greenlets", name, "300", "3")
    assert set(figures) == {"time", "memory"}
    assert all(figure > 0 for figure in figures.values())


def test_a_macro_that_fails_says_why():
    with pytest.raises(RuntimeError, match="not of 'nobody'"):
        macro.figures_of("benchmarks.flask_app", "nobody", "threads")


# The runner

HANGING = 'Case("made up", "hanging", [Contender("xctx", "sleep(600)", {"sleep": time.sleep})]),'
ROOM = """
import os, time
from benchmarks.harness import Case, Contender
from benchmarks.macro import Macro

def rounds(quick):
    yield {"size": {"xctx": 10, "peer": 40}}
    yield {"size": {"xctx": 20, "peer": 40}}
    raise OSError("disk full")

def cases():
    return [
        Case("made up", "adding", [Contender("xctx", "1 + x", {"x": 1}), Contender("peer", "x + 1", {"x": 1})]),
        Case("made up", "dying", [Contender("xctx", "f()", {"f": os.abort}), Contender("peer", "1")]),
        HANGING,
        Case("made up", "lame peer", [Contender("xctx", "1"), Contender("peer", "1 / 0")]),
        Case("made up", "lame xctx", [Contender("xctx", "1 / 0"), Contender("peer", "1")]),
        Case("made up", "pair", [Contender(who, "1", threads=2) for who in ("xctx", "peer")], throughput=True),
    ]

def thread_bodies():
    return {"made up too": lambda: lambda number: [None for _ in range(number)]}

def macros():
    return [Macro("made up program", ["xctx", "peer"], {"size": "byte"}, rounds, lambda quick: 2, lambda quick: 1),
            Macro("made up needs", ["xctx"], {"size": "byte"}, rounds, lambda quick: 1, lambda quick: 1,
                  needs=("no_such_module_anywhere",))]
"""


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """A run of the runner over a room that it has to find by itself: (stdout, stderr, the folder of its results)."""
    pytest.importorskip("pyperf")
    place = tmp_path_factory.mktemp("tree")
    shutil.copytree(ROOT / "benchmarks", place / "benchmarks", ignore=shutil.ignore_patterns("results", "bench_*"))
    # The runner waits ten seconds before it gives up a case.
    (place / "benchmarks" / "bench_made_up.py").write_text(ROOM.replace("HANGING,", HANGING if FULL else ""))
    runner = place / "benchmarks" / "__main__.py"
    patient = runner.read_text()
    runner.write_text(re.sub("^CASE_SECONDS = .*", "CASE_SECONDS = 10", patient, flags=re.MULTILINE))
    assert runner.read_text() != patient
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--processes", "3", "--turns", "2", "--output", place / "out"],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr, place / "out"


def test_the_runner_measures_what_it_finds(made_up):
    from benchmarks import results

    found, about = results.load(made_up[2] / f"{harness.tag()}.json")
    by_title = {result.title: result for result in found}
    adding = by_title["made up: adding"]
    assert [series.name for series in adding.series] == ["xctx", "peer"]
    assert [[len(run) for run in series.runs] for series in adding.series] == [[2, 2, 2]] * 2
    assert adding.own.inner == harness.UNROLL
    assert len(adding.own.warmups) == 3
    assert about["interpreter"] == harness.interpreter()
    size = by_title["made up program: size"]
    assert size.unit == "byte"
    assert [series.runs for series in size.series] == [[[10], [20]], [[40], [40]]]
    assert results.ratio(size.own, size.peers()[0]).value == 0.375
    assert ("two threads: made up too" in by_title) <= harness.no_gil()


def test_the_runner_goes_on_after_what_dies_or_fails(made_up):
    stdout = made_up[0]
    assert "note: made up: dying: left out, its process died (in it)" in stdout
    assert ("note: made up: hanging: left out, its process died (in it)" in stdout) == FULL
    assert "note: made up: lame peer: without peer (ZeroDivisionError: division by zero)" in stdout
    assert "note: made up: lame xctx: xctx failed" in stdout
    assert "note: macro made up program: OSError: disk full" in stdout
    assert "made up: lame peer" in stdout
    assert "needs" not in stdout


def test_the_runner_shows_its_progress(made_up):
    assert "100%" in made_up[1]
    assert "to go" in made_up[1]


def test_a_result_tells_nothing_of_the_machine_but_its_kind(made_up):
    told = json.loads((made_up[2] / f"{harness.tag()}.json").read_text())
    for name, value in told["metadata"].items():
        assert not any(word in f"{name} {value}" for word in MACHINE), (name, value)


def test_pyperf_reads_and_compares_a_result(made_up):
    path = made_up[2] / f"{harness.tag()}.json"
    for command in (["show", path], ["compare_to", path, path, "--table"], ["stats", path]):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "pyperf", *map(str, command)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, ""), command
    assert "made up: adding / peer" in done.stdout


def test_words_that_choose_nothing_are_an_error():
    pytest.importorskip("pyperf")
    done = subprocess.run(
        rooms.command("benchmarks", "--only", "no such case"), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert "no case has no such case in its title" in done.stderr
