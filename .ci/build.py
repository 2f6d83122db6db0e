"""Builds the compiled modules: several at a time, and only those whose sources, flags or compilers have changed.

    python .ci/build.py                   into the tree
    python .ci/build.py --into DIRECTORY  into a directory, with the rest of the package

`pip install .` needs none of this: it builds the same extensions, which stand in pyproject.toml, one after the other.
setuptools would compile several at a time in threads of one process, where Cython's compiler cannot run; so each module
is built in a process of its own, by setuptools' own command.
"""

import argparse
import concurrent.futures
import contextlib
import hashlib
import io
import json
import os
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

from setuptools import Distribution

sys.path.insert(0, str(Path(__file__).parent))  # which PYTHONSAFEPATH leaves out
import dependencies

ROOT = Path(__file__).parents[1]
# What CFLAGS and the like were when a module was built is not seen in any file.
VARIABLES = ["CC", "CFLAGS", "CPPFLAGS", "LDFLAGS", "LDSHARED"]


def default_temporary():
    """Where what belongs to builds in the tree is kept, for this interpreter."""
    return ROOT / "build" / f"tree-{sys.implementation.cache_tag}{getattr(sys, 'abiflags', '')}"


def cores():
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def command(into, temporary):
    """setuptools' command that builds extensions, and all extensions by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that tables of pyproject.toml which are in use are still "beta"
        distribution = Distribution()
        distribution.parse_config_files()
    distribution.script_name = ""  # build_py compares it with what it copies
    build = distribution.get_command_obj("build_ext")
    build.build_temp = str(temporary)
    if into:
        build.build_lib = str(into)
    else:
        build.inplace = True
    build.ensure_finalized()
    return build, {extension.name: extension for extension in distribution.ext_modules}


def fingerprint(extension):
    """Tells all that a module is built from, and with, but not when a file was touched."""
    described = {name: str(value) for name, value in sorted(vars(extension).items())}
    environment = {name: os.environ.get(name) for name in VARIABLES}
    tools = [version("setuptools"), version("Cython"), sys.version, (ROOT / "setup.cfg").read_text()]
    told = json.dumps([described, environment, tools])
    parts = [*extension.sources, *dependencies.found(extension.sources)]
    sources = b"".join(Path(path).read_bytes() for path in parts)
    return hashlib.sha256(told.encode() + sources).hexdigest()


def build_one(name, into, temporary):
    """Builds a module, in a process of its own. Gives how long it took, or fails with what the compilers said."""
    begin = time.monotonic()
    said = io.StringIO()
    build, extensions = command(into, temporary / name)
    build.force = True
    build.extensions = [extensions[name]]
    build.finalized = True
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            build.run()
    except BaseException as error:
        raise RuntimeError(f"{said.getvalue()}{type(error).__name__}: {error}") from None
    return time.monotonic() - begin, said.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--into", type=Path, metavar="DIRECTORY", help="build here, and copy the rest of the package")
    parser.add_argument("--temporary", type=Path, metavar="DIRECTORY", help="where to keep what is in between")
    parser.add_argument("--jobs", "-j", type=int, default=0, help="how many at a time (as many as there are cores)")
    options = parser.parse_args()
    os.chdir(ROOT)

    temporary = options.temporary or default_temporary()
    build, extensions = command(options.into, temporary)
    stamps = {name: temporary / name / "fingerprint" for name in extensions}
    wanted = {name: fingerprint(extension) for name, extension in extensions.items()}

    def is_built(name):
        stamp = stamps[name]
        there = stamp.exists() and Path(build.get_ext_fullpath(name)).exists()
        return there and stamp.read_text() == wanted[name]

    # The largest first, so that the last one to be ready is a small one.
    stale = [name for name in extensions if not is_built(name)]
    stale.sort(key=lambda name: -sum(Path(source).stat().st_size for source in extensions[name].sources))
    if options.into:
        copy = build.distribution.get_command_obj("build_py")
        copy.build_lib = str(options.into)
        copy.ensure_finalized()
        copy.run()
    if not stale:
        return 0
    jobs = min(options.jobs or cores(), len(stale))
    begin = time.monotonic()
    print(f"Building {len(stale)} of {len(extensions)} modules, {jobs} at a time…", flush=True)
    failed = 0
    with concurrent.futures.ProcessPoolExecutor(jobs) as pool:
        running = {pool.submit(build_one, name, options.into, temporary): name for name in stale}
        for number, done in enumerate(concurrent.futures.as_completed(running), 1):
            name = running[done]
            try:
                seconds, said = done.result()
            except RuntimeError as error:
                failed += 1
                print(f"{name} failed:\n{error}", file=sys.stderr, flush=True)
                continue
            stamps[name].write_text(wanted[name])
            print(f"  {number:>2} of {len(stale)}  {name}  {seconds:.0f} s", flush=True)
            if "warning" in said.lower():
                print(said, flush=True)
    if failed:
        return 1
    print(f"Built in {time.monotonic() - begin:.0f} s.", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
