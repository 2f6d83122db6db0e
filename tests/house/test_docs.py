"""What the README and the manual show is what happens.

Each ``.. code-block:: python`` is a program of its own, and runs in an interpreter of its own, with every warning an
error. Sessions at the prompt (``>>>``), in the order of their page, give what they show. What is not to be run stands
in a block of another kind: ``console``, ``text``. A block that needs packages names them::

    .. code-block:: python
       :class: needs-gevent needs-flask

and a page that needs some starts with ``.. needs: gevent``. What is needed may be a name of xctx, such
as ``xctx.carry``, or ``interpreters``: an ``InterpreterPoolExecutor`` whose workers can use xctx.
"""

import ast
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.interpreters import run_python
from helpers.packages import installed, offers

from xctx._runtime import copies

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.rst", *sorted((ROOT / "docs").rglob("*.rst"))]
BLOCK = re.compile(
    r"^(?P<indent> *)\.\. code-block::(?P<kind>.*)\n(?P<options>(?:(?P=indent) {3}:.*\n)*)\n"
    r"(?P<code>(?:(?:(?P=indent) {3,}.*)?\n)+)",
    re.MULTILINE,
)


@dataclass
class Block:
    """One ``code-block`` of a page."""

    page: Path
    line: int
    kind: str
    needs: list
    code: str

    def __str__(self):
        return f"{self.page.name}:{self.line}"


def blocks(page):
    text = page.read_text() + "\n"
    for match in BLOCK.finditer(text):
        needs = re.findall(r"\bneeds-(\w+)", match["options"])
        line = text.count("\n", 0, match.start()) + 1
        yield Block(page, line, match["kind"].strip(), needs, textwrap.dedent(match["code"]))


ALL = [block for page in PAGES for block in blocks(page)]
PROGRAMS = [block for block in ALL if block.kind == "python" and not block.code.lstrip().startswith(">>>")]


def is_there(need):
    if need == "interpreters":
        return hasattr(copies, "let_cross")
    return offers(need[5:]) if need.startswith("xctx.") else installed(need)


def skip_without(needs):
    missing = [need for need in needs if not is_there(need)]
    if missing:
        pytest.skip(f"{', '.join(missing)} cannot be imported here")


def needed_by(page):
    return re.findall(r"^\.\. needs: ([\w.]+)$", page.read_text(), re.MULTILINE)


@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_a_program_runs(block, tmp_path):
    skip_without(block.needs + needed_by(block.page))
    program = tmp_path / "shown.py"
    program.write_text(block.code)
    done = run_python(program, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    shown = re.findall(r"# prints: (.*)$", block.code, re.MULTILINE)
    assert [line for line in shown if line not in done.stdout] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sessions_give_what_they_show(page):
    skip_without(needed_by(page))
    # In an interpreter of its own, because some sessions ask what is alive in all of the process.
    done = run_python("-m", "doctest", "-o", "ELLIPSIS", page)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nothing_that_looks_like_a_program_is_left_out(page):
    """Of blocks, only commands and text are not run; and no program hides in a block without a kind."""
    assert {block.kind for block in ALL if block.page == page} <= {"python", "console", "text"}
    text = page.read_text()
    assert len(re.findall(r"^ *\.\. code-block::", text, re.MULTILINE)) == len(list(blocks(page)))
    for match in re.finditer(r"(?<!\.\.)[^:\n]::\n\n((?:(?: +.*)?\n)+)", text):
        assert not re.search(r"^\s*(import|from|def|class|with|>>>)\b", match[1], re.MULTILINE), match[0]


def test_blocks_are_found(tmp_path):
    page = tmp_path / "page.rst"
    page.write_text(
        "Text.\n\n.. code-block:: python\n   :class: needs-gevent\n\n   if 1:\n\n       2\n\nText::\n\n    x\n\n"
        "  .. code-block:: console\n\n     $ ls\n"
    )
    first, second = blocks(page)
    assert (first.kind, first.needs, first.code.strip()) == ("python", ["gevent"], "if 1:\n\n    2")
    assert (second.kind, second.needs, second.code.strip(), second.line) == ("console", [], "$ ls", 14)


def test_names():
    """The tests that a file of tests has, with those in classes, and those that it shares with another."""
    assert "test_names" in named_in(Path(__file__))
    assert "test_blocks" in named_in(ROOT / "tests" / "lock" / "test_lock.py")


def named_in(path):
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.ImportFrom) and node.module and node.names[0].name == "*":
            found |= named_in(ROOT / "tests" / f"{node.module.replace('.', '/')}.py")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_test_that_is_named_is_there(page):
    """``test_file.py::test_name``, ``test_file.py`` and ``test_file*.py``."""
    skip_without(needed_by(page))
    text = page.read_text()
    for name, test in re.findall(r"\b(test_\w+\*?\.py)(?:::(\w+))?", text):
        paths = sorted((ROOT / "tests").rglob(name))
        assert paths, f"{name} is named, but not there"
        if test:
            assert test in named_in(paths[0]), f"{name}::{test} is named, but not there"
    for name in re.findall(r"\bexamples/(\w+\.py)", text):
        assert (ROOT / "examples" / name).exists(), name
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    examples = {f"example-{path.stem.replace('_', '-')}" for path in (ROOT / "examples").glob("*.py")}
    assert set(re.findall(r"``make ([a-z-]+)", text)) <= targets | examples
