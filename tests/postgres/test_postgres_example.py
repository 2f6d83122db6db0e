"""The example: it checks itself."""

from pathlib import Path

from helpers.interpreters import run_python

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_postgres_machines(conninfo):
    done = run_python(EXAMPLES / "postgres_machines.py", "--conninfo", conninfo, dev=False, path=[EXAMPLES])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("20 prices, each computed once; 160 order numbers, each handed out once\n")
