"""Locks and ids on PostgreSQL.

From the ground up; each file uses only those before it:

errors.py    LockLost
session.py   one connection to the server: sending and receiving, refusing poolers and standbys, forks
agent.py     the thread that holds a lock's session, and represents the rest of the world in the local lock
lock.py      SharedLock and SharedRLock
sequence.py  ids of a sequence, by the thousand
"""
