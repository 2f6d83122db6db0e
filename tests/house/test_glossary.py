"""Words: each term of the glossary is used, and no name in the sources has a word that was given up."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [
    path for path in (ROOT / "xctx").rglob("*") if path.suffix in {".py", ".pyi", ".pyx", ".pxd", ".pxi", ".h", ".c"}
]
PAGES = [path for path in [ROOT / "README.rst", *(ROOT / "docs").rglob("*.rst")] if path.name != "glossary.rst"]
TERMS = re.findall(r"^   (\w[\w ]*)$", (ROOT / "docs" / "glossary.rst").read_text(), re.MULTILINE)

RETIRED = {
    *("edition", "enlist", "gate", "holding", "mark", "nap", "rehome", "round"),
    *("rung", "seat", "shelf", "strike", "wall", "way"),
}
# Names in which such a word is plain English, or Python's.
ENGLISH = {"__round__", "_round", "mark", "mark_consistent", "mark_exited", "round", "way", "under_way"}
# Docstrings and other strings, and comments of Python and of C.
NO_CODE = re.compile(
    r"""\"{3}[\s\S]*?\"{3}|#(?!\s*(?:define|if|el|en|er|in|un|pr))[^\n]*|/\*[\s\S]*?\*/|//[^\n]*"""
    r"""|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'"""
)


def words(name):
    """The words that a name consists of, in lower case, without the s of a plural."""
    return {word.lower().removesuffix("s") for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def retired_names(source):
    names = set(re.findall(r"[A-Za-z_]\w*", NO_CODE.sub(" ", source))) - ENGLISH
    return {name: words(name) & RETIRED for name in names if words(name) & RETIRED}


@pytest.mark.parametrize("term", TERMS)
def test_a_term_is_used(term):
    spelled = re.compile(re.escape(term).replace(r"\ ", r"[\s_]*"), re.IGNORECASE)
    assert any(spelled.search(path.read_text(encoding="utf-8")) for path in [*SOURCES, *PAGES])


def test_the_glossary_has_each_term_once():
    assert len(TERMS) > 20
    assert len({term.lower() for term in TERMS}) == len(TERMS)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "xctx")))
def test_no_name_has_a_word_that_was_given_up(path):
    assert retired_names(path.read_text(encoding="utf-8")) == {}


def test_names_are_taken_apart():
    source = '''
    """The wall of a docstring."""
    cdef int SEAT_NAP, walls, HoldingRoom, mark_exited  # a gate
    /* a rung */ int surrounding, seated;
    #define XCTX_GATE "shelf"
    '''
    assert retired_names(source) == {
        "SEAT_NAP": {"seat", "nap"},
        "walls": {"wall"},
        "HoldingRoom": {"holding"},
        "XCTX_GATE": {"gate"},
    }
