"""The lock's protocol, tried in every order of its steps by the search of lock_model.py."""

import pytest
from helpers.effort import EXAMPLES
from lock_model import Model, Wrong, search
from lock_table_model import Table

NOBODY_DIES = [
    ([["S", "S"], ["X", "X"]], [0, 1]),
    ([["UX", "S"], ["X", "US"]], [0, 1]),
    ([["UXt", "XU"], ["Xt", "St"]], [0, 1]),
    ([["S"], ["S"], ["X"]], [0, 1, 2]),
    ([["St", "Xth"], ["UXt"]], [0, 1]),
    ([["X", "Xh"], ["Xh"]], [0, 1]),
]
ONE_DIES = [
    ([["S", "X"], ["X", "S"]], [0, 1]),
    ([["UX"], ["XS"]], [0, 1]),
    ([["UXt"], ["Sth", "Xt"]], [0, 1]),
]
TWO_DIE = [([["X", "S"], ["X"]], [0, 1]), ([["US"], ["UX"]], [0, 1])]
# Announcements that are passed over: the last number says how often.
PASSED_OVER = [
    ([["S"], ["X"]], [0, 1], 0, 1),
    ([["S", "S"], ["UX"]], [0, 1], 0, 2),
]
PASSED_OVER_AT_LENGTH = [
    ([["S"], ["X"], ["X"]], [0, 1, 1], 0, 1),  # both writers have one row
    ([["S"], ["UX"], ["S"]], [0, 1, 2], 0, 1),
    ([["S"], ["X"], ["X"]], [0, 1, 2], 0, 1),
    ([["S"], ["UXt"], ["St"]], [0, 1, 2], 0, 1),
    ([["S"], ["Xt"], ["S"]], [0, 1, 2], 0, 1),
    ([["S"], ["X"], ["S"]], [0, 1, 2], 1, 1),
    ([["S"], ["UX"], ["S"]], [0, 1, 2], 1, 1),
]
LARGE = [
    ([["S"], ["S"], ["Xh"]], [0, 0, 1], 0),
    ([["X", "X"], ["X"], ["G"]], [0, 1, 2], 0),
    ([["S"], ["S"], ["X"]], [0, 1, 2], 1),
    ([["X"], ["X"], ["X"]], [0, 1, 2], 2),
    ([["S"], ["US"], ["UX"]], [0, 1, 2], 2),
    ([["S", "X"], ["S"], ["Xh"]], [0, 0, 1], 0),
    ([["UXt"], ["Sth"], ["Xt"]], [0, 0, 1], 1),
    ([["X", "X"], ["X"], ["X"]], [0, 1, 2], 0),
    ([["S"], ["X"], ["X"]], [0, 1, 2], 1),
    ([["UXt"], ["St"], ["X"]], [0, 1, 2], 0),
    ([["XS"], ["S"], ["X"]], [0, 1, 2], 1),
    ([["UX"], ["S"], ["X"]], [0, 1, 2], 1),
]
# Where others see a mode later than it is stored.
LATE = [
    ([["S", "S"], ["X", "X"]], [0, 1], 0, 0),
    ([["S", "X"], ["X"]], [0, 1], 1, 0),
    ([["UXt"], ["Sth", "Xt"]], [0, 1], 1, 0),
    ([["US"], ["UX"]], [0, 1], 2, 0),
    ([["S", "S"], ["UX"]], [0, 1], 0, 2),
    ([["S", "U"], ["UX"]], [0, 1], 1, 1),
]
LATE_AT_LENGTH = [
    ([["S"], ["X"], ["X"]], [0, 1, 2], 1, 0),
    ([["S"], ["US"], ["UX"]], [0, 1, 2], 1, 0),
    ([["S"], ["X"], ["S"]], [0, 1, 2], 0, 1),
]
# Of rows: how many there are, and how many processes are killed, and lost.
TABLES = [
    ([["S", "X"], ["X", "S"]], 2, 0, 0),
    ([["X"], ["X"]], 2, 2, 0),
    ([["S"], ["X"]], 1, 1, 0),
    ([["S"], ["X"]], 2, 1, 1),
    ([["X"], ["X"]], 2, 0, 1),
    ([["X"], ["S"]], 1, 0, 1),
]
LARGE_TABLES = [
    ([["S"], ["X"], ["X"]], 1, 1, 0),
    ([["S"], ["X"], ["X"]], 2, 1, 0),
    ([["S"], ["X"], ["S"]], 2, 0, 1),
    ([["X"], ["X"], ["S"]], 1, 1, 1),
    ([["S"], ["X"], ["X"]], 3, 1, 0),
]


@pytest.mark.parametrize(
    ("programs", "rows", "crashes"),
    [(*case, crashes) for crashes, cases in enumerate([NOBODY_DIES, ONE_DIES, TWO_DIE]) for case in cases],
    ids=str,
)
def test_no_order_of_steps_breaks_the_lock(programs, rows, crashes):
    assert search(Model(programs, rows, crashes)) > 100


@pytest.mark.parametrize(("programs", "rows", "crashes", "passes"), PASSED_OVER, ids=str)
def test_an_announcement_is_passed_over_at_any_moment(programs, rows, crashes, passes):
    model = Model(programs, rows, crashes, passes)
    assert search(model) > 100
    assert "pass over" in model.reached


@pytest.mark.slow
@pytest.mark.thorough
def test_an_announcement_is_passed_over_beside_another_reader():
    model = Model([["S"], ["X"], ["S"]], [0, 1, 2], 0, 1)
    assert search(model) > 100_000
    assert "pass over" in model.reached


@pytest.mark.parametrize(
    ("missing", "programs", "rows", "crashes"),
    [
        ("who is passed over finds out", [["S"], ["X"], ["X"]], [0, 1, 2], 0),
        ("who is passed over is woken", [["S"], ["X"], ["S"]], [0, 1, 2], 0),
    ],
)
def test_the_search_finds_a_step_of_passing_over_that_is_missing(missing, programs, rows, crashes):
    with pytest.raises(Wrong):
        search(Model(programs, rows, crashes, 1, broken=missing))


@pytest.mark.slow
@pytest.mark.skipif(not EXAMPLES, reason="minutes each: at night")
@pytest.mark.parametrize(("programs", "rows", "crashes", "passes"), PASSED_OVER_AT_LENGTH, ids=str)
def test_an_announcement_is_passed_over_among_many_steps(programs, rows, crashes, passes):
    assert search(Model(programs, rows, crashes, passes)) > 10_000


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize(("programs", "rows", "crashes"), LARGE, ids=str)
def test_no_order_of_many_steps_breaks_the_lock(programs, rows, crashes):
    assert search(Model(programs, rows, crashes)) > 10_000


@pytest.mark.parametrize(
    ("missing", "programs", "crashes"),
    [
        ("readers mind A", [["S"], ["X"]], 0),
        ("drain", [["S"], ["X"]], 0),
        ("wake counter", [["S"], ["X"]], 0),
        ("who leaves wakes", [["S"], ["X"]], 0),
        ("who clears wakes", [["X"], ["X"]], 0),
        ("who gives up wakes", [["X"], ["Xt"], ["X"]], 0),
        ("starving writers look again at the end", [["X", "X"], ["X", "X"], ["X"]], 0),
        ("telling", [["X"], ["X"]], 1),
        ("a stale helper hands on", [["X", "X"], ["X"], ["G"]], 0),
    ],
)
def test_the_search_finds_a_step_that_is_missing(missing, programs, crashes):
    with pytest.raises(Wrong):
        search(Model(programs, list(range(len(programs))), crashes, broken=missing))


def test_without_admission_readers_wait_for_ever():
    """What keeps the lock fair: a search in which no writer lets the readers in finds one that waits for three."""
    with pytest.raises(Wrong, match="more than two writers"):
        search(Model([["S"], ["X", "X", "X"]], [0, 1], broken="admission"))


# --- the order of stores --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("programs", "rows", "crashes", "passes"), LATE, ids=str)
def test_others_may_see_a_mode_late(programs, rows, crashes, passes):
    assert search(Model(programs, rows, crashes, passes, late=True)) > 100


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize(("programs", "rows", "crashes", "passes"), LATE_AT_LENGTH, ids=str)
def test_others_may_see_a_mode_late_among_many_steps(programs, rows, crashes, passes):
    assert search(Model(programs, rows, crashes, passes, late=True)) > 10_000


def test_what_the_dead_have_stored_must_be_there():
    with pytest.raises(Wrong, match=r"taken for whole|death that was none"):
        search(Model([["X"], ["X"]], [0, 1], 1, late=True, broken="what the dead stored is there"))


# --- rows: claimed, given back, used again --------------------------------------------------------------------------


@pytest.mark.parametrize(("programs", "rows", "crashes", "losses"), TABLES, ids=str)
def test_rows_come_to_processes_and_are_used_again(programs, rows, crashes, losses):
    assert search(Table(programs, rows, crashes, losses)) > 100


@pytest.mark.parametrize(
    ("programs", "rows", "memory", "crashes"),
    [([["X"], ["S"]], 2, 1, 0), ([["S"], ["S"]], 3, 1, 1), ([["S"], ["S"], ["S"]], 4, 1, 0)],
    ids=str,
)
def test_rows_get_memory_as_they_are_needed(programs, rows, memory, crashes):
    model = Table(programs, rows, crashes, memory=memory)
    assert search(model) > 100
    assert "say reserved" in model.reached


def test_the_search_finds_a_row_that_is_used_before_it_has_memory():
    with pytest.raises(Wrong, match="no memory"):
        search(Table([["S"], ["S"]], 2, memory=1, broken="rows get memory before they are used"))


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize(("programs", "rows", "crashes", "losses"), LARGE_TABLES, ids=str)
def test_rows_come_to_many_processes(programs, rows, crashes, losses):
    assert search(Table(programs, rows, crashes, losses)) > 10_000


@pytest.mark.parametrize(
    ("missing", "programs", "rows", "crashes", "losses"),
    [
        ("rows have one owner", [["S"], ["X"]], 2, 0, 0),
        ("a row is counted before its first use", [["S"], ["X"]], 2, 0, 0),
        ("a child has a row of its own", [["S"], ["X"]], 2, 1, 0),
        ("who is lost looks at its row", [["S"], ["X"]], 2, 0, 1),
        ("the row is taken first", [["S"], ["X"]], 2, 0, 1),
        ("cleaners look at the owner again", [["X"], ["X"], ["X"]], 2, 1, 0),
    ],
)
def test_the_search_finds_a_step_with_rows_that_is_missing(missing, programs, rows, crashes, losses):
    with pytest.raises(Wrong):
        search(Table(programs, rows, crashes, losses, broken=missing))
