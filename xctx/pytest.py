"""pytest: each test is a unit of work, together with its fixtures of function scope.

``-p xctx.pytest`` on the command line, or ``pytest_plugins = ["xctx.pytest"]`` in the topmost ``conftest.py``. What a
test keeps in a ``local(key=xctx.keys.work)`` is released at its end, and what it bound and left open is taken out of
the context, so the next test starts clean. Fixtures of wider scopes are made in the unit of work of the test that asks
for them first.
"""

import contextlib

import pytest

from xctx._stores.works import work

__all__: list[str] = []

_HELD = pytest.StashKey[contextlib.ExitStack]()


# Not one hook around all of it: that would be a generator, and what a generator binds others do not see.
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    stack = contextlib.ExitStack()
    stack.enter_context(work())
    item.stash[_HELD] = stack


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    stack = item.stash.get(_HELD, None)
    if stack is not None:
        stack.close()
