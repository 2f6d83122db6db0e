"""The page of errors: each exception in it is raised as it says, and each that the sources raise is in it."""

import gc
import re
from pathlib import Path

import error_cases
import messages
import pytest
import tables
from helpers.packages import offers

ROOT = Path(__file__).parents[2]
CASES = [case for cases in error_cases.SECTIONS.values() for case in cases]
SOURCES = sorted(
    path
    for path in (ROOT / "xctx").rglob("*")
    # The slots of proxies raise what CPython's own slots raise; __main__ and what it runs programs by have no callers.
    if path.suffix in {".py", ".pyx", ".pxi", ".h"}
    and str(path.relative_to(ROOT / "xctx")) not in {"_proxy/slots.h", "__main__.py", "_patch/program.py"}
)


def pattern(message):
    return re.compile(".+".join(re.escape(part) for part in message.split("…")), re.DOTALL)


@pytest.mark.parametrize(("kind", "message", "when", "cause"), CASES, ids=[case[1][:60] for case in CASES])
def test_it_is_raised_with_its_message(kind, message, when, cause):
    with pytest.raises(kind) as raised:
        cause()
    assert type(raised.value) is kind or kind is LookupError
    assert pattern(message).fullmatch(str(raised.value)), str(raised.value)
    del raised
    gc.collect()


def test_the_page_says_the_same():
    shown = [rows for _, rows in tables.tables((ROOT / "docs" / "errors.rst").read_text())]
    assert all(rows.pop(0) == ["exception", "message", "when"] for rows in shown)
    mine = [error_cases.rows(cases) for cases in error_cases.SECTIONS.values()]
    assert [rows for rows in shown if rows in mine] == mine
    if offers("SharedLock"):  # otherwise the page tells more than there is on this system
        assert shown == mine


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "xctx")))
def test_each_message_of_a_source_is_there(path):
    """Or left out, with a reason. A message of the page may stand for several of the sources."""
    known = [*map(pattern, [case[1] for case in CASES]), *map(pattern, error_cases.LEFT_OUT)]
    if path.parent.name in ("_lock", "_postgres") and not offers("SharedLock"):
        pytest.skip("there are no locks here")
    missing = [
        (kind, said)
        for kind, said in messages.in_source(path.read_text())
        if not any(one.fullmatch(said.replace("…", "'…'")) or one.fullmatch(said) for one in known)
    ]
    assert missing == []


def test_messages_are_found():
    source = """
    raise TypeError(f"{name!r} is " "wrong, " f"not {len(x):>3}")
    raise ValueError()
    raise error
    PyErr_Format(PyExc_KeyError, "%.100s at %zd%%", a, b);
    PyErr_Format(AttributeError, "no %S", a)
    """
    assert list(messages.in_source(source)) == [
        ("TypeError", "… is wrong, not …"),
        ("KeyError", "… at …%"),
        ("AttributeError", "no …"),
    ]
