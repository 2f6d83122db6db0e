"""Named locks: where their files are, and how one is opened or made.

The files are in a directory of the user's own, the same for all programs of that user whatever their environment: in
/dev/shm, so that nothing is left after a reboot, or in /tmp where there is no /dev/shm. Each process that uses a file
holds a shared lock on its first byte. A process that can lock the byte exclusively is the last user, and removes the
file when it ends. If the last user is killed, the file stays for the next process that opens the name, which is told if
a writer died.

One file is one lock: however often a process opens it, there is one record of what its units hold.
"""

import os
import stat
import sys
import time
from _thread import RLock
from _weakref import ref  # underscored for a cheap start: each interpreter has this loaded

from xctx._lock.mappings import leave_names, reserve_file, use_file

PARENTS = ("/dev/shm", "/tmp", "/var/tmp")
TYPE_CHECKING = False  # importing xctx does not import typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    # Makes the lock's Common from a descriptor, a path, and whether the file stays when nobody uses it any more.
    _Make = Callable[[int, str | None, bool], Any]

# Process: the locks that are open, by device and inode. Guarded by `guard`, which a forked child replaces.
opened: "dict[tuple[int, int], ref[Any]]" = {}
guard = RLock()


def renew_guard() -> None:
    global guard
    guard = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=renew_guard)


def once(fd: int, path: str | None, lasting: bool, make: "_Make") -> "Any":
    """What `make` gives, or gave when this process opened the file before. Takes over `fd`."""
    file = file_of(fd)
    with guard:
        known = known_for(file)
        if known is None:
            known = make(fd, path, lasting)
            opened[file] = ref(known, lambda gone: forget(file, gone))
            return known
    os.close(fd)
    return known


def note(fd: int, file: tuple[int, int], made: "Any") -> bool:
    """Has `once` give this for the file from now on, if it comes back from another interpreter. False if `fd` is not
    of that file."""
    try:
        if file_of(fd) != file:
            return False
    except OSError:
        return False
    with guard:
        if known_for(file) is None:
            opened[file] = ref(made, lambda gone: forget(file, gone))
    return True


def file_of(fd: int) -> tuple[int, int]:
    about = os.fstat(fd)
    return about.st_dev, about.st_ino


def known_for(file: tuple[int, int]) -> "Any":
    found = opened.get(file)
    return None if found is None else found()


def forget(file: tuple[int, int], gone: "ref[Any]") -> None:
    with guard:
        if opened.get(file) is gone:
            del opened[file]


# --- by a name ------------------------------------------------------------------------------------------------------


def open_named(name: object, make: "_Make") -> "Any":
    """What `make` makes of the file of that name.

    Raises:
        TypeError, ValueError: this is no name for a lock, or the file is no lock's.
        PermissionError: the file, or its directory, is a link, another user's, or open to others.
    """
    fd, path = open_file(check_name(name))
    known = once(fd, path, False, make)
    watch_children(leave_names)
    return known


def check_name(name: object) -> str:
    """The name itself.

    Raises:
        TypeError: it is no str.
        ValueError: it cannot be the name of a file.
    """
    if not isinstance(name, str):
        raise TypeError(f"a lock's name is a str, not {name!r}")
    if not name or name.startswith(".") or "/" in name or "\0" in name or len(os.fsencode(name)) > 200:
        raise ValueError(f"{name!r} cannot name a lock: up to 200 bytes, no '/', and no '.' at the start, were wanted")
    return name


def directory() -> str:
    """The path of the directory for this user's locks; it may not exist yet.

    Raises:
        PermissionError: this user may write to none of the places.
    """
    user = os.geteuid()
    for parent in PARENTS:
        wanted = os.R_OK | os.W_OK | os.X_OK
        if os.access(parent, wanted, effective_ids=os.access in os.supports_effective_ids):
            return own_place(os.path.join(parent, f"xctx-{user}"), user)
    raise PermissionError(f"there is no directory for the locks of user {user}: {', '.join(PARENTS)} cannot be written")


def own_place(first: str, user: int) -> str:
    """The path of this user's directory: `first`, or `first` with a number where another user has that.

    There is always another number, so nobody can keep this user from having a directory.
    """
    if owner_of(first) == user:
        return first
    parent, name = os.path.split(first)
    numbered = (entry for entry in os.listdir(parent) if entry.startswith(name + "."))
    taken = {entry for entry in numbered if entry[len(name) + 1 :].isdecimal()}
    mine = [entry for entry in taken if owner_of(os.path.join(parent, entry)) == user]
    if owner_of(first) is not None:
        taken.add(name)
    number, free = 0, name
    while free in taken:
        number += 1
        free = f"{name}.{number}"
    # The user may have one with a higher number, made when another user had this one.
    return os.path.join(parent, min(mine, key=lambda entry: (len(entry), entry), default=free))


def owner_of(path: str) -> int | None:
    try:
        return os.lstat(path).st_uid
    except FileNotFoundError:
        return None


def open_directory(path: str) -> int:
    """A descriptor of the directory, which is made where it does not exist.

    Raises:
        PermissionError: it is a link, another user's, or open to others.
    """
    try:  # noqa: SIM105 (importing xctx does not import contextlib)
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    try:
        place = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError:
        raise PermissionError(f"{path!r} is no directory of this user's own, so no lock is opened there") from None
    about = os.fstat(place)
    if about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) & 0o077:
        os.close(place)
        raise PermissionError(f"{path!r} is another user's, or open to others, so no lock is opened there")
    return place


def open_file(name: str) -> tuple[int, str]:
    """A descriptor of the file of that name, in use by this process from now on, and its path.

    Raises:
        PermissionError: the file, or its directory, is a link, another user's, or open to others.
        ValueError: the file is no lock's.
    """
    path = directory()
    while True:
        try:
            place = open_directory(path)
        except FileNotFoundError:  # removed just now, with the last lock in it
            continue
        try:
            fd = open_in(place, name)
        except FileNotFoundError:
            continue
        finally:
            os.close(place)
        if fd is not None:
            return fd, os.path.join(path, name)
        time.sleep(0.001)  # its last user is removing it


def open_in(place: int, name: str) -> int | None:
    """As open_file, or None where the file is being removed."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, 0o600, dir_fd=place)
    except OSError as exc:
        import errno

        if exc.errno == errno.ELOOP:
            raise PermissionError(f"the lock {name!r} is a link, which is never followed") from None
        raise
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid():
            raise PermissionError(f"the file of the lock {name!r} is another user's, or none")
        if about.st_nlink > 1:
            raise PermissionError(f"the file of the lock {name!r} has a second name, a hard link")
        if use_file(fd, False) and still_named(place, name, fd):
            if about.st_size == 0:
                # A process may reopen its own file after it has become another user. Other users cannot reach the file:
                # the directory is closed to them.
                os.fchmod(fd, 0o666)
                reserve_file(fd)  # zeros are a free lock
            mine, fd = fd, -1
            return mine
        return None
    finally:
        if fd >= 0:
            os.close(fd)


def still_named(place: int, name: str, fd: int) -> bool:
    try:
        now = os.stat(name, dir_fd=place, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(now, os.fstat(fd))


# --- at a path ------------------------------------------------------------------------------------------------------

# File systems whose files other machines may change, as mountinfo names them.
REMOTE = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "fuse.sshfs", "fuse.glusterfs"}


def open_at(path: str, create: bool, mode: int, make: "_Make") -> "Any":
    """What `make` makes of the file at a path.

    Raises:
        FileNotFoundError: there is none, and none is to be made.
        ValueError: the file is no lock's.
        OSError: it cannot be opened, or is on a file system of the network.
    """
    flags = os.O_RDWR | os.O_CLOEXEC
    try:
        fd = os.open(path, flags)
    except FileNotFoundError:
        if not create:
            raise
        try:
            made = os.open(path, flags | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError:
            pass
        else:
            try:
                os.fchmod(made, mode)
            finally:
                os.close(made)
        fd = os.open(path, flags)
    try:
        kind = file_system(path)
        if kind in REMOTE:
            raise OSError(
                f"{path!r} is on a file system of the network ({kind}), where processes of several machines would not "
                "see each other's locks"
            )
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            raise ValueError(f"{path!r} is no regular file, so no lock")
        if not use_file(fd, False):
            raise OSError(f"{path!r} cannot be locked: another program has locked its first byte")
        if about.st_size == 0:
            reserve_file(fd)
        mine, fd = fd, -1
    finally:
        if fd >= 0:
            os.close(fd)
    return once(mine, path, True, make)


def file_system(path: str) -> str:
    """The kind of the file system that a path is on, or an empty string if that is unknown."""
    number = os.stat(path).st_dev
    wanted = f"{os.major(number)}:{os.minor(number)}"
    try:
        with open("/proc/self/mountinfo", errors="surrogateescape") as mounts:
            for line in mounts:
                fields = line.split()
                if fields[2] == wanted and "-" in fields:
                    return fields[fields.index("-") + 1]
    except OSError:
        pass
    return ""


# --- processes that multiprocessing starts --------------------------------------------------------------------------

# They end by os._exit(), so without this the last user of a file would not remove it.
_watched = [False, False]  # forks, multiprocessing


def watch_children(leave: "Callable[[], None]") -> None:
    """Arranges that `leave` is called when such a process, this one or a child, ends."""

    def look() -> None:
        util = sys.modules.get("multiprocessing.util")
        if util is not None and not _watched[1]:
            _watched[1] = True
            # A forked child first clears its parent's finalizers, and then calls these.
            util.register_after_fork(watch_children, lambda _: at_its_end(leave))
            at_its_end(leave)

    look()
    if not _watched[0]:
        _watched[0] = True
        os.register_at_fork(after_in_child=look)


def at_its_end(leave: "Callable[[], None]") -> None:
    multiprocessing = sys.modules["multiprocessing"]
    if multiprocessing.process.parent_process() is not None:
        sys.modules["multiprocessing.util"].Finalize(None, leave, exitpriority=-100)
