"""Snapshots: what one unit sees, seen by another, exactly and no longer than it is applied."""

import contextvars
import copy
import itertools
import threading

import pytest

import xctx
from xctx._carry.snapshot import AppliedBlock


def test_what_was_visible_is_seen_in_every_other_unit(x, other_unit):
    with x(a=1, b=2), x(b=3):
        snapshot = xctx.capture()
    assert other_unit(lambda: snapshot.run(lambda: vars(x))) == {"a": 1, "b": 3}
    assert vars(x) == {}


def test_and_no_more_of_it_afterwards(x, other_unit):
    with x(a=1):
        snapshot = xctx.capture()

    def work():
        before = vars(x)
        with snapshot as entered:
            assert entered is snapshot
            inside = vars(x)
        return before, inside, vars(x)

    assert other_unit(work) == ({}, {"a": 1}, {})


def test_it_shows_exactly_what_was_visible(x, y, other_unit):
    with x(a=1):
        snapshot = xctx.capture()

    def work():
        with x(a=2, b=2), y(c=3):
            with snapshot:
                inside = vars(x), vars(y)
                with x(d=4):
                    more = vars(x)
            return inside, more, vars(x), vars(y)

    assert other_unit(work) == (({"a": 1}, {}), {"a": 1, "d": 4}, {"a": 2, "b": 2}, {"c": 3})


def test_only_those_that_were_asked_for(x, y, other_unit):
    with x(a=1), y(a=2):
        only_x = xctx.capture(x)

    def work():
        with y(b=3), only_x:
            return vars(x), vars(y)

    assert other_unit(work) == ({"a": 1}, {"b": 3})


def test_one_asked_for_that_had_nothing_shows_nothing(x, other_unit):
    snapshot = xctx.capture(x)

    def work():
        with x(a=1), snapshot:
            return vars(x)

    assert other_unit(work) == {}


def test_nothing_of_other_units_is_taken(key, key_name, in_thread, told):
    x = xctx.xlocal(key=key)
    with x(a=1):
        context = contextvars.copy_context()
    taken = in_thread(lambda: context.run(lambda: xctx.capture().run(lambda: vars(x))))
    assert taken == ({"a": 1} if key_name in told else {})


@pytest.fixture
def told():
    """The keys by which another thread in the same context is the same unit."""
    return {"process", "flow", "context"}


def test_it_is_taken_when_it_is_taken(x):
    with x(a=1):
        snapshot = xctx.capture()
        with x(a=2):
            assert snapshot.run(getattr, x, "a") == 1
        later = xctx.capture()
    assert later.run(vars, x) == {"a": 1}


def test_applied_in_the_unit_it_came_from(x):
    with x(a=1):
        snapshot = xctx.capture()
        with x(a=2, b=2), snapshot:
            assert vars(x) == {"a": 1}
            with x(c=3):
                assert vars(x) == {"a": 1, "c": 3}
            assert vars(x) == {"a": 1}
        assert vars(x) == {"a": 1}


def test_entered_again_within_itself(x):
    with x(a=1):
        snapshot = xctx.capture()
    with snapshot:
        with x(a=2):
            with snapshot:
                assert x.a == 1
                with snapshot:
                    assert x.a == 1
                assert x.a == 1
            assert x.a == 2
        assert x.a == 1
    assert vars(x) == {}


def test_left_without_having_been_entered():
    with pytest.raises(RuntimeError, match="it was not entered"):
        xctx.capture().__exit__(None, None, None)


def test_left_in_another_order(x):
    with x(a=1):
        first = xctx.capture()
    with x(a=2, b=2):
        second = xctx.capture()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert vars(x) == {"a": 2, "b": 2}
    second.__exit__(None, None, None)
    assert vars(x) == {}


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_applications_left_in_any_order(x, order):
    """While an application of everything is open nothing else is seen, whichever of several was there first."""
    y = xctx.xlocal(key=xctx.keys.context)
    nothing = xctx.capture()
    with x(a="taken"), y(a="taken"):
        only_x, only_y = xctx.capture(x), xctx.capture(y)
    with x(a="taken"):
        whole_x = xctx.capture()
    # What each snapshot shows in the two xlocals; None where it says nothing about one.
    kinds = {
        "nothing": (nothing, {}, {}),
        "x": (only_x, {"a": "taken"}, None),
        "whole x": (whole_x, {"a": "taken"}, {}),
        "y": (only_y, None, {"a": "taken"}),
    }

    def shown(applied, opened):
        in_x, in_y = {"a": "outside"}, {"a": "outside"}
        for number in sorted(opened):
            _, of_x, of_y = kinds[applied[number]]
            in_x, in_y = in_x if of_x is None else of_x, in_y if of_y is None else of_y
        return in_x, in_y

    with x(a="outside"), y(a="outside"):
        for applied in itertools.product(kinds, repeat=3):
            blocks = [AppliedBlock(kinds[each][0]) for each in applied]
            opened = set()
            for number, block in enumerate(blocks):
                block.__enter__()
                opened.add(number)
                assert (vars(x), vars(y)) == shown(applied, opened)
            for number in order:
                blocks[number].__exit__(None, None, None)
                opened.remove(number)
                assert (vars(x), vars(y)) == shown(applied, opened)
    assert vars(x) == vars(y) == {}


def test_the_outer_of_two_is_left_in_a_copy_too(x, in_context):
    """In the copy both are open, and in the copy the outer one is left: there the inner one must hide all the same."""
    nothing = xctx.capture()
    with x(a=1):
        outer, inner = AppliedBlock(nothing), AppliedBlock(nothing)

        def leave():
            outer.__exit__(None, None, None)
            hidden = vars(x)
            inner.__exit__(None, None, None)
            return hidden, vars(x)

        outer.__enter__()
        inner.__enter__()
        assert in_context(leave) == ({}, {"a": 1})
        assert vars(x) == {"a": 1}  # both were entered in this context, where they are not seen any more either


def test_what_is_bound_between_two_applications_is_hidden_by_the_inner_one(x):
    nothing = xctx.capture()
    outer, between, inner = AppliedBlock(nothing), x(b=2), AppliedBlock(nothing)
    with x(a=1):
        for each in (outer, between, inner):
            each.__enter__()
        assert vars(x) == {}
        outer.__exit__(None, None, None)
        assert vars(x) == {}
        inner.__exit__(None, None, None)
        assert vars(x) == {"a": 1, "b": 2}
        between.__exit__(None, None, None)
        assert vars(x) == {"a": 1}


def test_barriers_that_are_open_everywhere_do_not_lengthen_the_chain_for_ever(x, count_objects):
    """A timer that re-arms itself within applications leaves a barrier in each context, and these do not pile up."""
    nothing = xctx.capture()
    with x(a=1):
        context = contextvars.copy_context()
        for _ in range(500):
            context = context.run(nothing.run, contextvars.copy_context)
        assert count_objects("Binding") < 100
        assert context.run(vars, x) == {}


def test_left_in_another_context(x, in_context):
    with x(a=1):
        snapshot = xctx.capture()

    def leave():
        snapshot.__exit__(None, None, None)
        return vars(x)

    def work():
        snapshot.__enter__()
        with x(b=2):
            return in_context(leave), vars(x)

    assert in_context(work) == ({"b": 2}, {"b": 2})


def test_left_by_a_thread_that_bound_nothing_while_another_is_inside(y):
    """Which exit is whose, where one of two blocks of one snapshot had nothing to hide."""
    snapshot = xctx.capture()
    inside, left = threading.Event(), threading.Event()

    def work():
        with snapshot:
            inside.set()
            left.wait(60)

    thread = threading.Thread(target=work)
    with y(a=1):
        with snapshot:
            thread.start()
            inside.wait(60)
            assert vars(y) == {}
            left.set()
            thread.join()
            assert vars(y) == {}
        assert vars(y) == {"a": 1}
    assert vars(y) == {}


def test_in_many_threads_at_once(x):
    with x(a=1, b=2), x(b=3):
        snapshot = xctx.capture()
    threads, wrong = [], []
    start = threading.Barrier(8)

    def work(number):
        start.wait()
        for _ in range(200):
            with x(mine=number):
                with snapshot:
                    if vars(x) != {"a": 1, "b": 3}:
                        wrong.append(vars(x))
                if snapshot.run(vars, x) != {"a": 1, "b": 3}:
                    wrong.append("run")
                if vars(x) != {"mine": number}:
                    wrong.append(vars(x))

    for number in range(8):
        context = contextvars.Context()
        threads.append(threading.Thread(target=context.run, args=(work, number)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_what_it_calls_gets_its_arguments_and_gives_its_result(x):
    with x(a=1):
        snapshot = xctx.capture()
    assert snapshot.run(lambda *args, **kwargs: (x.a, args, kwargs), 1, 2, c=3) == (1, (1, 2), {"c": 3})
    with pytest.raises(ZeroDivisionError):
        snapshot.run(lambda: 1 / 0)
    assert vars(x) == {}
    with pytest.raises(TypeError, match="it was given none"):
        snapshot.run()


def test_a_key_that_raises_leaves_nothing_bound(y):
    def broken():
        if angry:
            raise ValueError("no unit today")
        return 1

    angry = False
    x = xctx.xlocal(key=broken)
    with y(a=1), x(a=1):
        snapshot = xctx.capture(y, x)
    angry = True
    with pytest.raises(ValueError, match="no unit today"):
        snapshot.run(print)
    assert vars(y) == {}


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: xctx.capture(1), "takes xlocals and locals, it was given 1"),
        (lambda: xctx.capture(contextvars=[1]), "context variables, not 1"),
        (lambda: xctx.capture(what=1), "no keyword argument 'what'"),
        (lambda: xctx.capture()(1), "wraps a function, not 1"),
        (lambda: xctx.carry(None), "wraps a function, not None"),
        (lambda: xctx.isolated(None), "decorates a function, not None"),
    ],
)
def test_misuse(call, error):
    with pytest.raises(TypeError, match=error):
        call()


def test_missing_is_one_of_two_words():
    with pytest.raises(ValueError, match="'error' or 'skip', not 'maybe'"):
        xctx.capture(missing="maybe")


# Context variables


def test_more_xlocals_than_are_listed():
    """Past a number, chains are found by looking through the context."""
    xlocals = [xctx.xlocal() for _ in range(20)]
    with xlocals[0](a=0), xlocals[19](a=19):
        snapshot = xctx.capture()
        with xlocals[7](a=7), snapshot:
            assert [vars(each).get("a") for each in xlocals] == [0] + [None] * 18 + [19]
    del xlocals[5:]
    assert snapshot.run(vars, xlocals[0]) == {"a": 0}


def test_what_it_says_of_itself():
    class Current(xctx.xlocal):
        user: str

    current = Current()
    with current(user="ada"):
        assert repr(xctx.capture()) == "<snapshot of Current: user>"
    assert repr(xctx.capture()) == "<snapshot of nothing>"


def test_xlocals_under_a_name_copy_as_themselves():
    assert copy.copy(MODULES) is MODULES
    assert copy.deepcopy([MODULES])[0] is MODULES


MODULES = xctx.xlocal()
