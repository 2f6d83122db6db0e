"""Finds what each compiled module is built from, and writes it into the lists of pyproject.toml.

    python .ci/dependencies.py

setuptools builds a module anew when a file changes that its `sources` or `depends` name. It looks into none of them.
tests/house/test_house.py compares the lists with what is found here.
"""

import json
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
SETTINGS = ROOT / "pyproject.toml"

INCLUDES = re.compile(r"""^\s*(?:cdef extern from|include|#\s*include) "([\w./]+)\"""", re.MULTILINE)
CIMPORTS = re.compile(
    r"^\s*(?:from\s+(xctx[.\w]*)\s+cimport\s+(\([^)]*\)|[^\n]*)|cimport\s+(xctx[.\w]*))", re.MULTILINE
)


def directly(path):
    """The files of the project that a source includes or cimports: .h, .pxi and .pxd."""
    text = path.read_text(encoding="utf-8")
    for name in INCLUDES.findall(text):
        yield from (inside for inside in (ROOT / name, path.parent / name) if inside.exists())
    for package, names, whole in CIMPORTS.findall(text):
        candidates = [whole or package]
        candidates += [f"{package}.{name.split()[0]}" for name in names.strip("()").split(",") if name.strip()]
        for name in candidates:
            declarations = (ROOT / name.replace(".", "/")).with_suffix(".pxd")
            if declarations.exists():
                yield declarations
    if path.suffix in {".pyx", ".pxd"} and path.with_suffix(".pxd").exists():
        yield path.with_suffix(".pxd")


def found(sources):
    """All that modules are built from besides their sources, as paths from the root, in order."""
    seen, ahead = set(), [ROOT / source for source in sources]
    while ahead:
        path = ahead.pop().resolve()
        if path not in seen:
            seen.add(path)
            ahead += directly(path)
    return sorted({path.relative_to(ROOT).as_posix() for path in seen} - {*sources})


def extensions():
    return tomllib.loads(SETTINGS.read_text())["tool"]["setuptools"]["ext-modules"]


def main():
    text = SETTINGS.read_text()
    for extension in extensions():
        line = re.compile(rf'(\{{ name = "{re.escape(extension["name"])}", .*\bdepends = )\[[^]]*\]')
        text, count = line.subn(lambda match: match[1] + json.dumps(found(extension["sources"])), text)  # noqa: B023
        if count != 1:
            raise SystemExit(f"pyproject.toml: the extension {extension['name']} needs a line with `depends = []`")
    if text != SETTINGS.read_text():
        SETTINGS.write_text(text)
        print("pyproject.toml: the lists of dependencies are written anew")


if __name__ == "__main__":
    main()
