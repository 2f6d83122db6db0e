"""What the rooms above use to run functions of any kind inside step contexts of their own."""

cpdef int kind_of(object func) except -1
cdef bint is_plain(object func) except -1


cdef class StepContext:
    cdef int enter(self) except -1
    cdef int leave(self) except -1
    cdef int end(self) except -1
    cdef bint spans_awaits(self) noexcept
