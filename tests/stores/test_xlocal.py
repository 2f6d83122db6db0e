"""What an xlocal binds and gives: names, blocks, which units see them, and what is refused."""

import contextlib
import copy
import pickle
import threading
import weakref

import pytest

import xctx
from xctx import keys

pytestmark = pytest.mark.usefixtures("nothing_left_bound")


# --- blocks -----------------------------------------------------------------------------------------------------------


def test_a_name_is_bound_inside_its_block_and_not_outside(x):
    assert not hasattr(x, "a")
    with x(a=1):
        assert x.a == 1
    assert not hasattr(x, "a")


def test_as_gives_the_xlocal(x):
    with x(a=1) as y:
        assert y is x


def test_nothing_is_bound_until_the_block_is_entered(x):
    scope = x(a=1)
    assert not hasattr(x, "a")
    with scope:
        assert x.a == 1


def test_an_inner_block_adds_and_overrides(x):
    with x(a=1, b=2):
        with x(a=3, c=4):
            assert (x.a, x.b, x.c) == (3, 2, 4)
        assert (x.a, x.b) == (1, 2)
        assert not hasattr(x, "c")


def test_a_block_ends_by_an_exception_too(x):
    with pytest.raises(OSError, match="out"), x(a=1):
        raise OSError("out")
    assert not hasattr(x, "a")


def test_an_xlocal_can_be_bound_with_no_names(x):
    with x(), x(a=1), x():
        assert x.a == 1


def test_one_binding_is_entered_repeatedly(x):
    scope = x(a=1)
    for _ in range(3):
        with scope:
            assert x.a == 1
        assert not hasattr(x, "a")


def test_one_binding_is_entered_within_itself(x):
    scope = x(a=1)
    with scope, x(a=2), scope:
        assert x.a == 1
        with scope:
            assert x.a == 1
        assert x.a == 1
    assert not hasattr(x, "a")


def test_leaving_a_binding_entered_twice_leaves_the_inner_one(x):
    scope = x(a=1)
    with scope:
        with x(a=2):
            with scope:
                assert x.a == 1
            assert x.a == 2
        assert x.a == 1


def test_many_names(x):
    names = {f"n{i}": i for i in range(50)}
    with x(**names), x(n7="seven", m=0):
        assert [getattr(x, name) for name in names] == [*range(7), "seven", *range(8, 50)]
        assert x.m == 0
        assert not hasattr(x, "n50")


def test_names_that_are_not_interned(x):
    name = "".join(["na", "me"])
    with x(**{name: 1}), x(b=2):
        assert getattr(x, "".join(["nam", "e"])) == 1
        assert not hasattr(x, "".join(["nam", "f"]))


def test_any_value_can_be_bound(x):
    with x(none=None, missing=AttributeError, itself=x):
        assert x.none is None
        assert x.itself is x
        assert x.missing is AttributeError


def test_several_xlocals_do_not_meet(key):
    xs = [xctx.xlocal(key=key) for _ in range(40)]
    with contextlib.ExitStack() as stack:
        for i, each in enumerate(xs):
            stack.enter_context(each(a=i))
            assert [getattr(one, "a", None) for one in xs] == [*range(i + 1)] + [None] * (39 - i)


@pytest.mark.parametrize("name", ["self", "cls", "key", "new", "owner", "name", "args", "names", "class", "été"])
def test_any_public_name_is_fair(x, name):
    with x(**{name: 1}):
        assert getattr(x, name) == 1
        assert vars(x) == {name: 1}


def test_an_xlocal_is_called_any_way_there_is(x):
    for scope in (x(self=1), x.__call__(self=1), type(x).__call__(x, self=1)):
        with scope:
            assert x.self == 1


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_missing_name_is_an_attribute_error_that_names_it(x):
    with pytest.raises(AttributeError, match="'xlocal' object has nothing bound to 'nope' here"):
        x.nope
    with x(a=1), pytest.raises(AttributeError, match="'nope'"):
        x.nope
    assert getattr(x, "nope", 1) == 1


def test_attributes_are_read_only(x):
    with x(a=1):
        with pytest.raises(AttributeError, match="cannot set 'a'"):
            x.a = 2
        with pytest.raises(AttributeError, match="cannot set 'b'"):
            x.b = 2
        with pytest.raises(AttributeError, match="cannot delete 'a'"):
            del x.a
        with pytest.raises(AttributeError, match="cannot set '__dict__'"):
            x.__dict__ = {}
        assert x.a == 1
    with pytest.raises(AttributeError, match="cannot delete 'a'"):
        del x.a


def test_a_name_with_an_underscore_is_refused_before_anything_is_bound(x):
    with pytest.raises(TypeError, match="cannot bind '_b'"):
        x(a=1, _b=2)
    with pytest.raises(TypeError, match="cannot bind '__class__'"):
        x(__class__=2)
    assert not hasattr(x, "a")
    assert vars(x) == {}


def test_a_value_without_a_name_is_refused(x):
    with pytest.raises(TypeError, match="it was given 1 without a name"):
        x(1)
    with pytest.raises(TypeError, match="it was given 1 without a name"):
        x.__call__(1, a=2)


def test_leaving_what_was_not_entered(x):
    with pytest.raises(RuntimeError, match="it was not entered"):
        x(a=1).__exit__(None, None, None)
    scope = x(a=1)
    with scope:
        pass
    with pytest.raises(RuntimeError, match="it was not entered"):
        scope.__exit__(None, None, None)
    with x(a=2):
        with pytest.raises(RuntimeError, match="it was not entered"):
            scope.__exit__(None, None, None)
        assert x.a == 2


def test_a_key_is_a_key_or_a_callable():
    with pytest.raises(TypeError, match="or a callable that returns a hashable, not 'thread'"):
        xctx.xlocal(key="thread")
    with pytest.raises(TypeError):
        xctx.xlocal(1)
    with pytest.raises(TypeError):
        xctx.xlocal(keys.thread)


def test_an_xlocal_is_not_pickled_nor_copied(x):
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot pickle 'xlocal' object"):
            attempt(x)


def test_a_binding_is_not_pickled_nor_copied(x):
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot pickle a binding"):
            attempt(x(a=1))


# --- how it shows -----------------------------------------------------------------------------------------------------


def test_vars_is_a_new_dict_of_what_is_bound(x):
    assert vars(x) == {}
    with x(a=1), x(b=2):
        vars(x)["c"] = 3
        vars(x).clear()
        assert vars(x) == x.__dict__ == {"a": 1, "b": 2}


def test_dir_has_what_is_bound(x):
    assert "a" not in dir(x)
    with x(a=1):
        assert "a" in dir(x)
        assert "new" in dir(x)


def test_repr_has_the_names_and_the_key(key_name):
    x = xctx.xlocal(key=list if key_name == "callable" else getattr(keys, key_name))
    if key_name != "callable":
        assert repr(x) == f"<xlocal ({key_name}): nothing bound>"
        with x(a=object(), b=2):
            assert repr(x) == f"<xlocal ({key_name}): a, b>"
    y = xctx.xlocal()
    assert repr(y(a=1)) == "<binding of a for <xlocal (flow): nothing bound>>"


def test_an_xlocal_is_hashable_and_equal_to_itself_alone(x):
    assert x == x
    assert x != xctx.xlocal()
    assert {x: 1}[x] == 1
    assert weakref.ref(x)() is x


def test_new_is_the_same_as_calling_the_class(key):
    class Mine(xctx.xlocal):
        pass

    assert type(xctx.xlocal.new()) is xctx.xlocal
    assert type(Mine.new(key=key)) is Mine
    assert key.name in repr(Mine.new(key=key))


# --- who sees it ------------------------------------------------------------------------------------------------------


def test_a_binding_is_seen_where_the_key_says(x, other_unit, sees_bindings):
    with x(a=1):
        assert other_unit(lambda: getattr(x, "a", None)) == (1 if sees_bindings else None)


def test_a_binding_made_in_another_unit_is_not_seen_here(x, other_unit):
    def bind():
        with x(a=2):
            assert x.a == 2
        return getattr(x, "a", None)

    other_unit(bind)
    assert not hasattr(x, "a")
    with x(b=1):
        other_unit(bind)
        assert not hasattr(x, "a")
        assert x.b == 1


def test_a_binding_left_open_in_another_unit_is_not_seen_here(x, unit_kind):
    scopes = []

    def bind():
        scopes.append(x(a=2))
        scopes[0].__enter__()
        assert x.a == 2
        if unit_kind.name == "greenlet+context":  # it is this very context
            here.append(x(b=1))
            scopes.pop().__exit__(None, None, None)

    here = []
    with x(b=1):
        unit_kind.run(bind)
        assert not hasattr(x, "a")
        assert x.b == 1


def test_what_is_bound_around_and_within_another_unit(x, other_unit, sees_bindings):
    def bind():
        with x(b=2):
            inside = dict(vars(x))
        return inside, dict(vars(x))

    seen = {"a": 1} if sees_bindings else {}
    with x(a=1):
        assert other_unit(bind) == ({**seen, "b": 2}, seen)
        assert vars(x) == {"a": 1}


def test_one_binding_in_many_units_at_once(x, other_unit):
    scope = x(a=1)

    def bind():
        with scope:
            return x.a

    with scope:
        assert other_unit(bind) == 1
        with scope:
            assert other_unit(bind) == 1
        assert x.a == 1
    assert not hasattr(x, "a")


def test_one_binding_in_threads_at_the_same_time(x):
    scope = x(a=1)
    together = threading.Barrier(4)
    seen = []

    def run():
        together.wait()
        with scope:
            together.wait()
            seen.append(x.a)
            together.wait()
        seen.append(getattr(x, "a", None))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen, key=str) == [1] * 4 + [None] * 4
    with pytest.raises(RuntimeError, match="not entered"):
        scope.__exit__(None, None, None)


def test_a_callables_key_is_asked_at_each_use():
    who = ["anna"]
    x = xctx.xlocal(key=lambda: who[0])
    with x(a=1):
        who[0] = "ben"
        assert not hasattr(x, "a")
        with x(a=2):
            who[0] = "anna"
            assert x.a == 1
            who[0] = "ben"
            assert x.a == 2
        who[0] = "anna"
    who[0] = "anna"
    assert not hasattr(x, "a")


def test_a_forgotten_values_bindings_are_not_those_of_its_next_unit():
    key = keys.Key(lambda: "value")
    x = xctx.xlocal(key=key)
    with x(a=1):
        key.forget("value")
        assert not hasattr(x, "a")
        with x(b=2):
            assert vars(x) == {"b": 2}
    assert vars(x) == {}
