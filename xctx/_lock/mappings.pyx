# cython: language_level=3, freethreading_compatible=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False, initializedcheck=False
"""What one process has of a lock's memory: the file that it has mapped, and the rows of the table that its threads own.

Each gives back what it had there when it is deallocated. None can be part of a reference cycle, so the collector need not visit
them, and it must not clear one before that.
"""
cimport cython
from cpython.object cimport PyTypeObject
from libc.stdint cimport uint32_t

from xctx._lock.protocol cimport NO_LOCKS, ROWS, interpreter_of, load32, xctx_attempt, xctx_head, xctx_row
from xctx._runtime.python cimport PyErr_SetFromErrno, PyThread_get_thread_ident, xctx_forbid_instances
from xctx._runtime.runtime cimport connect, xctx_fork_count
import errno
import os

cdef extern from "errno.h" nogil:
    int c_errno "errno"

cdef extern from "xctx/_lock/mapping.h" nogil:
    int USERS "XCTX_USERS"
    int F_RDLCK, F_WRLCK
    int xctx_set_up_mappings()
    int xctx_lock_byte(int, int, long)
    int xctx_new_file()
    int xctx_reserve_first(int)
    xctx_mapping *xctx_map(int, const char *, int)
    int xctx_come_alive(xctx_mapping *)
    xctx_head *xctx_head_of(xctx_mapping *)
    void xctx_unmap(xctx_mapping *)
    void xctx_quit_all()
    int xctx_claim_row(xctx_mapping *)
    void xctx_unclaim_row(xctx_mapping *, uint32_t)
    int xctx_look_for_dead(xctx_mapping *, xctx_attempt *)
    int xctx_clean_up_all_dead(xctx_mapping *)
    bint xctx_look_for_name(xctx_mapping *)
    void xctx_say_stuck(const xctx_link *, xctx_mapping *, uint32_t, int)
    void xctx_unsay_stuck(const xctx_link *, xctx_mapping *, uint32_t)
    int xctx_say_thread_stuck(const xctx_link *)
    void xctx_unsay_thread_stuck(const xctx_link *)
    int xctx_find_cycle(xctx_link *)

connect()
if xctx_set_up_mappings():
    raise MemoryError("no room for the handlers of forks and of the end")


cdef class Mapping:
    """This process's mapping of the memory that all processes which have the lock share.

    Thread-safety: may be used by any thread. Lifetime: ends with the last lock, row and unit's lock of this process that
    refers to it. A file with a name is removed then, if no other process uses it.
    """

    def __dealloc__(self):
        if self.c != NULL:
            xctx_unmap(self.c)


cdef Mapping mapping_of(int fd, str path, bint lasting):
    # Takes over `fd`.
    cdef Mapping mapping = Mapping.__new__(Mapping)
    cdef bytes encoded
    cdef const char *name = NULL
    cdef int failed
    if path is not None:
        encoded = os.fsencode(path)
        name = encoded
    mapping.c = xctx_map(fd, name, lasting)
    if mapping.c == NULL:
        failed = c_errno
        os.close(fd)
        if failed == errno.ENOLCK:
            raise ValueError(f"the file of the lock {path!r} is something else, or the lock of another version of xctx")
        raise OSError(failed, os.strerror(failed))
    mapping.head = xctx_head_of(mapping.c)
    mapping.path = path
    mapping.forks = xctx_fork_count()
    # At once, so that a program can use the lock even if it later changes its root directory or uses up its descriptors.
    failed = xctx_come_alive(mapping.c)
    if failed:
        raise OSError(failed, os.strerror(failed))
    return mapping


cdef int check_locks() except -1:
    if NO_LOCKS:
        raise NotImplementedError("locks between processes are not known to xctx on this system")
    return 0


cdef Mapping new_mapping():
    check_locks()
    cdef int fd = xctx_new_file()
    if fd < 0:
        PyErr_SetFromErrno(OSError)
    return mapping_of(fd, None, False)


def reserve_file(fd):
    """Gives a new file the memory of the first rows.

    Raises:
        OSError: there is no room, or the file system cannot tell.
    """
    if xctx_reserve_first(fd):
        PyErr_SetFromErrno(OSError)


def leave_names():
    """When this process ends: removes the files that no other process uses."""
    xctx_quit_all()


def use_file(fd, alone):
    """Locks the byte of a file that shows whether the file is in use; whether that succeeded."""
    return xctx_lock_byte(fd, F_WRLCK if alone else F_RDLCK, USERS) == 0


cdef int clean_up_all(Mapping mapping) except -1:
    if xctx_clean_up_all_dead(mapping.c):
        PyErr_SetFromErrno(OSError)
    return 0


cdef int tell_of_removal(Mapping mapping) except -1:
    raise FileNotFoundError(f"the file of this lock, {mapping.path!r}, was removed while it was used: others who open it get "
                            f"another lock, so this one is of no use any more")


cdef int tell_of_loss() except -1:
    raise RuntimeError("this process closed the lock's descriptor, so others take it for dead: it does not hold the lock, and "
                       "cannot get it")


cdef str process_of(xctx_row *row):
    """Names the process that owns a row, and its interpreter where that is not the main one, for an error message."""
    cdef uint32_t pid = load32(&row.pid), interpreter = interpreter_of(row)
    return f"interpreter {interpreter} of process {pid}" if interpreter else f"process {pid}"


@cython.no_gc
cdef class Row:
    """A row of the table that a thread of this process owns, alone or together with other threads.

    Lifetime: of the thread, which keeps it in a `local`, and of the UnitLocks that refer to it.
    """

    def __dealloc__(self):
        if self.mapping is not None and self.forks == xctx_fork_count():
            xctx_unclaim_row(self.mapping.c, self.index)


cdef Row new_row(Mapping mapping):
    cdef Row row = Row.__new__(Row)
    cdef int index = xctx_claim_row(mapping.c)
    if index == -1 and c_errno == errno.EACCES:
        raise PermissionError(errno.EACCES, f"this process, which was forked since the lock was opened, may not open the file of "
                                            f"the lock {mapping.path!r}")
    if index == -1:
        PyErr_SetFromErrno(OSError)
    if index < 0:
        raise RuntimeError(f"all {ROWS} rows of this lock are taken by other processes")
    row.index = <uint32_t>index
    row.forks = xctx_fork_count()
    row.thread = PyThread_get_thread_ident()
    row.mapping = mapping   # last: only what was claimed is given back
    return row


# --- functions of mapping.c -------------------------------------------------------------------------------------------------

cdef bint has_lost_name(xctx_mapping *mapping) noexcept:
    return xctx_look_for_name(mapping)


cdef int find_dead(xctx_mapping *mapping, xctx_attempt *attempt) noexcept:
    return xctx_look_for_dead(mapping, attempt)


cdef void say_stuck(const xctx_link *link, xctx_mapping *mapping, uint32_t index, int part) noexcept:
    xctx_say_stuck(link, mapping, index, part)


cdef void unsay_stuck(const xctx_link *link, xctx_mapping *mapping, uint32_t index) noexcept:
    xctx_unsay_stuck(link, mapping, index)


cdef int say_thread_stuck(const xctx_link *link) noexcept:
    return xctx_say_thread_stuck(link)


cdef void unsay_thread_stuck(const xctx_link *link) noexcept:
    xctx_unsay_thread_stuck(link)


cdef int find_cycle(xctx_link *links) noexcept:
    return xctx_find_cycle(links)


# Nothing else makes instances of these.
xctx_forbid_instances(<PyTypeObject*>Mapping)
xctx_forbid_instances(<PyTypeObject*>Row)
