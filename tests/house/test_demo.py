"""The demo: real servers that keep concurrent requests apart, and a check that would notice if they did not."""

import contextlib
import importlib.util
from pathlib import Path

import pytest
from helpers.interpreters import run_python

DEMO = Path(__file__).parents[2] / "examples" / "gevent_server.py"


def run(*args):
    return run_python(DEMO, *args, dev=False)


@pytest.mark.parametrize("mode", ["gevent", "threads", "asyncio"])
def test_requests_are_kept_apart(mode):
    if mode == "gevent":
        pytest.importorskip("gevent")
    done = run("--mode", mode, "--requests", "300")
    assert (done.returncode, done.stderr) == (0, "")
    table = dict(line.strip().rsplit(None, 1) for line in done.stdout.splitlines() if line and line[-1].isdigit())
    assert table["requests"] == "300"
    assert table["distinct users"] == "300"
    assert table["wrong answers"] == "0"
    assert table["bindings left afterwards"] == "0"


@pytest.fixture
def demo():
    spec = importlib.util.spec_from_file_location("demo_under_test", DEMO)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class OneForAll:
    """What a server must not use: one set of names, whoever asks."""

    @contextlib.contextmanager
    def __call__(self, **names):
        self.__dict__.update(names)
        yield self


def test_a_mix_up_is_noticed(demo, monkeypatch, capsys):
    monkeypatch.setattr(demo, "current", OneForAll())
    assert demo.main(["--mode", "asyncio", "--requests", "50"]) == 1
    assert "wrong" in capsys.readouterr().err


def test_a_binding_left_behind_is_noticed(demo):
    left = demo.current(request="/", user="ada")
    left.__enter__()
    try:
        assert demo.main(["--mode", "asyncio", "--requests", "5"]) == 1
    finally:
        left.__exit__(None, None, None)


def test_no_requests_are_refused():
    done = run("--requests", "0")
    assert done.returncode == 2
    assert "--requests 0" in done.stderr
