"""What type checkers make of programs that use xctx: they pass uses.py and the rooms' programs, and object to misuses.

Pyright is run as basedpyright, whose wheel brings all it needs.
"""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted((ROOT / "tests" / "typing").glob("*.py"))
MISUSES = ROOT / "tests" / "typing" / "misuses.py"
FOUND_BY_PLUGIN = ROOT / "tests" / "typing" / "declared_misuses.py"  # of mypy alone
USES = [program for program in PROGRAMS if program not in (MISUSES, FOUND_BY_PLUGIN)]
MARK = "  # type: ignore"
# Misuses that mypy alone objects to: the others let a module's Final be set from outside.
UNSEEN_BY_PYRIGHT = {"    xctx.keys.greenlet = xctx.keys.task"}
UNSEEN_BY_PYREFLY = UNSEEN_BY_PYRIGHT | {"    with current:", '    print(unit.kind == "fiber")'}


@pytest.fixture
def mypy(tmp_path):
    """Runs mypy, as strict as on the package itself, and gives what it reports."""
    pytest.importorskip("mypy", reason="mypy is not installed here")

    def run(*programs):
        settings = ["--config-file", ROOT / "pyproject.toml", "--cache-dir", tmp_path / "cache", "--no-error-summary"]
        done = subprocess.run(
            [sys.executable, "-m", "mypy", *settings, *programs], cwd=ROOT, capture_output=True, text=True
        )
        assert done.stderr == ""
        return done.stdout.splitlines()

    return run


def test_types_are_what_programs_expect_and_each_misuse_is_found(mypy):
    """A misuse that mypy did not find would leave its `type: ignore` unused, which it reports."""
    assert mypy(*PROGRAMS) == []


def test_mypy_objects_to_the_misuses_and_to_nothing_else(mypy, tmp_path):
    """Without the comments: were everything Any, or nothing looked at, the test above would not notice all of it."""
    expected = set()
    bare = []
    for program in (MISUSES, FOUND_BY_PLUGIN):
        lines = program.read_text().splitlines()
        bare.append(tmp_path / f"bare_{program.name}")
        bare[-1].write_text("\n".join(line.partition(MARK)[0] for line in lines))
        expected |= {(bare[-1].name, number) for number, line in enumerate(lines, 1) if MARK in line}
    reported = [line.split(":") for line in mypy(*bare) if ": error: " in line]
    assert {(Path(path).name, int(number)) for path, number, *_ in reported} == expected


@pytest.fixture
def pyright(tmp_path):
    """Runs pyright, strictly, and gives the lines (from 1) of each program in which it finds an error."""
    pytest.importorskip("basedpyright", reason="basedpyright is not installed here")

    def run(*programs):
        settings = tmp_path / "pyrightconfig.json"
        settings.write_text(
            json.dumps(
                {
                    "include": [str(program) for program in programs],
                    "extraPaths": [str(ROOT)],
                    "typeCheckingMode": "strict",
                    # Expressions to which the checkers object; names that look private.
                    "reportUnusedExpression": "none",
                    "reportUnusedCoroutine": "none",
                }
            )
        )
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "basedpyright",
                "--outputjson",
                "--project",
                settings,
                "--pythonpath",
                sys.executable,
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        told = json.loads(done.stdout)
        assert told["summary"]["filesAnalyzed"] == len(programs)
        errors = [each for each in told["generalDiagnostics"] if each["severity"] == "error"]
        return {(Path(each["file"]).name, each["range"]["start"]["line"] + 1): each["message"] for each in errors}

    return run


@pytest.mark.thorough
def test_pyright_sees_the_same_types(pyright):
    assert pyright(*PROGRAMS) == {}


def check_misuses(checker, tmp_path, unseen):
    """That a checker finds the marked lines of MISUSES but for those `unseen`, and no others."""
    lines = [line.partition(MARK) for line in MISUSES.read_text().splitlines()]
    assert unseen <= {line for line, mark, _ in lines if mark}
    bare = tmp_path / "bare.py"
    bare.write_text("\n".join(line for line, _, _ in lines))
    expected = {number for number, (line, mark, _) in enumerate(lines, 1) if mark and line not in unseen}
    assert {number for _, number in checker(bare)} == expected


def test_pyright_objects_to_the_misuses_and_to_nothing_else(pyright, tmp_path):
    check_misuses(pyright, tmp_path, UNSEEN_BY_PYRIGHT)


@pytest.fixture
def pyrefly(tmp_path):
    """Runs pyrefly, and gives the lines (from 1) of each program in which it finds an error."""
    pytest.importorskip("pyrefly", reason="pyrefly is not installed here")

    def run(*programs):
        settings = tmp_path / "pyrefly.toml"
        settings.write_text(
            f"search-path = {json.dumps([str(ROOT)])}\n"
            f"python-interpreter-path = {json.dumps(sys.executable)}\n"
            f"project-includes = {json.dumps([str(program) for program in programs])}\n"
        )
        done = subprocess.run(
            [sys.executable, "-m", "pyrefly", "check", "--output-format=json"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        errors = json.loads(done.stdout)["errors"]
        return {(Path(each["path"]).name, each["line"]): each["description"] for each in errors}

    return run


@pytest.mark.thorough
def test_pyrefly_sees_the_same_types(pyrefly):
    """It honours mypy's comments, and mypy reports those that nothing needs."""
    assert pyrefly(*PROGRAMS) == {}


@pytest.mark.thorough
def test_pyrefly_objects_to_the_misuses_and_to_nothing_else(pyrefly, tmp_path):
    check_misuses(pyrefly, tmp_path, UNSEEN_BY_PYREFLY)


@pytest.mark.parametrize("program", USES, ids=lambda path: path.stem)
def test_what_has_the_right_types_also_runs(program):
    runpy.run_path(str(program), run_name="__main__")
