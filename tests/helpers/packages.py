"""Which packages are installed, and which ones the tests of an interpreter expect.

As a program it prints the dependency groups of pyproject.toml that the tests need on the interpreter that runs it; the
Makefile and the workflows install those (with --pip as pip's options). With the name of a group it prints what that
group requires. It needs nothing but the standard library.
"""

import importlib.metadata
import importlib.util
import os
import re
import sys
import sysconfig
import tomllib
from pathlib import Path

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def groups(version=sys.version_info[:2], free_threaded=FREE_THREADED):
    """The dependency groups of an interpreter's tests.

    A free-threaded 3.13 gets no greenlet, which would switch its GIL on. No free-threaded build gets gevent, mypy, or
    what the examples and the peers are made of, because not all of these have wheels for it.
    """
    if free_threaded:
        return ["test", "test-wire"] + ["test-greenlet"] * (version > (3, 13))
    return ["test", "test-integrations", "test-gevent", "types", "examples", "peers"]


def installed(name):
    """Whether a package could be imported; found out without importing it, which may switch the GIL on."""
    return importlib.util.find_spec(name) is not None


def offers(name):
    """Whether this version of xctx has a public name, and it works on this system."""
    import xctx

    if name == "SharedLock" and hasattr(xctx, name):
        try:
            xctx.SharedLock()
        except NotImplementedError:
            return False
    return hasattr(xctx, name)


def requirements(names):
    """The requirements in dependency groups, with those of the groups that they include."""
    table = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["dependency-groups"]
    for name in names:
        for requirement in table[name]:
            if isinstance(requirement, dict):
                yield from requirements([requirement["include-group"]])
            else:
                yield requirement


def missing():
    """The packages that this interpreter's tests expect and that are not installed.

    Tests that need a missing package are skipped. Where all packages ought to be installed (`CI` is set in the
    environment), that would hide tests for ever, so the run fails (see conftest.py).
    """
    found = set()
    for requirement in requirements(groups()):
        name, _, condition = requirement.partition(";")
        if condition and not holds(condition):
            continue
        name = re.match(r"[\w.-]+", name)[0]
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            found.add(name)
    return sorted(found)


def holds(condition):
    """Whether the condition of a requirement holds here."""
    from packaging.markers import Marker  # pytest needs packaging, so it is there

    return Marker(condition).evaluate()


def ought_to_be_complete():
    """Whether every package that can be installed is expected to be, because `CI` is set."""
    return os.environ.get("CI", "").lower() not in {"", "0", "false"}


if __name__ == "__main__":
    if sys.argv[1:] == ["--pip"]:
        print(*(f"--group {name}" for name in groups()))
    else:
        print(*(requirements(sys.argv[1:]) if sys.argv[1:] else groups()))
