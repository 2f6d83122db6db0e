"""Mappings and rows, and the functions of mapping.c that other modules use."""
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from xctx._lock.protocol cimport xctx_attempt, xctx_head, xctx_row
from xctx._runtime.python cimport xctx_mutex


cdef extern from "xctx/_lock/mapping.h" nogil:
    ctypedef struct xctx_mapping:
        xctx_head *head
        char *path
        int carrier, own
        uint32_t token
        PyObject *queues
        xctx_mutex guard
        uint32_t queued
    ctypedef struct xctx_link:
        xctx_mapping *mapping
        uint64_t wait, since
        uint32_t index, state
        uint8_t phase, unit
    int A_THREAD "XCTX_THREAD", A_GREENLET "XCTX_GREENLET", A_TASK "XCTX_TASK"
    int LONGEST_CYCLE "XCTX_LONGEST_CYCLE"
    uint64_t device_of "xctx_device_of"(const xctx_mapping *)
    uint64_t inode_of "xctx_inode_of"(const xctx_mapping *)
    uint32_t queued "xctx_queued"(xctx_mapping *)
    void add_queued "xctx_add_queued"(xctx_mapping *, int)


cdef class Mapping:
    cdef xctx_mapping *c          # this and the next three never change
    cdef xctx_head *head
    cdef str path                 # None where it has no name
    cdef uint32_t forks
    cdef object __weakref__


cdef class Row:
    cdef Mapping mapping          # this and the next three never change
    cdef uint32_t index
    cdef uint32_t forks
    cdef unsigned long thread     # that claimed it


cdef int check_locks() except -1
cdef Mapping new_mapping()
cdef Mapping mapping_of(int fd, str path, bint lasting)
cdef Row new_row(Mapping mapping)
cdef int clean_up_all(Mapping mapping) except -1
cdef str process_of(xctx_row *row)
cdef int tell_of_removal(Mapping mapping) except -1
cdef int tell_of_loss() except -1

# Functions of mapping.c, which has state and so is a part of this module alone; mapping.h says what they do.
cdef bint has_lost_name(xctx_mapping *mapping) noexcept
cdef int find_dead(xctx_mapping *mapping, xctx_attempt *attempt) noexcept
cdef void say_stuck(const xctx_link *link, xctx_mapping *mapping, uint32_t index, int part) noexcept
cdef void unsay_stuck(const xctx_link *link, xctx_mapping *mapping, uint32_t index) noexcept
cdef int say_thread_stuck(const xctx_link *link) noexcept
cdef void unsay_thread_stuck(const xctx_link *link) noexcept
cdef int find_cycle(xctx_link *links) noexcept
