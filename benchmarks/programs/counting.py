"""Instructions that a process executes between two moments, by valgrind's callgrind.

The count starts at zero when a server is warm, and is written into a file by the process itself; so starting does not
count. valgrind slows a program fifty times and more, but the count does not depend on how busy the machine is.
"""

import re
import shutil
import subprocess
import time

# Only with the second option can a process be told anything that a server has forked.
TOOL = ["valgrind", "--tool=callgrind", "--trace-children=yes", "--quiet"]


def missing():
    """What is not installed of what counting needs, or None."""
    return next((name for name in ("valgrind", "vgdb") if shutil.which(name) is None), None)


def under_valgrind(command, folder):
    """The command that runs another one with its instructions counted."""
    return [*TOOL, f"--callgrind-out-file={folder}/callgrind.%p", *command]


def tell(process, word):
    """Has a process under valgrind do something at its next safe point."""
    subprocess.run(["vgdb", f"--pid={process}", "--wait=60", word], check=True, capture_output=True, timeout=120)


def counted(process, folder, function):
    """Instructions that a process executes while a function runs here. The profile is left in the folder."""
    tell(process, "zero")
    function()
    tell(process, "dump")
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for path in sorted(folder.glob(f"callgrind.{process}*"), key=lambda each: each.stat().st_mtime, reverse=True):
            found = re.search(r"^summary: (\d+)$", path.read_text(errors="replace"), re.MULTILINE)
            if found:
                return int(found[1])
        time.sleep(0.1)
    raise RuntimeError(f"process {process} has written no counts")
