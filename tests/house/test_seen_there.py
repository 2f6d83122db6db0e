"""The table of docs/units.rst that says where a binding is seen: each row is what the real packages do here."""

import os
import sys
from pathlib import Path

import pytest
import seen_there
import tables

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "units.rst"
HEADER, *ROWS = next(rows for comment, rows in tables.tables(PAGE.read_text()) if comment == "seen: there")
ROWS = {row[0]: row[1:] for row in ROWS}


@pytest.mark.parametrize("place", seen_there.PLACES, ids=lambda place: place.look.__name__)
def test_the_page_says_what_is_seen(place):
    if place.missing:
        pytest.skip(f"{', '.join(place.missing)} is not installed here")
    if sys.version_info < place.since:
        pytest.skip("not in this version of Python")
    if "fork" in place.title and not hasattr(os, "fork"):
        pytest.skip("nothing forks here")
    seen = dict(zip(seen_there.COLUMNS, seen_there.look(place), strict=True))
    said = dict(zip(seen_there.COLUMNS, ROWS[place.title], strict=True))
    assert seen == {column: seen_there.holds(cell) for column, cell in said.items()}


def test_each_place_has_its_row():
    assert list(ROWS) == [place.title for place in seen_there.PLACES]
    assert [column.strip("`") for column in HEADER[1:]] == seen_there.COLUMNS


@pytest.mark.parametrize("page", sorted(DOCS.glob("your_program/*.rst")), ids=lambda page: page.name)
def test_rows_of_other_pages_are_cut_from_it(page):
    for comment, ((_, *columns), *rows) in tables.tables(page.read_text()):
        if comment == "seen: cut":
            for title, *cells in rows:
                said = dict(zip(HEADER[1:], ROWS[title], strict=True))
                assert cells == [said[column] for column in columns], title


def test_the_flow_is_what_a_context_variable_is_but_for_forks_and_inheritance():
    for title, cells in ROWS.items():
        said = dict(zip(seen_there.COLUMNS, cells, strict=True))
        if "fork" in title or said["ContextVar"] == "if inherited":
            assert said["flow"] == "no", title
        elif "Thread(context=" in title:  # where threads inherit, it cannot be told from what was inherited
            assert (said["flow"], said["ContextVar"]) == ("unless inherited", "yes")
        else:
            assert said["flow"] == said["ContextVar"], title
