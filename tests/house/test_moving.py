"""The tables of docs/moving.rst: each row is what both sides do here, and where they differ there is a row."""

from pathlib import Path

import moving
import pytest
import tables
from helpers.units import THREAD_INHERITS

PAGE = Path(__file__).parents[2] / "docs" / "moving.rst"
SHOWN = {
    comment.removeprefix("changes: "): rows
    for comment, rows in tables.tables(PAGE.read_text())
    if comment and comment.startswith("changes: ")
}


@pytest.mark.parametrize("peer", moving.PEERS)
def test_what_changes_is_what_the_table_says(peer):
    if not moving.can_be_asked(peer):
        pytest.skip(f"{moving.PEERS[peer]} or gevent is not installed here")
    header, *rows = SHOWN[peer]
    assert header == ["", f"``{peer}``", "xctx"]
    assert rows == moving.table(peer)


@pytest.mark.parametrize("peer", moving.PATCHED)
def test_a_patched_program_meets_what_the_table_says_and_no_more(peer):
    if not moving.can_be_asked(peer):
        pytest.skip(f"{moving.PEERS[peer]} or gevent is not installed here")
    said = SHOWN[peer]
    if peer == "asgiref.local.Local" and THREAD_INHERITS:
        said = [*said, ["a forked child", "has the parent's", "starts empty"]]  # the key `flow` there: docs/patch.rst
    unsaid = [row for row in moving.patched(peer) if row not in said]
    assert unsaid == []


def test_each_peer_has_its_table():
    assert set(SHOWN) == set(moving.PEERS)
