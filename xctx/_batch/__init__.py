"""The batch buffer: BatchExecutor.

From the ground up; each file uses only those before it:

core.h .c            the buffer, where values lie between the source that made them and the caller that gets them
thread_cache.h .c    the values that a thread took along, and the fills that it has not finished
waiters.h .c         which waiting callers are woken
fill.h .c            filling: what a caller does next, running the source, publishing the values
object.h .c          parts of the two classes that Cython cannot express
prefetch.py          the greenlet or thread that refills an executor with ``prefetch``
batch.pyx .pxd .pyi  BatchExecutor
"""
