"""Greenlets and gevent's pools that take bindings along."""

import pytest
from carry_module import ALL, VAR, look, look_and_set, look_at_var


@pytest.fixture
def x(key_name):
    """An xlocal of a module, as those that cross processes are."""
    return ALL[key_name]


@pytest.mark.parametrize("bindings", ["copy", "share", "empty"])
def test_greenlets_that_carry(gevent, x, key_name, bindings):
    import xctx.gevent

    expected = {} if bindings == "empty" else {"a": 1}

    class Looker(xctx.gevent.Greenlet):
        def _run(self):
            return look(key_name)

    with x(a=1):
        later = xctx.gevent.spawn_later(0.001, look, key_name, bindings=bindings)
        greenlets = [
            xctx.gevent.spawn(look, key_name, bindings=bindings),
            Looker(bindings=bindings),
            Looker.spawn(bindings=bindings),
        ]
        greenlets[1].start()
        seen = [each.get() for each in greenlets]
        if bindings == "share":
            assert later.get() == expected
        assert look(key_name) == {"a": 1}
    if bindings == "share" and key_name in {"process", "thread", "flow", "context", "callable"}:
        assert look(key_name) == {}
    else:
        assert later.get() == expected
    assert seen == [expected] * 3
    assert look(key_name) == {}


@pytest.mark.parametrize("bindings", ["copy", "share", "empty"])
@pytest.mark.parametrize("kind", ["Pool", "Group", "ThreadPool", "ThreadPoolExecutor"])
def test_pools_of_gevent_that_carry(gevent, x, key_name, bindings, kind):
    import xctx.gevent

    if bindings == "share" and "Thread" in kind:
        with pytest.raises(ValueError, match="threads run at the same time"):
            getattr(xctx.gevent, kind)(1, bindings=bindings)
        return
    pool = xctx.gevent.Group(bindings=bindings) if kind == "Group" else getattr(xctx.gevent, kind)(1, bindings=bindings)
    with x(a=1):
        if kind == "ThreadPoolExecutor":
            seen = [pool.submit(look, key_name).result(), *pool.map(look, [key_name])]
        else:
            seen = [
                pool.spawn(look, key_name).get(),
                pool.apply(look, (key_name,)),
                pool.apply_async(look, (key_name,)).get(),
                *pool.map(look, [key_name]),
                *pool.map_async(look, [key_name]).get(),
                *pool.imap(look, [key_name, key_name]),
                *pool.imap_unordered(look, [key_name]),
            ]
        assert look(key_name) == {"a": 1}
    if "Thread" in kind:
        pool.shutdown() if kind == "ThreadPoolExecutor" else pool.kill()
    assert seen == [{} if bindings == "empty" else {"a": 1}] * len(seen)


def test_greenlets_that_share_a_context_share_its_variables(gevent):
    import xctx.gevent

    token = VAR.set(1)
    seen = [
        xctx.gevent.spawn(look_and_set, bindings, bindings=bindings).get() for bindings in ("copy", "empty", "share")
    ]
    assert (seen, VAR.get()) == ([None, None, 1], "share")
    assert xctx.gevent.spawn(look_at_var, contextvars=[VAR]).get() == "share"
    assert xctx.gevent.Pool(1, bindings="share").apply(look_and_set, (8,)) == "share"
    assert VAR.get() == 8
    VAR.reset(token)
