"""The batch buffer: BatchExecutor.

From the ground up; each file uses only those before it:

core.h .c            where values lie between the source that made them and the caller that gets them
thread_cache.h .c    the values that a thread took along, and the fills it is in the middle of
waiters.h .c         which of the callers that wait are woken
fill.h .c            filling: what a caller does next, running the source, publishing what it made
object.h .c          what Cython cannot write of the two classes
prefetch.py          the greenlet or thread that refills an executor with ``prefetch``
batch.pyx .pxd .pyi  BatchExecutor
"""
