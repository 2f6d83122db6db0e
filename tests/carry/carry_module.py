"""xlocals of a module, one for each key, for tests that cross processes; and functions that read them there."""

import contextvars
import multiprocessing
import threading

import xctx

on_process = xctx.xlocal(key=xctx.keys.process)
on_thread = xctx.xlocal(key=xctx.keys.thread)
on_greenlet = xctx.xlocal(key=xctx.keys.greenlet)
on_task = xctx.xlocal(key=xctx.keys.task)
on_flow = xctx.xlocal(key=xctx.keys.flow)
on_work = xctx.xlocal(key=xctx.keys.work)
on_context = xctx.xlocal(key=xctx.keys.context)
on_callable = xctx.xlocal(key=xctx.keys.Key(threading.get_ident, "callable"))

ALL = {
    "process": on_process,
    "thread": on_thread,
    "greenlet": on_greenlet,
    "task": on_task,
    "flow": on_flow,
    "work": on_work,
    "context": on_context,
    "callable": on_callable,
}

VAR = contextvars.ContextVar("VAR")
START_METHODS = [name for name in ("fork", "spawn", "forkserver") if name in multiprocessing.get_all_start_methods()]

other = xctx.xlocal(key=xctx.keys.greenlet)
initialised = []  # what each call of `initialise` saw, in this process


def initialise(*more):
    initialised.append((vars(other), *more))


def what_was_initialised(*ignored):
    return initialised


def look_at_both(key_name):
    return look(key_name), vars(other)


def look(key_name):
    return vars(ALL[key_name])


def look_at_var():
    return VAR.get(None)


def look_and_set(value):
    seen = VAR.get(None)
    VAR.set(value)
    return seen
