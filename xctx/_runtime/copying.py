"""How an interpreter that is not the main one loads copies of the compiled rooms: see copies.h.

A loader recognises a file that it has loaded by its device and inode, and by its path. So a copy is a file in memory
without a name, or if such a file cannot be loaded, a file in the directory for temporary files, and its path is used
once. It is gone as soon as it is loaded: the mapped segments keep the inode.
"""

import os
import struct
import sys
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder, ModuleSpec
from types import ModuleType

from xctx._runtime import copies

PREFIX = "xctx."
LOAD = 1  # PT_LOAD


def loaded_part(path: str) -> memoryview:
    """The bytes of a shared object that a loader maps, without its symbols and the like, which come behind them."""
    with open(path, "rb") as file:
        data = file.read()
    wide = data[4] == 2  # ELFCLASS64
    order = "<" if data[5] == 1 else ">"
    (offset,) = struct.unpack_from(order + ("Q" if wide else "I"), data, 32 if wide else 28)
    size, number = struct.unpack_from(order + "HH", data, 54 if wide else 42)
    end = 0
    for at in range(offset, offset + size * number, size):
        if wide:
            kind, _flags, begin, _virtual, _physical, length = struct.unpack_from(order + "IIQQQQ", data, at)
        else:
            kind, begin, _virtual, _physical, length = struct.unpack_from(order + "IIIII", data, at)
        if kind == LOAD:
            end = max(end, begin + length)
    return memoryview(data)[:end]


def load_in_memory(name: str, origin: str, number: int) -> None:
    descriptor = os.memfd_create(os.path.basename(origin), os.MFD_CLOEXEC)
    try:
        data = loaded_part(origin)
        while data:
            data = data[os.write(descriptor, data) :]
        # The descriptor may have been used for another file before, so the number makes the path a new one.
        way = f"{number:b}".replace("1", "/.").replace("0", "/")
        copies.load(name, f"/proc/self/fd{way}/{descriptor}")
    finally:
        os.close(descriptor)


def load_from_directory(name: str, origin: str, number: int) -> None:
    from tempfile import mkdtemp

    directory = mkdtemp(prefix="xctx-")
    path = os.path.join(directory, f"{number}-{os.path.basename(origin)}")
    try:
        with open(path, "wb") as file:
            file.write(loaded_part(origin))
        copies.load(name, path)
    finally:
        if os.path.exists(path):
            os.remove(path)
        os.rmdir(directory)


def load_copy(name: str, origin: str) -> None:
    """Loads this interpreter's copy of a module.

    Raises:
        ImportError: the loader has no room for it, or cannot load any copy.
    """
    number = copies.ticket()
    try:
        try:
            load_in_memory(name, origin, number)
        except (AttributeError, OSError) as error:
            if "static TLS" in str(error):
                raise
            load_from_directory(name, origin, number)
    except OSError as error:
        reason = str(error).rpartition(": ")[2]
        raise ImportError(
            f"xctx cannot be used in this interpreter: the process has {copies.count()} copies of the compiled "
            f"modules, and cannot load what is wanted of this one: {reason}. If memory for thread-local variables is "
            "short, start the process with GLIBC_TUNABLES=glibc.rtld.optional_static_tls=16384 in the environment, or "
            "use fewer interpreters at once.",
            name="xctx",
        ) from error


class CopyLoader(ExtensionFileLoader):
    """Loads a copy of a module; the module's own ``__file__`` and ``__spec__`` are those of the original."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        if not copies.is_loaded(spec.name):
            load_copy(spec.name, self.path)
        return copies.create(spec.name, spec)


class CopyFinder:
    """Finds the compiled rooms of xctx, and nothing else."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not name.startswith(PREFIX):
            return None
        for directory in path or ():
            spec = FileFinder(directory, (CopyLoader, EXTENSION_SUFFIXES)).find_spec(name, target)
            if spec is not None and spec.loader is not None:  # a directory is found, too, as a package without a loader
                return spec
        return None


def install() -> None:
    """Makes this interpreter load copies from now on."""
    copies.take()
    if CopyFinder not in sys.meta_path:
        sys.meta_path.insert(0, CopyFinder)
