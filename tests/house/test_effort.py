"""What the quick run of the tests leaves out, and that the full one leaves out nothing."""

import itertools
from pathlib import Path

import pytest
from helpers import effort
from helpers.interpreters import run_python

SUITE = """
import pytest

@pytest.mark.parametrize("a", "xyz")
@pytest.mark.parametrize("b", [1, 2])
@pytest.mark.sampled
def test_sampled(a, b): pass

@pytest.mark.parametrize("c", [1, pytest.param(2, marks=pytest.mark.thorough)])
def test_some(c): pass

@pytest.mark.thorough
def test_thorough(): pass

def test_plain(): pass
"""
MARKERS = """
import helpers.effort as effort
def pytest_configure(config):
    for name in ("thorough", "sampled"):
        config.addinivalue_line("markers", name)
def pytest_collection_modifyitems(items):
    left_out = effort.left_out(items)
    items[:] = [item for item in items if item not in left_out]
"""


def collected(tmp_path, effort_of_run):
    (tmp_path / "conftest.py").write_text(MARKERS)
    (tmp_path / "test_suite.py").write_text(SUITE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    tests = Path(__file__).parents[1]
    arguments = ["-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", tmp_path]
    done = run_python(*arguments, dev=False, path=[tests], cwd=tmp_path, XCTX_EFFORT=effort_of_run)
    return [line.partition("::")[2] for line in done.stdout.splitlines() if "::" in line]


def test_the_quick_run_tries_each_law(tmp_path):
    left = collected(tmp_path, "quick")
    assert left[-2:] == ["test_some[1]", "test_plain"]
    sampled = [name[len("test_sampled[") : -1].split("-") for name in left[:-2]]
    assert len(sampled) == 3
    assert {value for pair in sampled for value in pair} == {*"xyz12"}


def test_the_full_run_tries_all_of_each(tmp_path):
    pairs = [f"test_sampled[{b}-{a}]" for b, a in itertools.product("12", "xyz")]
    assert collected(tmp_path, "full") == [*pairs, "test_some[1]", "test_some[2]", "test_thorough", "test_plain"]


def test_another_effort_is_refused(tmp_path):
    done = run_python("-c", "import helpers.effort", path=[Path(__file__).parents[1]], XCTX_EFFORT="some")
    assert "ValueError: XCTX_EFFORT is 'some': use 'quick' or 'full'" in done.stderr


@pytest.mark.parametrize(
    ("choices", "taken"),
    [([], set()), ([{1}, {1, 2}, {2}], {1}), ([{1, 2}, {1, 3}, {2, 3}], {0, 1}), ([{1}, {1}], {0})],
)
def test_a_sample_has_every_element(choices, taken):
    assert effort.sample(choices) == taken
