"""What SharedLock uses of acquiring in a task."""
from xctx._lock.acquisition cimport BaseLock


cdef object acquiring(BaseLock lock, int mode, double seconds, bint mend, object entered)
