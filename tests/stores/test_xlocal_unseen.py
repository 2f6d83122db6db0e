"""Why a name is not seen: what the AttributeError says, and xctx.debug.explain."""

import contextvars

import pytest
from helpers.units import THREAD_INHERITS

import xctx
from xctx import debug

NEVER = "no block has bound it so far"
NOT_HERE = "the blocks that bound it were left, or nothing carried them here (xctx.debug.explain tells which)"
BEFORE_FORK = "it was bound before this process was forked, under the key context it would be seen here"
HIDDEN = "xctx.nothing() or a snapshot hides it"


def message(x, name="a"):
    """What the AttributeError says after the part that is always the same."""
    with pytest.raises(AttributeError) as raised:
        getattr(x, name)
    assert type(raised.value) is AttributeError
    assert (raised.value.name, raised.value.obj) == (name, x)
    always = f"'xlocal' object has nothing bound to {name!r} here: "
    assert str(raised.value).startswith(always)
    return str(raised.value)[len(always) :]


def test_a_name_that_was_never_bound(x):
    assert message(x) == NEVER
    with x(b=1):
        assert message(x) == NEVER
        assert debug.explain(x, "a") == f"'a' is not bound here: {NEVER}"


def test_a_scope_that_was_never_entered_has_bound_nothing(x):
    x(a=1)
    assert message(x) == NEVER


def test_a_name_whose_block_was_left(x):
    with x(a=1):
        pass
    assert message(x) == NOT_HERE
    assert debug.explain(x, "a") == "'a' is not bound here: the blocks that bound it were left"


def test_a_name_that_a_snapshot_bound(x):
    with x(a=1):
        snapshot = xctx.capture(x)
    snapshot.run(lambda: x.a)
    assert message(x) == NOT_HERE


def test_a_name_that_is_bound_elsewhere(x, in_thread, key_name):
    with x(a=1), x(b=2):
        told, explained = in_thread(lambda: contextvars.Context().run(lambda: (message(x), debug.explain(x, "a"))))
    assert told == NOT_HERE
    assert explained.startswith("'a' is not bound here: a block that is open ")
    assert explained.endswith(" binds it, and nothing carried that here (see xctx.carry, xctx.concurrent)")


def test_a_name_that_another_unit_bound(x, key_name, other_unit, sees_bindings, unit_kind):
    if sees_bindings or not unit_kind.carries_context or (key_name == "flow" and unit_kind.name == "thread"):
        pytest.skip("it is seen there, or nothing is carried there")
    with x(a=1):
        bound_by = "<xctx unit: value " if key_name == "callable" else repr(getattr(xctx.keys, key_name).current())
        told, explained = other_unit(lambda: (message(x), debug.explain(x, "a")))
    assert explained == f"'a' is not bound here: {told}"
    if unit_kind.name == "fork":
        assert told == BEFORE_FORK
    else:
        assert told.startswith(f"under the key {key_name} only {bound_by}")
        # Where threads inherit, `flow` shows only what the program carried into another thread: the message does not
        # tell the two apart.
        certain = "context" if THREAD_INHERITS and "thread" in unit_kind.name else "flow"
        assert told.endswith(f" sees it, under {certain} it would be seen here")


def test_a_name_that_a_snapshot_hides(x):
    empty = xctx.capture(x)
    with x(a=1), empty:
        assert message(x) == HIDDEN
        assert debug.explain(x, "a") == f"'a' is not bound here: {HIDDEN}"
        with x(b=2):
            assert message(x) == HIDDEN


def test_the_innermost_binding_says_why(x):
    empty = xctx.capture(x)
    with x(a=1), empty:
        with x(a=2):
            assert x.a == 2
        assert message(x) == HIDDEN


@pytest.mark.parametrize("deep", [10, 1000])
def test_deep_within_other_blocks(x, deep):
    empty = xctx.capture(x)
    entered = []
    with x(a=1), empty:
        for _ in range(deep):
            entered.append(x(b=1))
            entered[-1].__enter__()
        assert message(x) == (HIDDEN if deep == 10 else "xctx.debug.explain tells why")
        assert debug.explain(x, "a") == f"'a' is not bound here: {HIDDEN}"
        for scope in entered:
            scope.__exit__(None, None, None)


def test_names_made_at_run_time(x):
    name = "".join(["s", "ome"])
    assert message(x, name) == NEVER
    with x(**{"".join(["so", "me"]): 1}):
        empty = xctx.capture(xctx.xlocal())
        with empty:
            assert getattr(x, "".join(["som", "e"])) == 1
    assert message(x, "".join(["som", "e"])) == NOT_HERE


def test_more_names_than_are_noted(x):
    for number in range(2000):
        with x(**{f"name{number}": 1}):
            pass
    assert message(x, "name0") == NOT_HERE
    assert message(x, "name1999") in (NOT_HERE, "xctx.debug.explain tells why")
    assert debug.explain(x, "name1999").startswith("'name1999' is not bound here: ")


def test_what_is_bound_is_explained(x):
    with x(a=1):
        assert debug.explain(x, "a") == "'a' is bound here"


def test_a_default_is_explained():
    class Current(xctx.xlocal):
        a: int = 1

    current = Current()
    assert debug.explain(current, "a") == f"'a' is not bound here, so the class says what it is: {NEVER}"
    with current(a=2):
        assert debug.explain(current, "a") == "'a' is bound here"


def test_explain_wants_an_xlocal_and_a_name(x):
    with pytest.raises(TypeError):
        debug.explain(xctx.local(), "a")
    with pytest.raises(TypeError):
        debug.explain(x, 1)


def test_nothing_is_kept_alive_by_the_error(x, thing, no_collector):
    import weakref

    value = thing()
    gone = weakref.ref(value)
    empty = xctx.capture(x)
    with x(a=value), empty:
        try:
            _ = x.a
        except AttributeError as exc:
            error = exc.with_traceback(None)
    del value
    assert gone() is None
    del error


def test_a_key_whose_callable_raises():
    fails = False

    def which():
        if fails:
            raise OSError("no such unit")
        return 1

    x = xctx.xlocal(key=which)
    with x(a=1):
        fails = True
        with pytest.raises(OSError, match="no such unit"):
            _ = x.a
        fails = False
