"""Fixtures that yield, and hook wrappers, bind for the tests that use them: the real frameworks, each in a process."""

import os
import subprocess
import sys
import textwrap

import pytest

COMMON = """
    import contextlib
    import pytest
    import xctx

    x = xctx.xlocal()
"""

PYTEST = """
    @pytest.fixture
    def outer():
        with x(a="fixture", outer=1):
            yield

    def binds():
        with x(a="inner"):
            yield "value"

    @pytest.fixture
    def inner(outer):
        yield from binds()

    @pytest.fixture(scope="module")
    def of_module():
        with x(module=1):
            yield

    @pytest.fixture
    def stacked():
        with contextlib.ExitStack() as stack:
            stack.enter_context(x(stacked=1))
            yield

    def test_one(of_module, inner, stacked):
        assert inner == "value"
        assert vars(x) == {"module": 1, "a": "inner", "outer": 1, "stacked": 1}

    def test_next(of_module, outer):
        assert vars(x) == {"module": 1, "a": "fixture", "outer": 1}

    def test_last():
        assert set(vars(x)) <= {"module"}
"""

HOOKS = """
    def test_one():
        assert plugin_x.new == "test_one"
        assert plugin_x.old == "test_one"

    import conftest
    plugin_x = conftest.x
"""

CONFTEST = """
    import pytest
    import xctx

    x = xctx.xlocal()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(item):
        with x(new=item.name):
            return (yield)

    class Old:
        @pytest.hookimpl(hookwrapper=True)
        def pytest_pyfunc_call(self, pyfuncitem):
            with x(old=pyfuncitem.name):
                yield

    def pytest_configure(config):
        config.pluginmanager.register(Old())
"""

ASYNCIO = """
    import asyncio
    import pytest_asyncio

    @pytest_asyncio.fixture
    async def outer():
        await asyncio.sleep(0)
        with x(a="fixture", outer=1):
            await asyncio.sleep(0)
            yield "value"

    @pytest_asyncio.fixture
    async def inner(outer):
        with x(a="inner"):
            yield outer

    @pytest.mark.asyncio
    async def test_one(inner):
        await asyncio.sleep(0)
        assert inner == "value"
        assert vars(x) == {"a": "inner", "outer": 1}

    @pytest.mark.asyncio
    async def test_its_own_generators_do_not():
        async def generate():
            with x(a=1):
                yield
        generator = generate()
        await anext(generator)
        assert not hasattr(x, "a")
        await generator.aclose()
"""

ANYIO = """
    import anyio

    @pytest.fixture(params=BACKENDS)
    def anyio_backend(request):
        return request.param

    @pytest.fixture
    async def outer(anyio_backend):
        await anyio.sleep(0)
        with x(a="fixture", outer=1):
            await anyio.sleep(0)
            yield "value"

    @pytest.fixture
    async def inner(outer):
        with x(a="inner"):
            yield outer

    @pytest.mark.anyio
    async def test_one(inner):
        await anyio.sleep(0)
        assert inner == "value"
        assert vars(x) == {"a": "inner", "outer": 1}
"""


def passes(folder, source, *arguments):
    (folder / "test_them.py").write_text(textwrap.dedent(COMMON) + textwrap.dedent(source))
    (folder / "pytest.ini").write_text("[pytest]\n")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments, "test_them.py"],
        cwd=folder,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "passed" in ran.stdout
    assert "skipped" not in ran.stdout


def test_fixtures_of_pytest(tmp_path):
    passes(tmp_path, PYTEST)


def test_hook_wrappers(tmp_path):
    (tmp_path / "conftest.py").write_text(textwrap.dedent(CONFTEST))
    passes(tmp_path, HOOKS)


def test_fixtures_of_pytest_asyncio(tmp_path):
    pytest.importorskip("pytest_asyncio")
    passes(tmp_path, ASYNCIO, "-p", "pytest_asyncio.plugin")


@pytest.mark.parametrize("backends", ["asyncio", "trio"])
def test_fixtures_of_anyio(tmp_path, backends):
    pytest.importorskip("anyio")
    pytest.importorskip(backends)
    passes(tmp_path, ANYIO.replace("BACKENDS", repr([backends])), "-p", "anyio.pytest_plugin")
