"""Locks and ids on PostgreSQL.

From the ground up; each file uses only those before it:

errors.py    LockLost
session.py   one connection to the server: what is sent and received, who may be at the other end, what a fork leaves
agent.py     the thread that holds a lock's session, and stands in the local lock for the rest of the world
lock.py      SharedLock and SharedRLock
sequence.py  ids of a sequence, by the thousand
"""
