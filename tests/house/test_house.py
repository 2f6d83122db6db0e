"""Laws of the house: each holds for every module in xctx/, also for those that are yet to come."""

import ast
import importlib
import inspect
import re
import subprocess
import sysconfig
import tomllib
from pathlib import Path

import dependencies
import pytest
from helpers.effort import EXAMPLES
from helpers.interpreters import run_script

import xctx

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "xctx"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# From the ground up: a module imports only what stands before it. A new module gets its place here.
ORDER = [
    *(
        "_runtime.runtime",
        "_runtime.scheduling",
        "_runtime.units",
        "_runtime.importable",
        "_runtime.functions",
        "_runtime.wrappers",
        "_runtime.parking",
        "_core",
    ),
    *("_stores.names", "_stores.declare", "_stores.bindings", "_stores.blocks", "_stores.statements"),
    *("_stores.scopes", "_stores.xlocal"),
    *("_stores.unit_table", "_stores.values", "_stores.context_values", "_stores.local", "_stores.inspection"),
    *("_wire.carried", "_wire.fields", "_carry.portable", "_carry.isolate", "_carry.carry", "_proxy.proxy"),
    *("_batch.prefetch", "_batch.batch", "_wire.baggage"),
    *("_lock.names", "_lock.waiting", "_lock.hold", "_lock.lock"),
    *("keys", "debug", "_carry.spawn", "concurrent", "gevent"),
    *("wire", "wsgi", "asgi", "celery", "dask", "telemetry", "logging", "__init__", "__main__"),
]


def dotted(path):
    """The name of a module below xctx."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


# What marks a folder as a package of rooms holds nothing but a docstring.
FOLDERS = sorted(path for path in PACKAGE.glob("*/__init__.py"))
SOURCES = {
    dotted(path): path for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyx")]) if path not in FOLDERS
}
MODULES = ["xctx" if stem == "__init__" else f"xctx.{stem}" for stem in SOURCES]
# Those that import a package which may not be there, and which is not to be judged with them.
INTEGRATIONS = {"xctx.gevent"}
COMPILED = sorted(dotted(path) for path in PACKAGE.rglob("*.pyx"))


# What is imported


def imported_modules(path):
    """The modules of xctx that a source file imports or cimports, wherever in the file it does."""
    statement = re.compile(
        r"^\s*(?:from\s+(?P<source>xctx[.\w]*)\s+c?import\s+(?P<names>\([^)]*\)|[^\n]*)|c?import\s+(?P<whole>xctx[^\n]*))",
        re.MULTILINE,
    )
    for match in statement.finditer(path.read_text()):
        if match["whole"]:
            names = re.findall(r"xctx(?:\.([\w.]+))?", match["whole"])
        else:
            inside = match["source"].removeprefix("xctx").removeprefix(".")
            imported = re.sub(r"#.*", "", match["names"]).strip("()").split(",")
            names = [inside or "__init__"]
            for name in imported:
                module = f"{inside}.{name.split()[0]}".removeprefix(".") if name.strip() else ""
                if module in SOURCES:
                    names = [each for each in names if each != (inside or "__init__")] + [module]
        yield from (name or "__init__" for name in names)


@pytest.mark.parametrize("module", SOURCES)
def test_imports_go_down_only(module):
    below = ORDER[: ORDER.index(module)]
    for path in (SOURCES[module], SOURCES[module].with_suffix(".pxd")):
        if path.exists():
            assert set(imported_modules(path)) <= set(below)


@pytest.mark.parametrize("path", FOLDERS, ids=lambda path: path.parent.name)
def test_a_folder_imports_nothing(path):
    assert [type(statement) for statement in ast.parse(path.read_text()).body] == [ast.Expr]


@pytest.mark.parametrize(
    ("line", "modules"),
    [
        ("from xctx._core cimport Unit, unit", ["_core"]),
        ("    from xctx import _core", ["_core"]),
        ("from xctx._stores.xlocal import (\n    xlocal,\n    Scope,\n)", ["_stores.xlocal"]),
        ("from xctx._lock import names, waiting", ["_lock.names", "_lock.waiting"]),
        ("cimport xctx._core", ["_core"]),
        ("import xctx", ["__init__"]),
        ("from xctx import xlocal", ["__init__"]),
        ("from cpython.object cimport PyObject\nimport weakref", []),
    ],
)
def test_what_counts_as_an_import(line, modules, tmp_path):
    path = tmp_path / "room.pyx"
    path.write_text(line)
    assert list(imported_modules(path)) == modules


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_alone_and_in_silence(module):
    if module in INTEGRATIONS:
        pytest.importorskip(module.removeprefix("xctx."))
    assert run_script(f"import {module}") == ""


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this interpreter always has a GIL")
@pytest.mark.parametrize("module", sorted({*MODULES} - INTEGRATIONS))
def test_importing_leaves_the_gil_off(module):
    script = f"import sys, {module}; print(sys._is_gil_enabled())"
    assert run_script(script, without=["PYTHON_GIL"]) == "False\n"


def test_importing_touches_no_greenlet_that_happens_to_be_installed(tmp_path):
    for name in ("greenlet", "gevent", "trio"):
        (tmp_path / f"{name}.py").write_text("raise AssertionError('imported')")
    assert run_script("import xctx", path=[tmp_path]) == ""


# What the tests draw


def test_examples_are_the_same_at_each_run_unless_new_ones_are_asked_for():
    from hypothesis import settings

    assert settings.default.derandomize is not bool(EXAMPLES)
    others = [path for path in sorted((ROOT / "tests").rglob("*.py")) if path.name != "effort.py"]
    own = re.compile(r"max_examples=(?!examples\()|derandomize=|database=|load_profile\(")
    assert [path.name for path in others if path != Path(__file__) and own.search(path.read_text())] == []


# What is public


def test_the_facade_only_re_exports():
    docstring, *statements = ast.parse((PACKAGE / "__init__.py").read_text()).body
    assert isinstance(docstring, ast.Expr)
    names = []
    for statement in statements:
        if isinstance(statement, ast.Assign):
            assert [ast.unparse(target) for target in statement.targets] == ["__all__"]
            assert ast.literal_eval(statement.value) == xctx.__all__
        else:
            assert isinstance(statement, ast.ImportFrom)
            assert statement.level == 1 or statement.module.partition(".")[0] == "xctx"
            names += [alias.asname or alias.name for alias in statement.names]
    assert sorted(names) == sorted(xctx.__all__)


def test_all_names_what_is_there():
    assert len(set(xctx.__all__)) == len(xctx.__all__)
    for name in xctx.__all__:
        assert not name.startswith("_")
        assert hasattr(xctx, name)


@pytest.mark.parametrize("module", COMPILED)
def test_a_compiled_module_has_a_stub(module):
    assert SOURCES[module].with_suffix(".pyi").exists()


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.pyi")), ids=dotted)
def test_a_stub_names_all_that_the_module_does(path):
    """stubtest compares `__all__` only where the module has one: a stub must not claim one by itself."""
    module = importlib.import_module(f"xctx.{dotted(path)}")
    claimed = [
        list(ast.literal_eval(node.value))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    assert claimed == ([list(module.__all__)] if hasattr(module, "__all__") else [])


def public_members():
    for name in xctx.__all__:
        value = getattr(xctx, name)
        yield name, value
        if inspect.isclass(value) or inspect.ismodule(value):
            for member, inner in vars(value).items():
                described = inspect.isroutine(inner) or inspect.isclass(inner) or inspect.isdatadescriptor(inner)
                ours = inspect.isclass(value) or getattr(inner, "__module__", "").startswith("xctx")
                if described and ours and not member.startswith("_"):
                    yield f"{name}.{member}", inner


def test_every_public_name_says_what_it_is():
    assert xctx.__doc__
    assert [name for name, value in public_members() if not (inspect.getdoc(value) or "").strip()] == []


def test_the_manual_shows_every_public_name():
    page = (ROOT / "docs" / "api.rst").read_text()
    directives = re.findall(
        r"^\.\. auto(?:class|function|module|exception|data):: (?:xctx\.)?(\w+)", page, re.MULTILINE
    )
    assert set(directives) >= set(xctx.__all__)


# What is built, written and shipped


EXTENSIONS = {each["name"]: each for each in PROJECT["tool"]["setuptools"]["ext-modules"]}


def test_every_compiled_module_is_built():
    assert {name: extension["sources"][0] for name, extension in EXTENSIONS.items()} == {
        f"xctx.{module}": str(SOURCES[module].relative_to(ROOT)) for module in COMPILED
    }


def test_every_folder_is_shipped():
    folders = {f"xctx.{path.parent.name}" for path in FOLDERS}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == {"xctx"} | folders


@pytest.mark.parametrize("module", COMPILED)
def test_a_module_is_built_anew_when_a_part_of_it_changes(module):
    """`make dependencies` writes the lists."""
    extension = EXTENSIONS[f"xctx.{module}"]
    assert set(extension["depends"]) == set(dependencies.found(extension["sources"]))


@pytest.mark.parametrize("module", COMPILED)
def test_a_module_that_reads_the_runtimes_state_connects_to_it(module):
    """Until then the module's pointers to that state are NULL."""
    reads = "xctx/_runtime/state.h" in EXTENSIONS[f"xctx.{module}"]["depends"] and module != "_runtime.runtime"
    assert ("\nconnect()\n" in SOURCES[module].read_text()) == reads


def test_what_counts_as_a_part(tmp_path, monkeypatch):
    monkeypatch.setattr(dependencies, "ROOT", tmp_path)
    room = tmp_path / "xctx" / "_room"
    room.mkdir(parents=True)
    for name, text in {
        "room.pyx": 'include "part.pxi"\nfrom xctx._room.other cimport thing\n',
        "room.pxd": 'cdef extern from "xctx/_room/room.h":\n    int x\n',
        "room.h": '#include <stdio.h>\n#include "inner.h"\n',
        "inner.h": '#include "room.h"\n',
        "part.pxi": "",
        "other.pxd": "from xctx._room cimport deep\n",
        "deep.pxd": "",
        "cold.c": '#include "xctx/_room/cold.h"\n',
        "cold.h": "",
        "stranger.h": "",
    }.items():
        (room / name).write_text(text)
    found = dependencies.found(["xctx/_room/room.pyx", "xctx/_room/cold.c"])
    names = ["cold.h", "deep.pxd", "inner.h", "other.pxd", "part.pxi", "room.h", "room.pxd"]
    assert found == [f"xctx/_room/{name}" for name in names]


def test_no_generated_c_lies_beside_its_source():
    """Those are built elsewhere. C that is written by hand has a name of its own, and git ignores none of it."""
    assert [path for path in PACKAGE.rglob("*.c") if path.with_suffix(".pyx").exists()] == []


def test_builds_in_the_tree_use_what_other_builds_use():
    assert PROJECT["dependency-groups"]["build"] == PROJECT["build-system"]["requires"]
    assert PROJECT["dependency-groups"]["examples"] == PROJECT["project"]["optional-dependencies"]["examples"]
    assert "dependencies" not in PROJECT["project"]


def test_no_file_names_a_machine_or_a_registry():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not in a git work tree")
    # Written so that this file does not name them either.
    places = re.compile(r"/(?:root|home|Users|work)/\w|\b(?:pypi[.]org|pythonhosted[.]org)\b")
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        text = (ROOT / name).read_bytes().decode(errors="replace") if (ROOT / name).exists() else ""
        found += [f"{name}: {match[0]}" for match in places.finditer(text)]
    assert found == []
