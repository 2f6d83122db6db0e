"""pytest: each test is a unit of work, together with its fixtures of function scope.

To use it, give pytest ``-p xctx.pytest`` on the command line, or write ``pytest_plugins = ["xctx.pytest"]`` in the
topmost ``conftest.py``. What a test keeps in a ``local(key=xctx.keys.work)`` is released at the end of the test, and
what it bound and left open is taken out of the context, so the next test starts clean. A fixture of a wider scope is
made in the unit of work of the first test that asks for it.
"""

import contextlib

import pytest

from xctx._stores.works import work

__all__: list[str] = []

_HELD = pytest.StashKey[contextlib.ExitStack]()


# Two hooks rather than one around the test: that one would be a generator, whose bindings other code does not see.
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
