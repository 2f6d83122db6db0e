"""The examples that start real servers or real workers: each is run as a program, and checks itself.

That they would notice a mix-up is shown by running them with stores that are one for all.
"""

import os
from pathlib import Path

import pytest
from helpers.effort import sized
from helpers.interpreters import run_python
from helpers.packages import installed

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

# What each needs, the arguments that keep it short, and what it says besides.
PROGRAMS = {
    "flask_gunicorn": (["flask", "gunicorn", "gevent"], ["--requests", "200"], "flask.request is a xctx.LocalProxy"),
    "asgi_uvicorn": (["starlette", "uvicorn"], ["--requests", "200"], "uvicorn listens on port"),
    "fastapi_work": (
        ["fastapi", "uvicorn", "sqlalchemy", "aiosqlite"],
        ["--requests", "150"],
        "uvicorn listens on port",
    ),
    "django_work": (
        ["django", "uvicorn", "gunicorn"],
        ["--requests", "75", "--servers", *sized(["uvicorn"], ["uvicorn", "gunicorn"])],
        sized("uvicorn", "gunicorn") + " listens on port",
    ),
    "sqlalchemy_sessions": (["sqlalchemy"], ["--units", "25"], "each unit had its own session, and none was left"),
    "batch_ids": ([], ["--ids", "4000"], "each handed out once, none missing"),
    "flask_proxy": (["flask"], [], "outside of a request: <LocalProxy unbound> False <LocalProxy unbound>"),
}

ONE_FOR_ALL = """
import xctx


class OneForAll:
    def __init_subclass__(cls, key=None): pass
    def __init__(self, key=None): pass
    def __call__(self, **names):
        self.__dict__.update(names)
        return self
    def __enter__(self): return self
    def __exit__(self, *exc_info): pass

xctx.xlocal = xctx.local = OneForAll
"""


def run(name, *args, path=()):
    needs = PROGRAMS[name][0]
    missing = [need for need in needs if not installed(need)]
    if missing:
        pytest.skip(f"{', '.join(missing)} cannot be imported here")
    if "gunicorn" in needs and not hasattr(os, "fork"):
        pytest.skip("gunicorn forks")
    return run_python(EXAMPLES / f"{name}.py", *args, dev=False, path=[*path, EXAMPLES], timeout=240)


def numbers(done):
    """The rows of the table that a program prints."""
    rows = (line.rsplit(None, 1) for line in done.stdout.splitlines() if line.startswith("  ") and line[-1].isdigit())
    return {name.strip(): int(value) for name, value in rows}


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_does_what_it_shows(name):
    _, args, says = PROGRAMS[name]
    done = run(name, *args)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert says in done.stdout


def test_each_example_is_tested():
    """Here, or by a test of what it shows."""
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    programs = {path.stem for path in EXAMPLES.glob("*.py") if "__main__" in path.read_text()}
    assert {name for name in programs if name not in tests} == set()


def test_requests_of_flask_are_many_at_once_in_a_worker():
    table = numbers(run("flask_gunicorn", "--requests", "200", "--workers", "2"))
    assert table["requests"] == 200
    assert table["workers that served them"] in (1, 2)  # one may have begun before the other was there
    assert table["most at once in a worker"] > 1
    assert table["wrong answers"] == table["bindings left afterwards"] == 0


def test_half_of_the_asgi_requests_are_served_in_threads():
    table = numbers(run("asgi_uvicorn", "--requests", "100"))
    assert table["requests"] == 100
    assert table["of them served in threads"] == 50
    assert table["wrong answers"] == table["bindings left afterwards"] == 0


@pytest.mark.parametrize("name", ["flask_gunicorn", "asgi_uvicorn"])
def test_a_mix_up_is_noticed(name, tmp_path):
    """The server's processes find a `sitecustomize` that puts one store for all in place of each."""
    (tmp_path / "sitecustomize.py").write_text(ONE_FOR_ALL)
    done = run(name, "--requests", "100", path=[tmp_path])
    assert done.returncode == 1
    assert numbers(done)["wrong answers"] > 0
    assert done.stderr.startswith("wrong: {")


def test_a_server_that_does_not_come_up_is_shown_with_what_it_says(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['gunicorn.app'] = None")
    done = run("flask_gunicorn", path=[tmp_path])
    assert done.returncode == 1
    assert "RuntimeError: the server does not listen" in done.stderr
    assert "gunicorn.app" in done.stderr


def test_sessions_are_left_where_nobody_ends_them():
    """What the example prevents: SQLAlchemy's own registry keeps the sessions of units that ended."""
    done = run("sqlalchemy_sessions", "--units", "10", "--plain")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.endswith("sessions were left\n")
    assert all(int(line.split()[-2]) >= 10 for line in done.stdout.splitlines()[1:-1])
