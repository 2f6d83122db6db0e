"""Context variables that come along with a snapshot."""

import contextvars
import gc
import itertools
import weakref

import pytest
from helpers.packages import FREE_THREADED

import xctx
from xctx._carry.snapshot import AppliedBlock


def test_context_variables_that_are_named_come_along(in_thread):
    var, unset = contextvars.ContextVar("var"), contextvars.ContextVar("unset")
    token = var.set(1)
    snapshot = xctx.capture(contextvars=[var, unset])
    var.reset(token)

    def work():
        var.set(2)
        unset.set(3)
        return snapshot.run(lambda: (var.get(), unset.get())), var.get()

    assert in_thread(work) == ((1, 3), 2)


def test_one_that_was_set_within_keeps_its_new_value():
    var = contextvars.ContextVar("var")
    context = contextvars.Context()
    token = var.set(1)
    snapshot = xctx.capture(contextvars=[var])
    var.reset(token)
    context.run(snapshot.run, var.set, 5)
    assert context[var] == 5


def test_a_block_left_in_a_copy_of_its_context_puts_back_the_old_value():
    var = contextvars.ContextVar("var")
    var.set("old")
    token = var.set("taken")
    snapshot = xctx.capture(contextvars=[var])
    var.reset(token)
    snapshot.__enter__()
    copied = contextvars.copy_context()
    copied.run(snapshot.__exit__, None, None, None)
    assert copied[var] == "old"
    # Also here, where it was applied; but not without the GIL, where another thread might be running in this context.
    assert var.get() == ("taken" if FREE_THREADED else "old")
    var.set("old")


@pytest.mark.parametrize("outside", [True, False], ids=["set outside", "not set outside"])
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_context_variables_of_applications_left_in_any_order(order, outside):
    var, other = contextvars.ContextVar("var"), contextvars.ContextVar("other")

    def taken(variable, value):
        token = variable.set(value)
        snapshot = xctx.capture(contextvars=[variable])
        variable.reset(token)
        return snapshot

    kinds = [("var", taken(var, 1)), ("var", taken(var, 1)), ("var", taken(var, 2)), ("other", taken(other, 3))]
    values = [1, 1, 2, 3]

    def use():
        if outside:
            var.set("outside")
            other.set("outside")
        before = {name: each.get(None) for name, each in (("var", var), ("other", other))}
        for applied in itertools.product(range(len(kinds)), repeat=3):

            def shown(opened, applied=applied):
                return before | {kinds[applied[number]][0]: values[applied[number]] for number in sorted(opened)}

            blocks = [AppliedBlock(kinds[each][1]) for each in applied]
            opened = set()
            for number, block in enumerate(blocks):
                block.__enter__()
                opened.add(number)
            for number in order:
                assert {"var": var.get(None), "other": other.get(None)} == shown(opened)
                blocks[number].__exit__(None, None, None)
                opened.remove(number)
            assert {"var": var.get(None), "other": other.get(None)} == before

    contextvars.Context().run(use)


def test_a_copy_of_a_context_keeps_the_variables_of_what_is_left_elsewhere():
    var = contextvars.ContextVar("var")
    token = var.set("taken")
    snapshot = xctx.capture(contextvars=[var])
    var.reset(token)
    var.set("old")
    outer, inner = AppliedBlock(snapshot), AppliedBlock(snapshot)
    outer.__enter__()
    copied = contextvars.copy_context()
    copied.run(inner.__enter__)
    outer.__exit__(None, None, None)  # here only
    assert (var.get(), copied[var]) == ("old", "taken")
    copied.run(inner.__exit__, None, None, None)
    assert copied[var] == "taken"


def test_a_copy_made_within_keeps_nothing_alive_of_the_context_it_was_made_in(thing):
    var, own = contextvars.ContextVar("var"), contextvars.ContextVar("own")
    token = var.set("taken")
    snapshot = xctx.capture(contextvars=[var])
    var.reset(token)

    def use():
        blocks = [AppliedBlock(snapshot), AppliedBlock(snapshot)]
        for block in blocks:
            block.__enter__()
        copied = contextvars.copy_context()
        value = thing()
        own.set(value)
        for block in blocks:
            block.__exit__(None, None, None)
        return copied, weakref.ref(value)

    copied, ref = contextvars.Context().run(use)
    gc.collect()
    assert ref() is None
    assert copied[var] == "taken"


def test_a_timer_that_re_arms_itself_within_a_snapshot_with_a_variable_keeps_nothing(count_objects):
    var = contextvars.ContextVar("var")
    context = contextvars.copy_context()
    context.run(var.set, "taken")
    snapshot = context.run(lambda: xctx.capture(contextvars=[var]))
    for _ in range(200):
        context = context.run(snapshot.run, contextvars.copy_context)
    assert count_objects("Layer") < 10


# carry
