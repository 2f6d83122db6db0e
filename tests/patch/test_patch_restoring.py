"""asgiref's ``_restore_context`` in C does what asgiref's own does, of each version that xctx knows."""

import contextvars
import gc
import threading
import types
import weakref

import pytest
from helpers.interpreters import run_script
from helpers.packages import installed

from xctx._patch.stores import restoring

# As asgiref has them. The first is that of 3.5 and 3.6, the last that of 3.13.
VERSIONS = {
    "3.6": """
def _restore_context(context):
    for cvar in context:
        try:
            if cvar.get() != context.get(cvar):
                cvar.set(context.get(cvar))
        except LookupError:
            cvar.set(context.get(cvar))
""",
    "3.11": """
def _restore_context(context):
    for cvar in context:
        cvalue = context.get(cvar)
        try:
            if cvar.get() != cvalue:
                cvar.set(cvalue)
        except LookupError:
            cvar.set(cvalue)
""",
    "3.12": """
def _restore_context(context):
    for cvar in context:
        cvalue = context.get(cvar)
        if isinstance(cvalue, _Storage):
            cvalue = _rehome(cvalue)
        try:
            if cvar.get() != cvalue:
                cvar.set(cvalue)
        except LookupError:
            cvar.set(cvalue)
""",
    "3.13": """
def _restore_context(context):
    for cvar in context:
        cvalue = context.get(cvar)
        if isinstance(cvalue, _Storage):
            cvalue = _rehome(cvalue)
        try:
            if cvar.get() is not cvalue:
                cvar.set(cvalue)
        except LookupError:
            cvar.set(cvalue)
""",
}
STORAGE = """
import threading

class _Storage:
    __slots__ = ("thread_id", "data")
    def __init__(self, thread_id, data):
        self.thread_id, self.data = thread_id, data

def _rehome(storage):
    return _Storage(threading.get_ident(), storage.data)
"""
KINDS = ["theirs", "ours"]


def module_of(version):
    """A module that has what ``asgiref.sync`` of a version has."""
    made = types.ModuleType("asgiref_sync")
    exec((STORAGE if version in ("3.12", "3.13") else "") + VERSIONS[version], vars(made))
    return made


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


@pytest.fixture
def module(version):
    return module_of(version)


@pytest.fixture
def both(module):
    """Both functions: asgiref's and ours."""
    theirs = module._restore_context
    ours = restoring(theirs, vars(module))
    assert ours is not None
    return {"theirs": theirs, "ours": ours}


class Equal:
    """Equal to every other of its kind."""

    def __eq__(self, other):
        return isinstance(other, Equal)

    __hash__ = None


def outcome(restore, *, there, here, default=None):
    """What three variables have, by place: `there` in the context that is restored, `here` where it is."""
    plain, other = contextvars.ContextVar("plain"), contextvars.ContextVar("other")
    defaulted = contextvars.ContextVar("defaulted", default=default)
    source, target = contextvars.Context(), contextvars.Context()
    for context, values in ((source, there), (target, here)):
        for var, value in zip((plain, defaulted, other), values, strict=True):
            if value is not None:
                context.run(var.set, value)
    assert target.run(restore, source) is None
    return [target.get(var) for var in (plain, defaulted, other)]


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("case", ["unset", "same", "another", "equal", "default", "only here", "unset, default is it"])
def test_what_is_set_is_what_asgiref_sets(both, case, place):
    one, two, default = Equal(), Equal(), Equal()
    number, another = object(), object()
    values = {
        "unset": (number, None),
        "same": (number, number),
        "another": (number, another),
        "equal": (one, two),
        "default": (one, None),
        "only here": (None, number),
        "unset, default is it": (default, None),
    }[case]
    there, here = ([value if at == place else None for at in range(3)] for value in values)
    found = {kind: outcome(both[kind], there=there, here=here, default=default) for kind in KINDS}
    for theirs, ours in zip(found["theirs"], found["ours"], strict=True):
        assert theirs is ours


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mine", [True, False])
@pytest.mark.parametrize("where", ["current", "another context", "already here"])
def test_asgirefs_storage_is_made_this_threads(version, module, both, kind, mine, where):
    if version not in ("3.12", "3.13"):
        pytest.skip("this version has no such storage")
    var, other = contextvars.ContextVar("var"), contextvars.ContextVar("other")
    data, value = {"a": 1}, object()
    storage = module._Storage(threading.get_ident() + (not mine), data)
    source = contextvars.Context()
    source.run(var.set, storage)
    source.run(other.set, value)
    target = source if where == "current" else contextvars.Context()
    if where == "already here":
        target.run(var.set, storage)
    target.run(both[kind], source)
    found = target.get(var)
    assert type(found) is module._Storage and found.thread_id == threading.get_ident() and found.data is data
    assert target.get(other) is value and storage.thread_id == threading.get_ident() + (not mine)


def test_the_thread_is_the_one_that_threading_tells(monkeypatch):
    module = module_of("3.13")
    restore = restoring(module._restore_context, vars(module))
    var, source = contextvars.ContextVar("var"), contextvars.Context()
    source.run(var.set, module._Storage(threading.get_ident(), {}))
    monkeypatch.setattr(threading, "get_ident", lambda: "a greenlet")  # as gevent does
    target = contextvars.Context()
    target.run(restore, source)
    assert target.get(var).thread_id == "a greenlet"


@pytest.mark.parametrize("kind", KINDS)
def test_a_comparison_that_fails(both, kind):
    class Odd:
        def __ne__(self, other):
            raise KeyError("as it would")

    var = contextvars.ContextVar("var")
    source, target = contextvars.Context(), contextvars.Context()
    here, there = Odd(), Odd()
    source.run(var.set, there)
    target.run(var.set, here)
    # KeyError is a LookupError, so versions that compare take it for a variable that is not set.
    target.run(both[kind], source)
    assert target.get(var) is there


@pytest.mark.parametrize("kind", KINDS)
def test_another_error_of_a_comparison_is_raised(version, both, kind):
    if version == "3.13":
        pytest.skip("this version compares nothing")

    class Odd:
        def __ne__(self, other):
            raise ValueError("as it would")

    var = contextvars.ContextVar("var")
    source, target = contextvars.Context(), contextvars.Context()
    here = Odd()
    source.run(var.set, Odd())
    target.run(var.set, here)
    with pytest.raises(ValueError, match="as it would"):
        target.run(both[kind], source)
    assert target.get(var) is here


def test_nothing_is_kept_of_it(both):
    class Value:
        pass

    var = contextvars.ContextVar("var")
    source, target = contextvars.Context(), contextvars.Context()
    value, beneath = Value(), Value()
    source.run(var.set, value)
    target.run(var.set, beneath)
    target.run(both["ours"], source)
    target.run(both["ours"], source)
    gone, gone_beneath = weakref.ref(value), weakref.ref(beneath)
    del value, beneath, source
    assert target.get(var) is gone()
    del target
    gc.collect()
    assert gone() is None and gone_beneath() is None


@pytest.mark.parametrize("argument", [None, 1, {1: 2}])
def test_what_is_no_context(both, argument):
    with pytest.raises((TypeError, AttributeError)):
        both["ours"](argument)


@pytest.mark.parametrize(
    "source",
    [
        "def _restore_context(context):\n    for cvar in context:\n        cvar.set(context.get(cvar))",
        "def _restore_context(context, more):\n    LookupError, context.get, context.set",
        "class _restore_context:\n    pass",
        "_restore_context = print",
    ],
)
def test_a_function_that_looks_otherwise_has_no_stand_in(source):
    names = {}
    exec(source, names)
    assert restoring(names["_restore_context"], names) is None


# --- under the patch -------------------------------------------------------------------------------------------------

BEGIN = """
import sys
from xctx import patch

def found(name):
    return [each for each in patch.report() if each.name == name]
"""


@pytest.mark.parametrize("order", ["before", "after"])
def test_it_is_put_in_place_told_and_taken_back(order):
    if not installed("asgiref"):
        pytest.skip("asgiref is not installed here")
    run_script(
        BEGIN + ("import asgiref.sync\n" if order == "after" else "") + "handle = patch.locals()\nimport asgiref.sync\n"
        "made = [asgiref.sync._restore_context]\n"
        "assert type(made[0]) is type(len) and made[0].__name__ == '_restore_context', made\n"
        "[told] = found('asgiref.sync._restore_context')\n"
        "assert told.replaced and told.why == 'in asgiref.sync', told\n"
        "handle.undo()\n"
        "assert type(asgiref.sync._restore_context).__name__ == 'function'\n"
        "with patch.locals():\n    assert asgiref.sync._restore_context is made[0]\n"
        "with patch.proxies():\n    assert asgiref.sync._restore_context is not made[0]\n"
    )


def test_a_version_that_looks_otherwise_is_reported(tmp_path):
    (tmp_path / "asgiref").mkdir()
    (tmp_path / "asgiref" / "__init__.py").write_text("")
    (tmp_path / "asgiref" / "sync.py").write_text("def _restore_context(context):\n    return 'as it does'\n")
    run_script(
        BEGIN + "patch.locals()\nimport asgiref.sync\nassert asgiref.sync._restore_context(1) == 'as it does'\n"
        "[told] = found('asgiref.sync._restore_context')\n"
        "assert not told.replaced and told.why == 'xctx does not know what it does', told\n",
        path=[tmp_path],
    )


def test_what_tasks_and_threads_set_is_seen_beyond_them():
    if not installed("asgiref"):
        pytest.skip("asgiref is not installed here")
    script = (
        "import asyncio, contextvars\nfrom asgiref.local import Local\n"
        "from asgiref.sync import async_to_sync, sync_to_async\n"
        "var, store = contextvars.ContextVar('var'), Local()\n"
        "def inner():\n    var.set(var.get() + 1); store.a = store.a + 1\n"
        "async def main():\n"
        "    await sync_to_async(inner)()\n    await sync_to_async(async_to_sync(sync_to_async(inner)))()\n"
        "    return var.get(), store.a\n"
        "var.set(1); store.a = 10\n"
        "print(async_to_sync(main)(), var.get(), store.a)\n"
    )
    stock = run_script(script)
    assert run_script(f"from xctx import patch\npatch.locals()\n{script}") == stock == "(3, 12) 3 12\n"
    assert run_script(f"from asgiref.local import Local\nfrom xctx import patch\npatch.locals()\n{script}") == stock
