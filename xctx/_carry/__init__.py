"""Bindings taken along, on purpose, to another unit: snapshots, and what runs with one.

From the ground up; each file uses only those before it:

variables.pyx .pxd .pyi    context variables that a snapshot sets where it is applied
application.pyx .pxd .pyi  what a snapshot holds, and how it is bound for another unit and taken out again
carried.pyx .pxd .pyi      plain callables that run with a snapshot applied
isolated.pyx .pyi          generators and coroutines that run in a context of their own
portable.py                what of a snapshot can go to another process
snapshot.pyx .pxd .pyi     Snapshot, capture and carry
calls.py                   callables that go to another unit together with the snapshot that they run with
coroutine.py               the coroutine of a task that takes bindings along
policy.py                  how bindings go along with work that is handed over: for executors, pools, greenlets
"""
