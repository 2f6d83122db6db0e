"""Snapshots, names from other machines, nothing(): applied in a generator, they are seen only by what it runs."""

import contextlib
import contextvars

import pytest

import xctx
import xctx.wire

current = xctx.xlocal()
xctx.wire.declare(current, user=xctx.carried())


def opened(kind):
    if kind == "extract":
        with current(user="inner"):
            headers = xctx.wire.inject({})
        return xctx.wire.extract(headers)
    with current(user="inner"):
        return xctx.capture(current) if kind == "snapshot" else xctx.capture()


def generate(block):
    with block:
        while True:
            yield dict(vars(current))


@pytest.mark.parametrize("kind", ["extract", "snapshot", "snapshot of all"])
def test_it_is_seen_by_what_the_generator_runs(kind):
    generator = generate(opened(kind))
    assert next(generator) == {"user": "inner"}
    assert vars(current) == {}
    with current(user="loop", other=1):
        seen = next(generator)
        assert seen["user"] == "inner"
        # What arrived comes on top of what is bound; a snapshot shows what it showed when it was taken.
        assert ("other" in seen) == (kind == "extract")
        assert vars(current) == {"user": "loop", "other": 1}
        assert contextvars.copy_context().run(lambda: current.other) == 1
    generator.close()
    assert vars(current) == {}


def test_nothing_in_a_generator_hides_from_that_alone():
    with current(user="outer"):
        generator = generate(xctx.nothing())
        assert next(generator) == {}
        assert current.user == "outer"
        with current(user="loop"):
            assert next(generator) == {}
            assert current.user == "loop"
        generator.close()
        assert current.user == "outer"


def test_a_snapshot_that_a_manager_applies_is_its_callers():
    @contextlib.contextmanager
    def manager():
        with opened("snapshot"):
            yield

    with manager():
        assert current.user == "inner"
    assert vars(current) == {}


def test_a_snapshot_is_run_in_a_generator():
    def steps():
        snapshot = opened("snapshot")
        with current(user="own"):
            while True:
                yield snapshot.run(lambda: current.user), current.user

    generator = steps()
    for _ in range(2):
        assert next(generator) == ("inner", "own")
        assert vars(current) == {}
        with current(user="loop"):
            assert next(generator) == ("inner", "own")


def test_a_snapshot_taken_between_the_steps_has_not_what_is_hidden():
    generator = generate(opened("snapshot"))
    next(generator)
    with current(other=1):
        for snapshot in (xctx.capture(), xctx.capture(current)):
            assert contextvars.Context().run(snapshot.run, lambda: dict(vars(current))) == {"other": 1}
    assert xctx.carry(lambda: dict(vars(current)))() == {}
