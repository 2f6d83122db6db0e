"""The plugin for pytest: the real pytest, with and without its companions, each time in a process."""

import os
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

COMMON = """
    import pytest
    import xctx

    class Current(xctx.xlocal):
        user: str = "nobody"

    current = Current()
    other = xctx.xlocal()
    of_work = xctx.local(key=xctx.keys.work)
    of_thread = xctx.local()
    of_flow = xctx.local(key=xctx.keys.flow)
    units = []

    def unit():
        units.append(xctx.work.current())
        return units[-1]
"""
ON = "xctx_units = true\n"


@pytest.fixture
def suite(tmp_path):
    """suite(source, *arguments): runs pytest on a file with that source. Gives how many passed, failed and so on, and
    what was printed."""

    def run(source, *arguments, ini=ON, plugins=("xctx.pytest",), common=COMMON, installed=False, **files):
        env = {**os.environ, "PYTEST_ADDOPTS": ""}
        if installed:
            described = tmp_path / "installed" / "xctx-0.dist-info"
            described.mkdir(parents=True)
            (described / "METADATA").write_text("Metadata-Version: 2.1\nName: xctx\nVersion: 0\n")
            names = "".join(f"{name} = {module}\n" for name, module in entry_points().items())
            (described / "entry_points.txt").write_text(f"[pytest11]\n{names}")
            env["PYTHONPATH"] = str(described.parent)
            arguments = ("-p", "no:asyncio", *arguments)  # it would warn of a setting of its own
        else:
            env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        (tmp_path / "pytest.ini").write_text("[pytest]\n" + ini)
        (tmp_path / "test_them.py").write_text(textwrap.dedent(common) + textwrap.dedent(source))
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        named = [part for name in plugins for part in ("-p", name)]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-ra", "-W", "error", "-p", "no:cacheprovider", *named, *arguments],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
        )
        summary = done.stdout.rstrip().rpartition("\n")[2].partition(" in ")[0]
        counts = {kind: int(count) for count, kind in re.findall(r"(\d+) (\w+?)s?\b", summary)}
        return Result(counts, done.stdout + done.stderr)

    return run


class Result:
    def __init__(self, counts, printed):
        self.counts = counts
        self.printed = printed

    def assert_all(self, **counts):
        assert self.counts == counts, self.printed

    def left(self):
        """What the plugin said was left, by the name of the test."""
        return dict(re.findall(r"^E? *test_them\.py::(\S+) has left (.*)$", self.printed, re.MULTILINE))


# --- units of work ----------------------------------------------------------------------------------------------------


def test_a_test_and_its_own_fixtures_are_one_unit_of_work(suite):
    suite("""
        import asyncio

        @pytest.fixture
        def user():
            of_work.user = "ada"
            before = unit()
            yield "ada"
            assert of_work.user == "ada" and unit() is before

        @pytest.fixture
        def late(request):
            return request.getfixturevalue("user")

        @pytest.mark.parametrize("n", range(3))
        def test_each(n, user):
            assert vars(of_work) == {"user": user}
            assert unit() is units[-2] and units.count(units[-1]) == 2
            of_work.n = n
            async def task():
                return of_work.n
            assert asyncio.run(task()) == n

        def test_after(late):
            assert vars(of_work) == {"user": "ada"}
            assert len(set(units)) == 4 and [each.alive for each in dict.fromkeys(units)] == [False] * 3 + [True]
    """).assert_all(passed=4)


@pytest.mark.sampled
@pytest.mark.parametrize("scope", ["class", "module", "package", "session"])
def test_what_a_wider_fixture_binds_and_keeps_lives_as_long_as_that(suite, scope):
    suite(f"""
        @pytest.fixture(scope={scope!r})
        def wide():
            assert unit() is None
            of_thread.wide = of_flow.wide = 1
            with current(user="ada"):
                yield
            assert unit() is None
            del of_thread.wide, of_flow.wide

        @pytest.fixture
        def narrow():
            with other(a=1):
                yield

        class TestThem:
            def test_one(self, narrow, wide):
                assert current.user == "ada" and other.a == 1 and unit() is not None

            def test_two(self, wide):
                assert current.user == "ada" and not vars(other) and unit() is not None

        class TestDynamically:
            def test_in_the_test(self, request, narrow):
                before = unit()
                request.getfixturevalue("wide")
                assert current.user == "ada" and unit() is before and vars(other)

            def test_next(self, wide):
                assert current.user == "ada" and not vars(other)
    """).assert_all(passed=4)


def test_a_wider_fixture_that_a_fixture_asks_for_is_outside(suite):
    suite("""
        @pytest.fixture(scope="module")
        def wide():
            with current(user="ada"):
                yield unit()

        @pytest.fixture
        def narrow(request):
            with other(a=1):
                assert request.getfixturevalue("wide") is None and current.user == "ada"
                yield unit()

        def test_one(narrow):
            assert current.user == "ada" and other.a == 1 and narrow is unit()

        def test_two():
            assert current.user == "ada" and not vars(other)
    """).assert_all(passed=2)


def test_classes_of_unittest_and_setup_methods(suite):
    suite("""
        import unittest

        class Cases(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                assert unit() is None
                cls.block = current(user="ada")
                cls.block.__enter__()

            @classmethod
            def tearDownClass(cls):
                cls.block.__exit__(None, None, None)

            def setUp(self):
                self.unit = unit()
                self.enterContext(other(a=1))
                self.addCleanup(self.check)

            def check(self):
                assert unit() is self.unit

            def test_one(self):
                assert self.unit is not None and unit() is self.unit
                assert current.user == "ada" and other.a == 1
                of_work.n = 1

            def test_two(self):
                assert current.user == "ada" and other.a == 1 and not vars(of_work)

        class Asynchronous(unittest.IsolatedAsyncioTestCase):
            async def asyncSetUp(self):
                of_work.n = 1
                self.enterContext(other(b=1))

            async def test_one(self):
                assert unit() is not None and of_work.n == 1 and vars(other) == {"a": 1, "b": 1}

        @pytest.fixture
        def bound():
            with other(a=1):
                yield

        Asynchronous = pytest.mark.usefixtures("bound")(Asynchronous)

        class TestPlain:
            def setup_method(self):
                of_work.n = 1

            def teardown_method(self):
                assert of_work.n == 1

            def test_one(self):
                assert of_work.n == 1
    """).assert_all(passed=4)


def test_without_the_setting_there_is_no_unit_of_work(suite):
    suite("def test_one(): assert unit() is None; other(a=1).__enter__()", ini="").assert_all(passed=1)
    suite("def test_one(xctx_bind): xctx_bind(other(a=1))", ini="", plugins=(), installed=True).assert_all(passed=1)


BY_CONFTEST = "pytest_plugins = ['xctx.pytest']"


@pytest.mark.parametrize(
    ("plugins", "conftest", "installed"),
    [
        pytest.param((), "", True, marks=pytest.mark.thorough),
        pytest.param(("xctx.pytest",), "", True, marks=pytest.mark.thorough),
        pytest.param((), BY_CONFTEST, True, marks=pytest.mark.thorough),
        (("xctx.pytest",), BY_CONFTEST, True),
        ((), BY_CONFTEST, False),
        (("xctx.pytest",), BY_CONFTEST, False),
    ],
)
def test_however_it_is_asked_for_it_is_registered_once(suite, plugins, conftest, installed):
    ini = (
        ON if plugins or installed else ""
    )  # a setting of a plugin that a conftest loads is known too late for -W error
    result = suite(
        "def test_one(xctx_bind, pytestconfig): assert (unit() is not None) == pytestconfig.getini('xctx_units')",
        ini=ini,
        plugins=plugins,
        conftest=conftest,
        installed=installed,
    )
    result.assert_all(passed=1)


def entry_points():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    return project["entry-points"]["pytest11"]


# --- asynchronous tests -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop_scope", ["function", "module"])
def test_with_pytest_asyncio(suite, loop_scope):
    pytest.importorskip("pytest_asyncio")
    suite(
        f"""
        import asyncio
        import pytest_asyncio
        pytestmark = pytest.mark.asyncio(loop_scope={loop_scope!r})

        @pytest_asyncio.fixture(scope="module", loop_scope="module")
        async def wide():
            assert unit() is None
            with current(user="ada"):
                yield

        @pytest_asyncio.fixture(loop_scope={loop_scope!r})
        async def narrow():
            of_work.n = 1
            with other(a=1):
                yield unit()
            assert of_work.n == 1

        @pytest.mark.parametrize("n", range(2))
        async def test_one(wide, narrow, xctx_bind, n):
            await asyncio.sleep(0)
            assert current.user == "ada" and other.a == 1 and of_work.n == 1 and unit() is narrow
            xctx_bind(other(b=1))

        async def test_two():
            assert unit() is not None and not vars(of_work) and not vars(other)
    """,
        plugins=["xctx.pytest", "pytest_asyncio.plugin"],
        ini=ON + "asyncio_default_fixture_loop_scope = function\n",
    ).assert_all(passed=3)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_with_anyio(suite, backend):
    pytest.importorskip("anyio")
    pytest.importorskip(backend)
    suite(
        f"""
        pytestmark = pytest.mark.anyio

        @pytest.fixture
        def anyio_backend():
            return {backend!r}

        @pytest.fixture
        async def narrow(anyio_backend):
            of_work.n = 1
            with other(a=1):
                yield unit()
            assert of_work.n == 1

        @pytest.mark.parametrize("n", range(2))
        async def test_one(narrow, n):
            assert other.a == 1 and of_work.n == 1 and unit() is narrow

        async def test_two():
            assert unit() is not None and not vars(of_work) and not vars(other)
    """,
        plugins=["xctx.pytest", "anyio.pytest_plugin"],
    ).assert_all(passed=3)


# --- what is left -----------------------------------------------------------------------------------------------------


def test_what_a_test_has_left_is_an_error_and_is_taken_away(suite):
    result = suite("""
        def test_bound():
            current(user="ada").__enter__()
            other(a=1, b=2).__enter__()

        def test_kept():
            of_thread.a = of_flow.b = of_work.c = 1

        def test_fails():
            other(a=1).__enter__()
            assert False

        def test_a_unit_of_work():
            xctx.work().__enter__()

        @pytest.fixture
        def leaves():
            other(a=1).__enter__()

        def test_by_a_fixture(leaves):
            pass

        def test_clean():
            assert current.user == "nobody"
            for store in other, of_thread, of_flow, of_work:
                assert not vars(store)
            with other(a=1):
                of_thread.a = 1
                del of_thread.a
    """)
    result.assert_all(passed=5, failed=1, error=5)
    assert result.left() == {
        "test_bound": "open: 'a', 'b' of test_them.other; 'user' of test_them.current",
        "test_kept": "kept: 'a' in test_them.of_thread; 'b' in test_them.of_flow",
        "test_fails": "open: 'a' of test_them.other",
        "test_a_unit_of_work": "open: a unit of work",
        "test_by_a_fixture": "open: 'a' of test_them.other",
    }


def test_where_it_was_opened_is_told_if_that_is_noted(suite):
    result = suite("""
        xctx.debug.track()

        def test_bound():
            other(a=1).__enter__()
    """)
    result.assert_all(passed=1, error=1)
    assert re.search(r"'a' of test_them\.other, entered in .*test_them\.py, line \d+$", result.left()["test_bound"])


def test_what_is_in_a_cycle_is_collected_before_it_counts(suite):
    suite("""
        import gc

        class Holder:
            def __init__(self):
                self.block = other(a=1)
                self.block.__enter__()
                self.me = self
            def __del__(self):
                self.block.__exit__(None, None, None)

        def test_one():
            gc.disable()
            Holder()
            assert other.a == 1

        def test_two():
            gc.enable()
            assert not vars(other)
    """).assert_all(passed=2)


def test_what_does_not_count_as_left(suite):
    suite(
        """
        class Connection(xctx.local):
            def __init__(self):
                self.handle = object()

        class Made(xctx.local):
            names: list = xctx.field(default_factory=list)

        cached, made, named = Connection(), Made(), xctx.local()

        @pytest.fixture
        def of_test():
            return xctx.local()

        def test_one(of_test):
            cached.handle
            made.names
            named.parser = 1
            of_test.a = 1              # a store that ends with the test

        def test_two():
            assert named.parser == 1
        """,
        ini=ON + "xctx_keeps = test_them:named\n",
    ).assert_all(passed=2)


@pytest.mark.parametrize("store", ["test_them:nothing", "test_them:unit", "test_them"])
def test_a_store_that_may_keep_has_to_be_one(suite, store):
    result = suite("def test_one(): of_thread.a = 1", ini=ON + f"xctx_keeps = {store}\n")
    assert "xctx_keeps" in result.printed and repr(store) in result.printed
    assert "no tests ran" in result.printed


def test_fixtures_that_fail(suite):
    result = suite("""
        @pytest.fixture
        def before():
            other(a=1).__enter__()
            raise ValueError("before")

        @pytest.fixture
        def after():
            with current(user="ada"):
                yield
                raise ValueError("after")

        @pytest.fixture(scope="module")
        def wide():
            raise ValueError("wide")

        def test_before(before):
            pass

        def test_after(after):
            of_work.n = 1

        def test_wide(wide):
            pass

        def test_late(request):
            request.getfixturevalue("wide")

        def test_skipped():
            pytest.skip("here")

        def test_clean():
            assert not vars(other) and not vars(of_work) and current.user == "nobody" and unit()
    """)
    result.assert_all(passed=2, failed=1, skipped=1, error=4)
    assert result.left() == {"test_before": "open: 'a' of test_them.other"}


@pytest.mark.sampled
@pytest.mark.parametrize("mode", ["prepend", "append", "importlib"])
def test_import_modes(suite, mode):
    result = suite("def test_one(): other(a=1).__enter__()", f"--import-mode={mode}")
    result.assert_all(passed=1, error=1)
    assert result.left() == {"test_one": "open: 'a' of test_them.other"}


def test_in_several_processes(suite):
    pytest.importorskip("xdist")
    result = suite(
        """
        @pytest.mark.parametrize("n", range(6))
        def test_each(n):
            assert not vars(other) and unit()
            if n == 3:
                other(a=1).__enter__()
    """,
        *("-n", "2"),
        plugins=["xctx.pytest", "xdist.plugin", "xdist.looponfail"],
    )
    result.assert_all(passed=6, error=1)
    assert result.left() == {"test_each[3]": "open: 'a' of test_them.other"}


def test_pytest_within_a_test(suite):
    suite(
        """
        def test_outer(pytester):
            outer = unit()
            pytester.makepyfile(test_inner='''
                import test_them
                def test_inner():
                    assert test_them.unit() is not None and not vars(test_them.of_work)
                def test_leaves():
                    test_them.other(a=1).__enter__()
            ''')
            of_work.n = 1
            with other(outer=1):
                inner = pytester.inline_run("-o", "xctx_units=true", "-p", "xctx.pytest")
                inner.assertoutcome(passed=2, failed=1)
                assert vars(other) == {"outer": 1}
            assert unit() is outer and units[-2] is not outer and of_work.n == 1

        def test_after():
            assert not vars(other)
    """,
        plugins=["xctx.pytest", "pytester"],
    ).assert_all(passed=2)


# --- fixtures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ini", ["", ON])
def test_fixtures_that_bind(suite, ini):
    suite(
        """
        @pytest.fixture(scope="module", autouse=True)
        def of_module(xctx_bind_module):
            assert xctx_bind_module(other(module=1)) is other

        @pytest.fixture(scope="class")
        def of_class(xctx_bind_class):
            xctx_bind_class(other(a="class"))

        @pytest.fixture
        def ada(xctx_bind):
            xctx_bind(current(user="ada"))

        class TestThem:
            def test_one(self, ada, of_class, xctx_bind):
                assert current.user == "ada" and vars(other) == {"module": 1, "a": "class"}
                xctx_bind(current(user="bob"))
                xctx_bind(other(a="function"))
                assert current.user == "bob" and vars(other) == {"module": 1, "a": "function"}

            def test_two(self, of_class):
                assert current.user == "nobody" and vars(other) == {"module": 1, "a": "class"}

        def test_three(xctx_bind_session):
            assert vars(other) == {"module": 1}
            xctx_bind_session(other(session=1))

        def test_four():
            assert vars(other) == {"module": 1, "session": 1}
    """,
        ini=ini,
    ).assert_all(passed=4)


def test_a_fixture_that_looks_in_all_contexts_and_threads(suite):
    result = suite(
        """
        import contextvars
        import threading
        import xctx.pytest

        xctx.pytest.ENDING = 1
        pytestmark = pytest.mark.usefixtures("xctx_nothing_left")
        context = contextvars.Context()

        def test_in_another_context():
            context.run(other(a=1).__enter__)

        def test_a_thread_that_ends():
            thread = threading.Thread(target=lambda: other(a=1).__enter__())
            thread.start()
            thread.join()

        def test_clean():
            with other(a=1):
                pass
    """,
        ini="",
    )
    result.assert_all(passed=3, error=1)
    assert result.left() == {"test_in_another_context": "bound: 'a' of test_them.other"}
