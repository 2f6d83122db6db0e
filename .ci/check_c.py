"""Compiles the C of every module once more, generated and written by hand, with all warnings as errors.

It takes the C that Cython made when the tree was built by this interpreter. In that it also looks for what Cython gets
wrong: where memory fails while a comprehension, or `list(…)` of a generator expression, appends an object that it has
just made, Cython 3.3 gives up its reference twice, and the program crashes later. A loop that appends is right, and so
is a comprehension whose elements are variables.
"""

import concurrent.futures
import itertools
import os
import re
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # which PYTHONSAFEPATH leaves out
import build

ROOT = Path(__file__).parents[1]
# A slot has the parameters that CPython hands it, whether or not it uses each.
FLAGS = ["-O0", "-fPIC", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"]
GENERATED = ["-Wno-unused-function"]  # Cython makes some conversions whether or not anything uses them
TWICE = re.compile(r"ListComp_AppendAndDecref\(__pyx\w+, .*__PYX_ERR\(\d+, (\d+),")


def c_of(extension, temporary):
    """Where the C of an extension is: what Cython made, and what is written by hand."""
    for source in map(Path, extension.sources):
        yield temporary / extension.name / source.with_suffix(".c") if source.suffix == ".pyx" else source


def compiled(path, *flags):
    """What the compiler says about a file of C; nothing where it has nothing to say."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC"))
    include = ["-I.", f"-I{sysconfig.get_path('include')}"]
    done = subprocess.run(
        [
            *compiler,
            *FLAGS,
            *flags,
            *(GENERATED if "build" in path.parts else []),
            *include,
            "-c",
            str(path),
            "-o",
            os.devnull,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return done.stderr if done.returncode else ""


def given_up_twice(extension, temporary):
    lines = [line for path in c_of(extension, temporary) for line in TWICE.findall(path.read_text(encoding="utf-8"))]
    return lines and f"{extension.name}: lines {', '.join(lines)} of its source append in a way that Cython gets wrong"


def main():
    temporary = build.default_temporary()
    extensions = build.command(None, temporary)[1].values()
    paths = sorted({path for extension in extensions for path in c_of(extension, temporary)})
    with concurrent.futures.ThreadPoolExecutor(build.cores()) as pool:
        said = list(pool.map(compiled, paths))
        # As on systems where making a lock raises NotImplementedError.
        said += pool.map(
            compiled, [path for path in paths if "_lock" in path.parts], itertools.repeat("-DXCTX_NO_LOCKS=1")
        )
        wrong = list(filter(None, said))
    wrong += [said for extension in extensions if (said := given_up_twice(extension, temporary))]
    print("\n".join(wrong) or f"The C of {len(extensions)} modules gives no warning.")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
