"""``python -m xctx run``: what a program finds is what the interpreter itself would give it."""

import subprocess
import sys
import zipfile

import pytest
from helpers.interpreters import TIMEOUT, environment, run_python

from xctx._patch import environment as told
from xctx._patch import program

FINDS = """
import json, os, sys
__doc__  # there is one
main = sys.modules["__main__"]
print(json.dumps([
    __name__, sys.argv, sys.path[0], vars(main) is globals(), __spec__ and __spec__.name, __package__,
    str(globals().get("__cached__")),
    type(__loader__).__name__, globals().get("__file__"), sorted(globals()),
]))
"""


def both(tmp_path, *command, options=("--all",), before=(), **variables):
    """What a command does under the interpreter and under xctx: results of subprocess.run."""
    return [
        subprocess.run(
            [sys.executable, *before, *runner, *command],
            capture_output=True, text=True, timeout=TIMEOUT, cwd=tmp_path,
            env=environment(without=("PYTHONSAFEPATH",), **variables),
        )
        for runner in ([], ["-m", "xctx", "run", *options])
    ]  # fmt: skip


def run(tmp_path, *command, **variables):
    return both(tmp_path, *command, options=(), **variables)[1]


@pytest.fixture
def place(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "__init__.py").write_text("")
    (tmp_path / "inner" / "part.py").write_text(FINDS)
    (tmp_path / "inner" / "__main__.py").write_text(FINDS)
    (tmp_path / "inner" / "script.py").write_text(FINDS)
    (tmp_path / "link.py").symlink_to(tmp_path / "inner" / "script.py")
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as packed:
        packed.writestr("__main__.py", FINDS)
    return tmp_path


@pytest.mark.parametrize("before", [(), ("-P",)])
@pytest.mark.parametrize(
    "command",
    [
        ["inner/script.py", "a", "--all"],
        ["link.py"],
        ["-m", "inner.part", "-m", "b"],
        ["-m", "inner"],
        ["inner"],
        ["packed.zip", "x"],
    ],
    ids=" ".join,
)
def test_a_program_finds_what_it_would(place, command, before):
    plain, ours = both(place, *command, before=before)
    assert plain.stdout == ours.stdout
    assert (plain.stderr, plain.returncode) == (ours.stderr, ours.returncode)


@pytest.mark.parametrize(
    "end",
    ["", "raise SystemExit(7)", "raise SystemExit('why')", "sys.exit()", "1 / 0", "os._exit(3)",
     "raise KeyboardInterrupt",
     "os.kill(os.getpid(), 15)", "def f(): g()\ndef g(): raise KeyError('a') from ValueError('b')\nf()", "x = (",
     "sys.excepthook = lambda *told: print('told', told[0].__name__, told[2].tb_frame.f_code.co_name)\n1 / 0",
     "import atexit\natexit.register(print, 'at exit')", "open(1, 'w').close()"],
)  # fmt: skip
def test_it_ends_as_it_would(tmp_path, end):
    (tmp_path / "program.py").write_text(f"import os, sys\nprint('begins', flush=True)\n{end}\n")
    plain, ours = both(tmp_path, "program.py")
    assert (plain.stdout, plain.stderr, plain.returncode) == (ours.stdout, ours.stderr, ours.returncode)


@pytest.mark.parametrize("command", [["none.py"], ["-m", "none"], ["-m", "none.at.all"]], ids=" ".join)
def test_there_is_no_such_program(tmp_path, command):
    plain, ours = both(tmp_path, *command)
    assert plain.returncode == ours.returncode
    assert plain.stderr.splitlines()[-1] == ours.stderr.splitlines()[-1]


CHILDREN = {
    "an interpreter": "import subprocess, sys\n"
    "print(subprocess.run([sys.executable, 'child.py'], stdout=-1, text=True).stdout, end='')",
    "a spawned process": "import multiprocessing, child\nif __name__ == '__main__':\n"
    "    process = multiprocessing.get_context('spawn').Process(target=child.tell); process.start(); process.join()",
    "an executed program": "import os, sys; os.execv(sys.executable, [sys.executable, 'child.py'])",
    "a child of a child": "import subprocess, sys\n"
    "code = 'import subprocess, sys; subprocess.run([sys.executable, \"child.py\"])'\n"
    "subprocess.run([sys.executable, '-c', code])",
}


@pytest.mark.parametrize("kind", CHILDREN)
def test_children_are_patched(tmp_path, kind):
    (tmp_path / "child.py").write_text(
        "def tell():\n    import sys, threading\n    assert not any('_patch/children' in each for each in "
        "sys.path), sys.path\n"
        "    print(threading.local.__mro__[1].__module__.partition('.')[0])\nif __name__ == '__main__':\n    tell()\n"
    )
    (tmp_path / "program.py").write_text(CHILDREN[kind])
    done = run(tmp_path, "program.py")
    assert (done.stdout, done.stderr) == ("xctx\n", "")


def test_children_stay_as_they_are(tmp_path):
    (tmp_path / "child.py").write_text("import threading; print(threading.local.__name__)")
    (tmp_path / "program.py").write_text(CHILDREN["an interpreter"])
    done = both(tmp_path, "program.py", options=("--no-children",))[1]
    assert (done.stdout, done.stderr) == ("_local\n", "")


def test_the_sitecustomize_of_others_runs_too(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import threading; print(threading.local.__name__, flush=True)")
    (tmp_path / "program.py").write_text("import sitecustomize, subprocess, sys\nprint(sitecustomize.__file__)\n"
                                         "if len(sys.argv) == 1: subprocess.run([sys.executable, 'program.py', "
                                         "'child'])")  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "xctx", "run", "program.py"], capture_output=True, text=True, timeout=TIMEOUT,
        cwd=tmp_path, env=environment([tmp_path]),
    )  # fmt: skip
    own = str(tmp_path / "sitecustomize.py")
    assert done.stdout.splitlines() == ["_local", own, "_local", own] and done.stderr == ""


def test_a_child_without_xctx_says_so(tmp_path):
    done = subprocess.run(
        [sys.executable, "-S", "-c", "import sitecustomize"], capture_output=True, text=True, timeout=TIMEOUT,
        cwd=tmp_path, env=environment(XCTX_PATCH="all", PYTHONPATH=told.FOLDER),
    )  # fmt: skip
    assert done.stderr.startswith(
        "xctx: this interpreter is not patched, though XCTX_PATCH asks for it: No module named"
    )


def test_report(tmp_path):
    (tmp_path / "program.py").write_text("import os\nif not os.fork():\n    raise SystemExit\nos.wait()\n")
    done = run_python("-m", "xctx", "run", "--report", tmp_path / "program.py")
    assert done.stderr.count("xctx: replaced  threading.local: in ") == 1 and done.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "parts", "more"),
    [
        (["p"], ("locals", "proxies"), ()),
        (["--all", "-m", "p", "--carry"], ("locals", "proxies", "carry"), ()),
        (["--carry", "--allow", "a", "--allow=b.c", "p"], ("carry",), ("a", "b.c")),
        (["--locals", "--report", "p"], ("locals",), ()),
    ],
)
def test_command_lines(arguments, parts, more):
    wish, options, rest = program.parse(arguments)
    assert (wish.parts, wish.allow or ()) == (parts, more)
    assert rest[0] in ("p", "-m") and ("--report" in options) == ("--report" in arguments)
    assert told.read(str(wish)) == wish


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "there is no program to run"),
        (["-m"], "there is no module to run"),
        (["--nothing", "p"], "there is no option --nothing"),
        (["--all=1", "p"], "there is no option --all"),
        (["--carry", "--allow"], "--allow needs the name of a module"),
        (["--allow", "a", "p"], "--allow and --deny are about --carry"),
        (["--all", "--allow", "a", "--deny", "b", "p"], "--allow and --deny cannot both be given"),
    ],
)
def test_command_lines_that_make_no_sense(arguments, said, capsys):
    assert program.main(arguments) == 2
    assert capsys.readouterr().err.endswith(f"python -m xctx run: {said}\n")


def test_help(capsys):
    assert program.main(["--all", "--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: python -m xctx run")


def test_what_the_environment_says():
    assert told.read("all deny=a,b") == told.Wish(told.PARTS, None, ("a", "b"))
    with pytest.raises(
        ValueError, match="XCTX_PATCH is made of locals, proxies, carry, all, allow= and deny=, not 'local'"
    ):
        told.read("local")
    variables = {"PYTHONPATH": "/mine"}
    told.tell_children(told.Wish(("locals",)), variables)
    told.tell_children(told.Wish(("locals", "carry"), ("a",)), variables)
    assert variables == {"PYTHONPATH": f"{told.FOLDER}:/mine", "XCTX_PATCH": "locals carry allow=a"}
