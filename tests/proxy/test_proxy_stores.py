"""Proxies of what an xlocal or a local holds for the running unit."""

import threading

import pytest

import xctx
from xctx import keys


def test_a_name_of_an_xlocal():
    x = xctx.xlocal()
    user = xctx.LocalProxy(x, "user", unbound_message="nobody is logged in")
    with pytest.raises(RuntimeError, match="^nobody is logged in$"):
        user.upper()
    assert not user
    with x(user="ada"):
        assert user == "ada"
        assert user.upper() == "ADA"
        with x(user="bob"):
            assert xctx.unwrap(user) == "bob"
        assert len(user) == 3
    assert "unbound" in repr(user)


def test_a_dotted_name_of_an_xlocal():
    x = xctx.xlocal()
    bits = xctx.LocalProxy(x, "number.real.numerator")
    with x(number=7):
        assert bits + 1 == 8


def test_the_default_that_a_class_declares():
    class Current(xctx.xlocal):
        user: str = "nobody"

    current = Current()
    assert xctx.LocalProxy(current, "user") == "nobody"


@pytest.mark.parametrize("name", ["process", "thread", "greenlet", "task", "context"])
def test_a_name_of_a_local(name):
    store = xctx.local(key=getattr(keys, name))
    items = xctx.LocalProxy(store, "items")
    with pytest.raises(RuntimeError):
        len(items)
    store.items = [1, 2]
    items.append(3)
    items += [4]
    assert store.items == [1, 2, 3, 4]
    assert list(items) == [1, 2, 3, 4]


def test_each_thread_has_its_own_behind_the_same_proxy():
    store = xctx.local()
    name = store("name")
    store.name = "main"
    seen = []

    def work():
        seen.append(bool(name))
        store.name = "other"
        seen.append(str(name))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False, "other"]
    assert name == "main"


def test_calling_a_local_as_werkzeug_does():
    store = xctx.local(key=keys.context)
    user = store("user", unbound_message="no user")
    assert xctx.is_proxy(user)
    with pytest.raises(RuntimeError, match="^no user$"):
        user.upper()
    store.user = "ada"
    assert user.upper() == "ADA"


@pytest.mark.parametrize("store", [xctx.xlocal(), xctx.local()], ids=["xlocal", "local"])
def test_a_store_needs_a_name(store):
    with pytest.raises(TypeError, match="name"):
        xctx.LocalProxy(store)
