"""The shared lock.

From the ground up; each file uses only those before it:

os.h                what a lock needs of the machine and the kernel: atomics in shared memory, a way to sleep
protocol.h          the protocol in shared memory: a state word, and a table of rows
hold.h              what one unit has of one lock
memory.h            how a lock's memory comes to a process, which row is whose, and which holder is dead
names.py            locks that have a name: where their files are, and how one is opened or made
hold.pyx .pxd .pyi  what one process makes of a lock's shared memory
lock.pyx .pyi       SharedLock and SharedRLock
"""
