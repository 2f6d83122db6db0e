"""The rooms: each file has its place, and uses only what lies below it.

README.rst has the rooms from the ground up, and each room's ``__init__.py`` has its files.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "xctx"
ENDINGS = {".py", ".pyx", ".pxd", ".pxi", ".pyi", ".h", ".c"}


# --- places --------------------------------------------------------------------------------------------------------


def files_of(names):
    """``runtime.pyx .pxd .pyi``: three files."""
    first, *endings = names.split()
    stem, ending = first.split(".")
    return [f"{stem}.{ending}", *(f"{stem}{each}" for each in endings)]


def table(text, cell):
    """The rows of a simple table: the first cell, which is `cell` throughout, and the text of the second."""
    rows = []
    for line in text.splitlines():
        if found := re.fullmatch(rf"({cell})  +(\S.*)", line):
            rows.append([found[1], found[2]])
        elif rows and re.fullmatch(r" {8,}\S.*", line):
            rows[-1][1] += " " + line.strip()
    return rows


FILES = r"\w+(?: ?\.(?:py|pyx|pxd|pxi|pyi|h|c))+"


def room_files(folder):
    """The files of a room as its ``__init__.py`` names them, those of one line together."""
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    return [files_of(names) for names, _ in table(docstring, FILES)]


def house():
    """All files of the package, from the ground up, as paths below it: groups of those that may use each other."""
    groups = []
    for names, told in table((ROOT / "README.rst").read_text(), r"``xctx/[^`]*``"):
        place = names.strip("`").removeprefix("xctx/")
        if place.endswith("/"):
            groups += [[f"{place}{file}" for file in files] for files in room_files(PACKAGE / place)]
            groups.append([f"{place}__init__.py"])
        elif place == "*.py":
            groups += [[f"{name}.py"] for name in re.findall(r"``(\w+)``", told)]
        else:
            groups.append(files_of(place))
    return groups


HOUSE = house()
PLACED = [file for files in HOUSE for file in files]
TREE = sorted(
    path.relative_to(PACKAGE).as_posix()
    for path in PACKAGE.rglob("*")
    if path.suffix in ENDINGS and "__pycache__" not in path.parts
)


def where(file):
    """Where a file that has no place is to be named, in words."""
    folder = Path(file).parent
    return f"the docstring of xctx/{folder}/__init__.py" if folder.name else "README.rst's table of the house"


def test_each_file_is_named_in_one_place():
    strays = [f"{file}: name it in {where(file)}" for file in TREE if file not in PLACED]
    gone = [f"{file}: there is no such file, but {where(file)} names it" for file in PLACED if file not in TREE]
    twice = [f"{file}: named twice" for file in sorted({*PLACED}) if PLACED.count(file) > 1]
    assert [*strays, *gone, *twice] == []


def test_files_are_found_in_a_docstring():
    text = "Idea.\n\nruntime.pyx .pxd .pyi  holds it,\n                       all of it\nplatform.h             that\n"
    rows = table(text, FILES)
    assert rows == [["runtime.pyx .pxd .pyi", "holds it, all of it"], ["platform.h", "that"]]
    assert files_of(rows[0][0]) == ["runtime.pyx", "runtime.pxd", "runtime.pyi"]


# --- what is imported ----------------------------------------------------------------------------------------------

IMPORTS = re.compile(
    r"^\s*(?:from\s+(?P<source>xctx[.\w]*)\s+c?import\s+(?P<names>\([^)]*\)|[^\n]*)|c?import\s+(?P<whole>xctx[^\n]*))",
    re.MULTILINE,
)
INCLUDES = re.compile(r"""^\s*(?:cdef extern from|include|#\s*include) "([\w./]+)\"""", re.MULTILINE)


def modules():
    """Each module, by its dotted name below the package: the files of which it consists."""
    found = {}
    for file in PLACED:
        path = Path(file)
        if path.suffix in {".py", ".pyx", ".pxd"} or (
            path.suffix == ".c" and "PyMODINIT_FUNC" in (PACKAGE / path).read_text()
        ):
            found.setdefault(".".join(path.with_suffix("").parts), []).append(file)
    return found


MODULES = modules()


def imported(text):
    """The modules that a source imports or cimports, wherever in the file: dotted names below the package."""
    for match in IMPORTS.finditer(text):
        if match["whole"]:
            for name in match["whole"].split(","):
                yield name.split()[0].removeprefix("xctx").removeprefix(".") or "__init__"
            continue
        package = match["source"].removeprefix("xctx").removeprefix(".")
        names = [
            name.split()[0] for name in re.sub(r"#.*", "", match["names"]).strip("() \n").split(",") if name.strip()
        ]
        inside = [f"{package}.{name}".removeprefix(".") for name in names]
        yield from dict.fromkeys(each if each in MODULES else package or "__init__" for each in inside)


def used(file):
    """The files that a file uses: what it imports, cimports and includes."""
    path = PACKAGE / file
    text = path.read_text(encoding="utf-8")
    for module in imported(text):
        yield from MODULES.get(module, [module])
    for name in INCLUDES.findall(text):
        for inside in (ROOT / name, path.parent / name):
            if inside.is_relative_to(PACKAGE) and inside.exists():
                yield inside.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("file", [file for file in PLACED if not file.endswith(".pyi")])
def test_a_file_uses_only_what_is_below_it(file):
    level = {each: number for number, files in enumerate(HOUSE) for each in files}
    here = level[file]
    if file.endswith(".c"):  # may include any header of its room: what calls what in C is for the headers to say
        here = max(number for each, number in level.items() if Path(each).parent == Path(file).parent)
    above = [each for each in dict.fromkeys(used(file)) if each not in level or level[each] > here]
    assert above == [], f"{file} comes before them in {where(file)}, or in README.rst's table of the house"


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("from xctx._core cimport Key, as_key", ["_core"]),
        ("    from xctx import _core", ["_core"]),
        ("from xctx._stores.xlocal import (\n    xlocal,\n    Scope,\n)", ["_stores.xlocal"]),
        ("from xctx._carry import policy, calls", ["_carry.policy", "_carry.calls"]),
        ("cimport xctx._core", ["_core"]),
        ("import xctx", ["__init__"]),
        ("from xctx import xlocal", ["__init__"]),
        ("from cpython.object cimport PyObject\nimport weakref", []),
    ],
)
def test_what_counts_as_an_import(line, names):
    assert list(imported(line)) == names


@pytest.mark.parametrize("folder", sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()))
def test_a_room_imports_nothing_by_itself(folder):
    tree = ast.parse((PACKAGE / folder / "__init__.py").read_text())
    assert [type(statement) for statement in tree.body] == [ast.Expr]
