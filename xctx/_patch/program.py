"""``python -m xctx run``: runs a program or module as the interpreter does, patched."""

import atexit
import io
import os
import runpy
import sys
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pkgutil import get_importer
from types import ModuleType, TracebackType
from typing import Any

from xctx._patch import environment
from xctx._patch.handles import report

USAGE = """\
usage: python -m xctx run [option ...] program.py [argument ...]
       python -m xctx run [option ...] -m module [argument ...]

Runs a program with xctx's classes in place of those of other libraries, and the interpreters that it starts.

  --locals       the stores of threading, gevent, werkzeug and asgiref
  --proxies      werkzeug's LocalProxy, and Flask's proxies
  --carry        threads and pools take along what is bound where they are given work
  --all          all three
  --allow NAME   --carry only for threads and work that this module or package starts; may be repeated
  --deny NAME    --carry for all but this module or package; may be repeated
  --report       at the end, on stderr: what was replaced, and what was not
  --no-children  only this interpreter, and what it forks

Without any of the first four: --locals --proxies."""


MAIN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "__main__.py")


class Misused(Exception):
    """The command line makes no sense. The argument says why."""


def main(arguments: list[str]) -> int | None:
    """Runs a command line. Gives the exit status, or None where the program has run to its end."""
    try:
        wish, options, program = parse(arguments)
    except Misused as exc:
        print(f"{USAGE}\n\npython -m xctx run: {exc}", file=sys.stderr)
        return 2
    if "--help" in options:
        print(USAGE)
        return 0
    if "--no-children" not in options:
        environment.tell_children(wish, os.environ)
    wish.fulfil()
    if "--report" in options:
        atexit.register(print_report, os.getpid())
    run_module(program[1:]) if program[0] == "-m" else run_file(program)
    return None


def parse(arguments: list[str]) -> tuple[environment.Wish, set[str], list[str]]:
    """What to patch, the other options, and the program with its arguments."""
    rest = list(arguments)
    options: set[str] = set()
    lists: dict[str, list[str]] = {"--allow": [], "--deny": []}
    while rest and rest[0].startswith("-") and rest[0] != "-m":
        option, equals, value = rest.pop(0).partition("=")
        if option in lists:
            if not equals and not rest:
                raise Misused(f"{option} needs the name of a module")
            lists[option].append(value if equals else rest.pop(0))
        elif option in ("-h", "--help"):
            return environment.Wish(()), {"--help"}, []
        elif option in ("--locals", "--proxies", "--carry", "--all", "--report", "--no-children") and not equals:
            options.add(option)
        else:
            raise Misused(f"there is no option {option}")
    if not rest or rest == ["-m"]:
        raise Misused("there is no module to run" if rest else "there is no program to run")
    parts = tuple(part for part in environment.PARTS if {f"--{part}", "--all"} & options) or ("locals", "proxies")
    allow, deny = lists["--allow"], lists["--deny"]
    if (allow or deny) and "carry" not in parts:
        raise Misused("--allow and --deny are about --carry")
    if allow and deny:
        raise Misused("--allow and --deny cannot both be given")
    return environment.Wish(parts, tuple(allow) or None, tuple(deny)), options, rest


def print_report(process: int) -> None:
    if os.getpid() != process:  # a child that was forked
        return
    for finding in report():
        print(f"xctx: {finding}", file=sys.stderr)


# --- as the interpreter does it --------------------------------------------------------------------------------------

_kept: list[ModuleType] = []  # the module that was __main__, because its names would be gone if it died


def new_main() -> ModuleType:
    """An empty module in place of the one that was started."""
    made = ModuleType("__main__")
    vars(made)["__builtins__"] = sys.modules["builtins"]
    old = sys.modules["__main__"]
    if "__annotations__" in vars(old):  # up to 3.13 the interpreter gives __main__ one
        vars(made)["__annotations__"] = {}
    _kept.append(old)
    sys.modules["__main__"] = made
    return made


def run_module(arguments: list[str]) -> None:
    """As ``python -m``."""
    new_main()
    sys.argv[:] = arguments
    # Private, but what the interpreter itself calls: __main__ is the module, for what pickles and spawns by that name.
    run: Any = runpy._run_module_as_main  # type: ignore[attr-defined]
    without_our_frames(lambda: run(arguments[0]))


def run_file(arguments: list[str]) -> None:
    """As ``python program.py``, also where that is a folder or a zip file with a __main__.py."""
    path = arguments[0]
    sys.argv[:] = arguments
    names = vars(new_main())
    if get_importer(path) is not None:
        begin_path(os.path.abspath(path), replace=False)
        run: Any = runpy._run_module_as_main  # type: ignore[attr-defined]
        without_our_frames(lambda: run("__main__", False))
        return
    begin_path(os.path.dirname(os.path.realpath(path)), replace=True)
    path = os.path.abspath(path)
    try:
        with io.open_code(path) as file:
            source = file.read()
    except OSError as exc:
        print(f"{sys.executable}: can't open file {path!r}: [Errno {exc.errno}] {exc.strerror}", file=sys.stderr)
        raise SystemExit(2) from None
    names.update(__file__=path, __loader__=SourceFileLoader("__main__", path), __package__=None, __spec__=None)
    if sys.version_info < (3, 15):  # later versions set it in no module
        names.update(__cached__=None)

    def run_source() -> None:
        exec(compile(source, path, "exec", dont_inherit=True), names)

    without_our_frames(run_source)


def begin_path(folder: str, *, replace: bool) -> None:
    """Makes imports look into a folder first, in place of the one that the interpreter put there for ``-m``."""
    if sys.flags.safe_path:
        if not replace:
            sys.path.insert(0, folder)
        return
    if sys.path:
        sys.path[0] = folder
    else:
        sys.path.append(folder)


def without_our_frames(run: Callable[[], object]) -> None:
    """Runs the program; the traceback of what it does not catch begins with the program."""
    try:
        run()
    except SystemExit:
        raise
    except BaseException:
        hook = sys.excepthook

        def show(kind: type[BaseException], value: BaseException, traceback: TracebackType | None) -> None:
            while traceback is not None and is_ours(traceback):
                traceback = traceback.tb_next
            value.__traceback__ = traceback
            hook(kind, value, traceback)

        sys.excepthook = show
        raise


def is_ours(traceback: TracebackType) -> bool:
    file = traceback.tb_frame.f_code.co_filename
    return file in (__file__, "<frozen runpy>", runpy.__file__) or file == MAIN
