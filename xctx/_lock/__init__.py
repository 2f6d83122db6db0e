"""The shared lock.

From the ground up; each file uses only those before it:

shared_memory.h            what a lock has in shared memory, and what it needs of the kernel: atomics, a way to sleep
protocol.h                 the protocol in shared memory: a word with the writer slot, and a table of rows
mapping.h .c               the files that this process has mapped, which row is whose, and whose owner is dead
unit_lock.h                what one unit has of one lock, and what can be done to it without Python
unit_lock.pyx .pxd .pyi    mappings, rows and units' locks as objects; queues in which units wait, and their attempts
acquisition.pyx .pxd .pyi  how a unit acquires a lock and releases it
tasks.pyx .pxd .pyi        the same in an asyncio task, by a coroutine
grants.pyx .pyi            locks that count only while a grant is good, as those over PostgreSQL do
names.py                   locks that have a name: where their files are, and how one is opened or made
lock.pyx .pyi              SharedLock and SharedRLock
listing.py                 what the locks with a name are doing, for `python -m xctx locks`
"""
