"""Laws of the house: each holds for every module in xctx/, also for those that are yet to come."""

import ast
import importlib
import inspect
import re
import subprocess
import sysconfig
import textwrap
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
INTEGRATIONS = {"xctx.dramatiq", "xctx.gevent", "xctx.mypy", "xctx.rq"}
COMPILED = sorted(dotted(path) for path in PACKAGE.rglob("*.pyx"))


# What is imported


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_alone_and_in_silence(module):
    if module in INTEGRATIONS:
        pytest.importorskip(module.removeprefix("xctx."))
    assert run_script(f"import {module}") == ""


def test_a_public_module_is_imported_when_it_is_first_asked_for():
    script = "import sys, xctx; print('xctx.wsgi' in sys.modules, xctx.wsgi.Middleware.__name__, hasattr(xctx, 'wsgj'))"
    assert run_script(script) == "False Middleware False\n"


def test_each_public_module_can_be_asked_for():
    found = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__", "keys", "mypy"}
    assert {*xctx._MODULES} == found


def test_the_first_class_that_declares_names_imports_little():
    script = """
        import sys, xctx
        before = {*sys.modules}
        class Current(xctx.xlocal):
            user: str = "nobody"
        print(*sorted({*sys.modules} - before))
    """
    imported = run_script(textwrap.dedent(script)).split()
    assert [name for name in imported if not name.startswith("xctx.")] == []


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
    """And imports its public modules when they are first asked for."""
    docstring, *statements = ast.parse((PACKAGE / "__init__.py").read_text()).body
    assert isinstance(docstring, ast.Expr)
    names = []
    assigned = {}
    for statement in statements:
        if isinstance(statement, ast.Assign):
            (target,) = statement.targets
            assigned[target.id] = ast.literal_eval(statement.value)
        elif isinstance(statement, ast.ImportFrom):
            assert statement.level == 1 or statement.module.partition(".")[0] == "xctx"
            imported = [alias.asname or alias.name for alias in statement.names]
            names += [name for name in imported if not name.startswith("_")]
        else:
            assert ast.unparse(statement.test) in ("TYPE_CHECKING", "not TYPE_CHECKING")
            for each in statement.body:
                if isinstance(each, ast.ImportFrom):
                    assert each.module == "xctx"
                    assert {alias.name for alias in each.names} <= {*xctx._MODULES}
                else:
                    assert each.name == "__getattr__"
    assert sorted(names) == sorted(xctx.__all__) == sorted(assigned["__all__"])
    assert set(assigned) == {"TYPE_CHECKING", "__version__", "__all__", "_MODULES"}


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


def shown_of_modules():
    """The names of each public module that docs/api.rst shows, by module; None for all that the module names."""
    shown, module = {}, None
    lines = (ROOT / "docs" / "api.rst").read_text().splitlines()
    for number, line in enumerate(lines):
        if found := re.match(r"\.\. (?:auto|current)?module:: (\S+)", line):
            module = found[1]
            options = re.findall(r"^ +:members:(.*)$", "\n".join(lines[number : number + 2]), re.M)
            members = {name.strip() for name in options[0].split(",")} if options and options[0] else set()
            shown[module] = None if options and not members else shown.get(module, set()) | members
        elif shown.get(module) is not None and (
            found := re.match(r"(?:\.\. (?:auto)?(?:class|function|data|exception)::| {9}) ?(\w+)", line)
        ):
            shown[module].add(found[1])
    return shown


@pytest.mark.parametrize("module", sorted([*xctx._MODULES, "keys"]))
def test_the_manual_shows_every_name_of_a_public_module(module):
    (names,) = (
        ast.literal_eval(node.value)
        for node in ast.parse((PACKAGE / f"{module}.py").read_text()).body
        if (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__")
        or (isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "__all__")
    )
    shown = shown_of_modules()[f"xctx.{module}"]
    assert shown is None or {*names} <= shown


# What is built, written and shipped


EXTENSIONS = {each["name"]: each for each in PROJECT["tool"]["setuptools"]["ext-modules"]}


def test_every_compiled_module_is_built():
    in_c = {dotted(path): path for path in PACKAGE.rglob("*.c") if "PyMODINIT_FUNC" in path.read_text()}
    sources = {module: SOURCES[module] for module in COMPILED} | in_c
    assert {name: extension["sources"][0] for name, extension in EXTENSIONS.items()} == {
        f"xctx.{module}": str(source.relative_to(ROOT)) for module, source in sources.items()
    }


def test_every_folder_is_shipped():
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "xctx").rglob("__init__.py")}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == folders


@pytest.mark.parametrize("module", COMPILED)
def test_a_module_is_rebuilt_when_a_part_of_it_changes(module):
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
