"""Locks that have a name: where their files are, and how one is opened or made.

They are in a directory of the user's own, one for all his programs whatever their environment: in /dev/shm where there
is such a thing, so that nothing is left after a restart of the machine; otherwise in XDG_RUNTIME_DIR or among the
temporary files. Every user of a file holds a lock on its first byte, shared. Who gets it alone is the last, and removes
the file: the last user when it ends, or, where that was killed, the next one who opens any lock by name.
"""

import contextlib
import os
import stat
import sys
import time
from collections.abc import Callable

# Locks the first byte of a file, shared or (True) alone; False where others have it.
Use = Callable[[int, bool], bool]


def directory() -> str:
    """The path of the directory for this user's locks."""
    for parent in ("/dev/shm", os.environ.get("XDG_RUNTIME_DIR")):
        if parent and os.access(parent, os.W_OK):
            return os.path.join(parent, f"xctx-{os.geteuid()}")
    import tempfile  # not at the top: importing xctx stays cheap

    return os.path.join(tempfile.gettempdir(), f"xctx-{os.geteuid()}")


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


def open_directory(path: str) -> int:
    """A descriptor of the directory, which is made where it does not exist.

    Raises:
        PermissionError: it is a link, another user's, or open to others.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    try:
        place = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError:
        raise PermissionError(f"{path!r} is no directory of this user's own, so no lock is opened there") from None
    about = os.fstat(place)
    if about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) & 0o077:
        os.close(place)
        raise PermissionError(f"{path!r} is another user's, or open to others, so no lock is opened there")
    return place


def open_file(name: str, size: int, use: Use) -> tuple[int, str]:
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
            clean(place, use)
            fd = open_in(place, name, size, use)
        except FileNotFoundError:
            continue
        finally:
            os.close(place)
        if fd is not None:
            return fd, os.path.join(path, name)
        time.sleep(0.001)  # its last user removes it at this moment


def open_in(place: int, name: str, size: int, use: Use) -> int | None:
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
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) & 0o077:
            raise PermissionError(f"the file of the lock {name!r} is another user's, or open to others")
        if about.st_nlink > 1:
            raise PermissionError(f"the file of the lock {name!r} has a second name, a hard link")
        if use(fd, False) and still_named(place, name, fd):
            if about.st_size == 0:
                os.ftruncate(fd, size)  # zeros are a free lock
            elif about.st_size != size:
                raise ValueError(f"the file of the lock {name!r} is something else: {about.st_size} bytes, not {size}")
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


def clean(place: int, use: Use) -> None:
    """Removes the files whose users were all killed."""
    for name in os.listdir(place):
        try:
            fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place)
        except OSError:
            continue
        try:
            if use(fd, True) and still_named(place, name, fd):
                os.unlink(name, dir_fd=place)
        finally:
            os.close(fd)


# --- processes that multiprocessing starts --------------------------------------------------------------------------

# They end by os._exit(), before which nobody would find that it was the last.
_watched = [False, False]  # forks, multiprocessing


def watch_children(leave: Callable[[], None]) -> None:
    """Has `leave` called when such a process, this one or a child, comes to its end."""

    def look() -> None:
        util = sys.modules.get("multiprocessing.util")
        if util is not None and not _watched[1]:
            _watched[1] = True
            # A forked child first forgets what its parent is to do in the end, and then calls these.
            util.register_after_fork(watch_children, lambda _: at_its_end(leave))
            at_its_end(leave)

    look()
    if not _watched[0]:
        _watched[0] = True
        os.register_at_fork(after_in_child=look)


def at_its_end(leave: Callable[[], None]) -> None:
    multiprocessing = sys.modules["multiprocessing"]
    if multiprocessing.process.parent_process() is not None:
        sys.modules["multiprocessing.util"].Finalize(None, leave, exitpriority=-100)
