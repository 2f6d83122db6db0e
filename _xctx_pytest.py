"""What pytest loads by the entry point ``xctx.pytest``: two settings, and fixtures. See :mod:`xctx.pytest`.

It lies outside of the package, because each pytest of an environment loads it, and importing any module of the package
imports all of xctx. Here xctx is imported only for a suite that uses it.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("xctx_units", "Each test is a unit of work, and what it leaves is an error.", "bool", False)
    parser.addini("xctx_keeps", "Locals in which tests may leave what they like, as module:name.", "args", [])


def pytest_configure(config: pytest.Config) -> None:
    if config.getini("xctx_units"):
        from xctx.pytest import Units

        config.pluginmanager.register(Units(config), "xctx_units")


@pytest.fixture
def xctx_bind() -> Iterator[Callable[[AbstractContextManager[Any]], Any]]:
    """xctx_bind(current(user="ada")): binds until the end of the test. Any block can be entered by it."""
    with ExitStack() as stack:
        yield stack.enter_context


def _binds_outside(config: pytest.Config) -> Iterator[Callable[[AbstractContextManager[Any]], Any]]:
    # A test that calls this binds for the tests that follow too, so it does so outside of its own unit of work.
    units = config.pluginmanager.get_plugin("xctx_units")
    with ExitStack() as stack:
        yield stack.enter_context if units is None else partial(units.outside, stack.enter_context)


@pytest.fixture(scope="class")
def xctx_bind_class(pytestconfig: pytest.Config) -> Iterator[Callable[[AbstractContextManager[Any]], Any]]:
    """As xctx_bind, until the end of the class."""
    yield from _binds_outside(pytestconfig)


@pytest.fixture(scope="module")
def xctx_bind_module(pytestconfig: pytest.Config) -> Iterator[Callable[[AbstractContextManager[Any]], Any]]:
    """As xctx_bind, until the end of the module."""
    yield from _binds_outside(pytestconfig)


@pytest.fixture(scope="package")
def xctx_bind_package(pytestconfig: pytest.Config) -> Iterator[Callable[[AbstractContextManager[Any]], Any]]:
    """As xctx_bind, until the end of the package."""
    yield from _binds_outside(pytestconfig)


@pytest.fixture(scope="session")
def xctx_bind_session(pytestconfig: pytest.Config) -> Iterator[Callable[[AbstractContextManager[Any]], Any]]:
    """As xctx_bind, until the end of the run."""
    yield from _binds_outside(pytestconfig)


@pytest.fixture
def xctx_nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Checks that the test leaves nothing bound in any context of any thread. Takes as long as a garbage collection."""
    from xctx.pytest import checking_everywhere

    with checking_everywhere(request.node.nodeid):
        yield
