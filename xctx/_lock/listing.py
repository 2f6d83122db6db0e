"""What the named locks on this machine are doing, for ``python -m xctx locks``.

It reads the files of shared memory and asks the kernel which processes are alive, but takes no part in a lock: it maps
nothing writable, and nobody waits for it. The memory may change while it reads.
"""

import contextlib
import json
import mmap
import os
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any

from xctx._lock import names
from xctx._lock.lock import SharedLock

# As in shared_memory.h: the head, and a row. `_` is padding.
HEAD = struct.Struct("=QIIIIII Q 88x QI")
ROW = struct.Struct("=QIIIIII QQII")
ROWS_AT, ROW_SIZE = 256, 128
MAGIC = 0x34786374786C6F63
WRITER_SLOT, ANNOUNCED, DIED = 0xFFFFF, 1 << 20, 1 << 21
MODES = (None, "shared", "upgradable", "exclusive")
FLOCK = struct.Struct("hhqqi4x")


def listed(wanted: str | None = None) -> Iterator[dict[str, Any]]:
    """Describes each lock, or the one of that name or at that path."""
    if wanted is not None and "/" in wanted:
        found = looked_at(wanted)
        if found is not None:
            yield found
        return
    place = names.directory()
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(place)):
            if wanted in (None, name) and (found := looked_at(os.path.join(place, name))) is not None:
                yield {"name": name, **found}


def looked_at(path: str) -> dict[str, Any] | None:
    """Describes the lock in a file, or gives None if it is no lock's."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)  # to ask about locks it must be open to write
    except OSError:
        return None
    try:
        if os.fstat(fd).st_size < ROWS_AT:
            return None
        with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as memory:
            return said(memory, fd, path)
    finally:
        os.close(fd)


def said(memory: mmap.mmap, fd: int, path: str) -> dict[str, Any] | None:
    magic, _, _, _, deaths, _, _, waits, word, used = HEAD.unpack_from(memory)
    if magic != MAGIC:
        return None
    alive: dict[int, bool] = {}
    holders, waiters, dead, died_writing = [], [], 0, 0
    for number in range(min(used, (len(memory) - ROWS_AT) // ROW_SIZE)):
        readers, mode, owner, _, pid, thread, waiting, waiting_since, held_since, noted_by, interpreter = (
            ROW.unpack_from(memory, ROWS_AT + number * ROW_SIZE)
        )
        if not owner:
            continue
        if owner not in alive:
            alive[owner] = lives(fd, owner)
        inside = readers & 0xFFFFF
        if not alive[owner]:
            dead += bool(mode or inside)
            died_writing += MODES[mode & 3] == "exclusive"  # nobody has acquired the lock since, and so set DIED
            continue
        who = {
            "pid": pid,
            "interpreter": interpreter if noted_by == owner else 0,
            "thread": thread or None,
            "program": program(pid),
        }
        if mode:
            holders.append({"mode": MODES[mode & 3], "units": 1, "for": seconds_since(held_since), **who})
        if inside:
            holders.append({"mode": "shared", "units": inside, "for": None, **who})
        if waiting:
            waiters.append({"units": waiting, "for": seconds_since(waiting_since), **who})
    return {
        "path": path,
        "holders": holders,
        "waiters": waiters,
        "owner_died": bool(word & DIED or died_writing),
        "dead_holders": dead,
        "deaths": deaths + died_writing,
        "waits": waits,
        "processes": sum(alive.values()),
    }


def lives(fd: int, token: int) -> bool:
    """Whether the process of that token is alive: see mapping.h."""
    import fcntl  # not everywhere

    asked = FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 1 + token, 1, 0)
    return bool(FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))[0] != fcntl.F_UNLCK)


def seconds_since(moment: int) -> float | None:
    """`moment`: of CLOCK_MONOTONIC, in nanoseconds; 0 if it was not noted."""
    return round(max(0.0, time.monotonic() - moment * 1e-9), 3) if moment else None


def program(pid: int) -> str:
    """What a process runs, or an empty string."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return os.fsdecode(b" ".join(file.read(400).split(b"\0"))).strip()
    return ""


# --- printing -------------------------------------------------------------------------------------------------------


def text_of(lock: dict[str, Any], who: bool) -> str:
    """A line for a lock, and with `who` one for each that holds it or waits."""
    units: dict[str, int] = {}
    for holder in lock["holders"]:
        inside = f"interpreter {holder['interpreter']} of " if holder["interpreter"] else ""
        by = f"{holder['mode']} by {inside}{holder['pid']}"
        units[by] = units.get(by, 0) + holder["units"]
    state = ", ".join(by + times(number) for by, number in units.items())
    waiting = sum(waiter["units"] for waiter in lock["waiters"])
    line = f"{lock.get('name', lock['path'])}: {state or 'free'}, {waiting} waiting, {lock['waits']} waits so far"
    if lock["owner_died"] or lock["dead_holders"]:
        line += ", A WRITER DIED" if lock["owner_died"] else ", a holder died"
    if not who:
        return line
    rows = [("holds " + each["mode"], each) for each in lock["holders"]] + [("waits", each) for each in lock["waiters"]]
    for does, each in rows:
        since = "" if each["for"] is None else f" for {each['for']:.1f} s"
        thread = "" if each["thread"] is None else f" thread {each['thread']}"
        inside = f" interpreter {each['interpreter']}" if each["interpreter"] else ""
        line += f"\n  {does}{since}{times(each['units'])}: process {each['pid']}{inside}{thread} {each['program']}"
    return line


# Name, kind, what it says, and how it is found.
METRICS = (
    ("holders", "gauge", "units that hold the lock", lambda lock: sum(each["units"] for each in lock["holders"])),
    ("waiters", "gauge", "units that wait for it", lambda lock: sum(each["units"] for each in lock["waiters"])),
    ("waits_total", "counter", "how often a unit has begun to wait", lambda lock: lock["waits"]),
    ("deaths_total", "counter", "how often a unit has died while it wrote", lambda lock: lock["deaths"]),
    ("owner_died", "gauge", "1 until what a dead writer left is mended", lambda lock: int(lock["owner_died"])),
)


def prometheus(locks: list[dict[str, Any]]) -> str:
    """The text format of Prometheus."""
    lines = []
    for name, kind, said, value in METRICS:
        lines += [f"# HELP xctx_lock_{name} {said}", f"# TYPE xctx_lock_{name} {kind}"]
        for lock in locks:
            label = lock.get("name", lock["path"]).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
            lines.append(f'xctx_lock_{name}{{lock="{label}"}} {value(lock)}')
    return "\n".join(lines)


def times(units: int) -> str:
    return "" if units == 1 else f" ({units})"


def main(arguments: list[str]) -> int:
    import argparse

    parser = argparse.ArgumentParser(
        prog="python -m xctx locks", description="Locks with a name: who holds them, who waits."
    )
    parser.add_argument("name", nargs="?", help="of one lock, or its path; default: all of this user's")
    parser.add_argument("--who", action="store_true", help="name each process that holds the lock or waits for it")
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--prometheus", action="store_true", help="metrics in the text format of Prometheus")
    parser.add_argument("--watch", type=seconds, nargs="?", const=1.0, metavar="SECONDS", help="repeat")
    options = parser.parse_args(arguments)
    try:
        SharedLock()
    except NotImplementedError as exc:
        parser.error(str(exc))
    found: list[dict[str, Any]] = []
    try:
        while True:
            found = list(listed(options.name))
            if options.prometheus:
                print(prometheus(found), flush=True)
            elif options.watch is not None and not options.json:
                print(time.strftime("-- %H:%M:%S"), flush=True)
            for lock in () if options.prometheus else found:
                print(json.dumps(lock) if options.json else text_of(lock, options.who), flush=True)
            if options.watch is None:
                break
            time.sleep(options.watch)
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:  # as with `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # which the interpreter flushes at exit
    if options.name is not None and not found:
        print(f"there is no lock {options.name!r}", file=sys.stderr)
        return 1
    return 0


def seconds(said: str) -> float:
    """How long to wait between two looks, in seconds."""
    found = float(said)
    if not 0 < found <= 86400:
        raise ValueError
    return found
