"""Bindings taken along, on purpose, to another unit: snapshots, and functions that run with one.

From the ground up; each file uses only those before it:

variables.pyx .pxd .pyi    context variables that a snapshot sets where it is applied
portable.py                which parts of a snapshot can go to another process or interpreter
crossing.py                what of a snapshot goes to another interpreter, and how
application.pyx .pxd .pyi  what one application of a snapshot has bound, until it is undone
snapshot.pyx .pxd .pyi     Snapshot and capture: what one unit saw, and how it is bound for another
carried.pyx .pxd .pyi      plain callables that run with a snapshot applied
isolated.pyx .pyi          generators and coroutines that run in a context of their own
carry.pyx .pyi             carry: functions of every kind, wrapped
calls.py                   callables that go to another unit together with the snapshot that they run with
coroutine.py               the coroutine of a task that takes bindings along
policy.py                  how bindings go along with work that is handed to executors, pools and greenlets
"""
