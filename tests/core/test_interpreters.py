"""xctx in a process with several interpreters: one of them can use it, and the others are told what to do."""

import sys

import pytest

# Each version has the module under another name, and says otherwise what kind of interpreter is made.
START = """
import sys
if sys.version_info >= (3, 13):
    import _interpreters as interpreters
    create = interpreters.create
    SHARED, OWN = "legacy", "isolated"
else:
    import _xxsubinterpreters as interpreters
    create = lambda own: interpreters.create(isolated=own)
    SHARED, OWN = False, True

def run(kind, source):
    # In an interpreter of its own, which ends then.
    made = create(kind)
    failed = interpreters.run_string(made, source)
    if failed is not None:
        print(failed.formatted)
    interpreters.destroy(made)

PATH = f"import sys; sys.path[:] = {sys.path!r}\\n"
TRY = PATH + '''
try:
    import xctx
except ImportError as error:
    assert error.name == "xctx" and "xctx" not in sys.modules
    print(error)
else:
    print("imported")
'''
"""
KINDS = [
    "SHARED",
    pytest.param("OWN", marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="one GIL for all interpreters")),
]


def assert_told(line):
    assert line.startswith("xctx cannot be used in this interpreter: only the first interpreter of a process")
    assert "WSGIApplicationGroup %{GLOBAL}" in line
    assert "single-interpreter = true" in line


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_interpreter_is_told_what_to_do(python, kind):
    told = python(START + f"import xctx\nfor _ in range(3): run({kind}, TRY * 2)").splitlines()
    assert len(told) == 6
    for line in told:
        assert_told(line)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_goes_on_after_the_second_has_ended(python, kind):
    source = f"""
import xctx
x, kept = xctx.xlocal(), xctx.local()
kept.a = 1
with x(a=2):
    run({kind}, TRY)
    print(x.a, kept.a)
"""
    told, values = python(START + source).splitlines()
    assert_told(told)
    assert values == "2 1"


def test_one_that_shares_the_gil_can_be_the_first(python):
    source = """
run(SHARED, TRY + "x = xctx.xlocal()\\nwith x(a=1): print(x.a)")
"""
    assert python(START + source).splitlines() == ["imported", "1"]


def test_the_main_interpreter_is_told_if_another_was_first(python):
    told = python(START + "run(SHARED, TRY)\nexec(TRY)").splitlines()
    assert told[0] == "imported"
    assert_told(told[1])


@pytest.mark.skipif(sys.version_info < (3, 12), reason="one GIL for all interpreters")
def test_one_with_a_gil_of_its_own_is_told_though_it_is_the_first(python):
    told = python(START + "run(OWN, TRY)\nimport xctx\nprint(xctx.local().__dict__)").splitlines()
    assert_told(told[0])
    assert told[1] == "{}"
