"""The sdist builds, and the wheel installs and works where there is nothing else."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import address
import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "xctx"
RELEASED = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["cibuildwheel"]

# All that `import xctx` may import besides itself and built-in modules. A new name here slows the start of every
# program that uses xctx: weakref would cost as much as all compiled rooms together, typing, inspect or threading more.
IMPORTS = {
    *("_contextvars", "contextvars"),
    *("collections", "collections.abc", "keyword", "operator", "reprlib", "types"),  # what a named tuple takes
}

pytestmark = pytest.mark.slow


def run(*command, cwd):
    """Run a command that must succeed, away from the tree and its settings, and return what it printed."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env["CFLAGS"] = "-O0"  # what is built is looked at, not measured
    if sys.platform == "linux":
        env |= RELEASED["linux"]["environment"]
    done = subprocess.run(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


def build(kind, source, destination):
    code = f"from setuptools import build_meta; build_meta.build_{kind}({str(destination)!r})"
    run(sys.executable, "-W", "ignore", "-c", code, cwd=source)
    (built,) = destination.iterdir()
    return built


def make_empty_environment(home):
    """The interpreter of an environment with nothing in it, not even pip."""
    venv.create(home, symlinks=os.name != "nt")
    return home / "Scripts" / "python.exe" if os.name == "nt" else home / "bin" / "python"


@pytest.fixture
def sdist(tmp_path):
    """An sdist, made from a copy of what git tracks (or would), so that nothing is left in the tree."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    tracked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not in a git work tree")
    for name in filter(None, tracked.stdout.split("\0")):
        if (ROOT / name).exists():
            copy = tmp_path / "tree" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes((ROOT / name).read_bytes())
    # What a build in the tree may leave behind.
    (tmp_path / "tree" / "xctx" / "_core.so").touch()
    return build("sdist", tmp_path / "tree", tmp_path / "sdist")


def test_the_sdist_has_what_it_builds_from_and_nothing_generated(sdist):
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    suffixes = {".py", ".pyi", ".pyx", ".pxd", ".pxi", ".h", ".c"}
    sources = {str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*") if path.suffix in suffixes}
    assert {name for name in names if name.startswith("xctx/")} == sources | {"xctx/py.typed"}
    assert names >= {"LICENSE", "README.rst", "CHANGES", "pyproject.toml", "setup.cfg", "tests/house/test_packaging.py"}
    assert not [name for name in names if name.endswith((".so", ".pyc"))]


@pytest.mark.thorough
def test_the_wheel_has_the_package_alone_and_works_where_there_is_nothing_else(sdist, tmp_path):
    run(sys.executable, "-m", "tarfile", "--extract", sdist, tmp_path / "unpacked", cwd=tmp_path)
    (source,) = (tmp_path / "unpacked").iterdir()
    with zipfile.ZipFile(build("wheel", source, tmp_path / "wheel")) as archive:
        names = set(archive.namelist())
        (info,) = (name.removesuffix("WHEEL") for name in names if name.endswith("/WHEEL"))
        metadata = archive.read(f"{info}METADATA").decode().splitlines()
        python = make_empty_environment(tmp_path / "empty")
        site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('platlib'))", cwd=tmp_path).strip()
        archive.extractall(site)
        if sys.platform == "linux":
            assert [name for name in names if name.endswith(".so") and b".symtab" in archive.read(name)] == []

    modules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["ext-modules"]
    compiled = {each["name"].replace(".", "/") + sysconfig.get_config_var("EXT_SUFFIX") for each in modules}
    sources = {str(path.relative_to(ROOT)) for suffix in ("py", "pyi") for path in PACKAGE.rglob(f"*.{suffix}")}
    others = {"xctx/py.typed"}
    assert {name for name in names if not name.startswith(info)} == sources | compiled | others
    assert f"{info}licenses/LICENSE" in names
    assert not [line for line in metadata if line.startswith("Requires-Dist") and "; extra ==" not in line]

    code = "import sys; before = set(sys.modules); import xctx; print(*set(sys.modules) - before, sep='\\n')"
    modules = run(python, "-I", "-W", "error", "-c", code, cwd=tmp_path).splitlines()
    own = {name for name in modules if re.match(r"xctx\b|_?cython_", name)}
    assert "xctx" in own
    assert set(modules) - own - set(sys.builtin_module_names) <= IMPORTS

    checked = run(python, "-I", "-W", "error", "-m", "xctx", "--check", cwd=tmp_path).splitlines()
    assert checked[-1].startswith("all is well")
    assert "skip  greenlets are kept apart: greenlet is not installed" in checked
    run(python, "-I", "-W", "error", "-m", "xctx", cwd=tmp_path)
    run(python, "-I", "-W", "error", "-m", "xctx", "--demo", cwd=tmp_path)


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("make"), reason="make and a linker of Linux")
def test_make_dist_leaves_out_the_symbols_as_releases_do():
    told = run("make", "--dry-run", "--print-data-base", "dist", f"PYTHON={sys.executable}", cwd=ROOT)
    assert f"dist: LDFLAGS := {RELEASED['linux']['environment']['LDFLAGS']}" in told


def test_what_is_released_says_where_the_project_lives(tmp_path):
    for name in ("pyproject.toml", "README.rst"):
        shutil.copy(ROOT / name, tmp_path)
    place = "https://git.example/people/xctx"
    address.main([place, "v1.2", "--root", str(tmp_path)])
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]
    assert project["urls"] == {
        "Source": place, "Issues": f"{place}/issues", "Changelog": f"{place}/blob/v1.2/CHANGES",
    }  # fmt: skip
    images = re.findall(r"^\.\. image:: (.*)$", (tmp_path / "README.rst").read_text(), re.MULTILINE)
    (before,) = re.findall(r"^\.\. image:: (.*)$", (ROOT / "README.rst").read_text(), re.MULTILINE)
    assert images == [f"{place}/raw/v1.2/{before}"] and (ROOT / before).exists()
    with pytest.raises(SystemExit):
        address.main([place, "v1.2", "--root", str(tmp_path)])  # a second time
    with pytest.raises(SystemExit):
        address.main(["git@git.example:people/xctx", "v1.2", "--root", str(tmp_path)])
