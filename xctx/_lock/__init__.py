"""The shared lock.

From the ground up; each file uses only those before it:

shared_memory.h            what a lock has in shared memory, and what it needs of the kernel: atomics, a way to sleep
protocol.h .pxd            the protocol in shared memory: a word with the writer slot, and a table of rows
mapping.h .c               the files that this process has mapped, which row is whose, and whose owner is dead
mappings.pyx .pxd .pyi     mappings and rows as objects
unit_lock.h                the state of one unit in one lock, and the operations on it that need no Python
unit_lock.pyx .pxd .pyi    that state as an object; the queues in which units wait for others
attempt.pyx .pxd .pyi      a unit's attempt to get a lock: how it waits, and finds deadlocks
acquisition.pyx .pxd .pyi  how a unit acquires a lock and releases it
tasks.pyx .pxd .pyi        the same in an asyncio task, by a coroutine
grants.pyx .pyi            locks that count only while a grant is good, as those over PostgreSQL do
holder.py .pyi             what a lock says of each of its holders
names.py                   named locks: where their files are, and how one is opened or made
lock.pyx .pyi              SharedLock and SharedRLock
listing.py                 what the named locks are doing, for `python -m xctx locks`
"""
