"""Running functions, coroutines and generators inside a context manager that each call makes anew."""

import functools
import sys


def wrap(func, make):
    """Gives `func` wrapped so that its code runs inside ``with make():``.

    Args:
        func: a function, coroutine function, generator function or async generator function.
        make: a callable that returns a new context manager.

    Returns:
        A function of the same kind. A generator is inside while it runs, and outside while it is suspended.

    Raises:
        TypeError: `func` is not callable.
    """
    import inspect  # not at the top: importing xctx stays cheap

    if not callable(func):
        raise TypeError(f"a binding decorates a function, not {func!r}")

    if inspect.isasyncgenfunction(func):

        @functools.wraps(func)
        async def wrapper(*args, **kwargs):
            generator = func(*args, **kwargs)
            step, value = unhooked, generator
            while True:
                try:
                    with make():
                        item = [await step(value)]
                except StopAsyncIteration:
                    return
                value = None  # suspended, keep nothing: an exception thrown in holds this frame
                try:
                    step, value = generator.asend, (yield item.pop())
                except BaseException as exc:  # GeneratorExit too: what it comes to, the generator says
                    step, value = generator.athrow, exc

    elif inspect.iscoroutinefunction(func):

        @functools.wraps(func)
        async def wrapper(*args, **kwargs):
            with make():
                return await func(*args, **kwargs)

    elif inspect.isgeneratorfunction(func):

        @functools.wraps(func)
        def wrapper(*args, **kwargs):
            generator = func(*args, **kwargs)
            step, value = generator.send, None
            while True:
                try:
                    with make():
                        item = [step(value)]
                except StopIteration as stop:
                    return stop.value
                value = None  # suspended, keep nothing: an exception thrown in holds this frame
                try:
                    step, value = generator.send, (yield item.pop())
                except BaseException as exc:  # GeneratorExit too: what it comes to, the generator says
                    step, value = generator.throw, exc

    else:

        @functools.wraps(func)
        def wrapper(*args, **kwargs):
            with make():
                return func(*args, **kwargs)

    return wrapper


def unhooked(generator):
    """The first step of an async generator, which the event loop does not get to know.

    It would close `generator` itself in the end, outside the context manager and at the same time as its wrapper.
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return generator.asend(None)
    finally:
        sys.set_asyncgen_hooks(*hooks)
