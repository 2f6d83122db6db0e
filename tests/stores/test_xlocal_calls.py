"""What a scope does when it is called, entered by a with statement, and entered by hand."""

import contextlib
import contextvars
import gc
import threading
import weakref

import pytest

import xctx


class Name(str):
    def __str__(self):
        return "_reserved"

    def __eq__(self, other):
        raise AssertionError("compared")

    def __hash__(self):
        return 1


@pytest.mark.parametrize("count", [0, 2, 3, 4])
@pytest.mark.parametrize("argument", [len, None], ids=["functions", "None"])
def test_a_plain_call_takes_one_function(x, count, argument):
    scope = x(a=1)
    with pytest.raises(TypeError, match="decorates one function"):
        scope(*[argument] * count)
    assert not hasattr(x, "a")
    with scope:
        with pytest.raises(TypeError, match="decorates one function"):
            scope(*[argument] * count)
        assert x.a == 1
    assert not hasattr(x, "a")


def test_a_plain_call_by_c_code_takes_one_function(x):
    scope = x(a=1)
    with pytest.raises(TypeError, match="decorates one function"):
        contextvars.copy_context().run(scope)
    with pytest.raises(TypeError, match="decorates one function"):
        sorted([1], key=lambda each: list(map(scope, [None], [None], [None])))
    assert not hasattr(x, "a")


def test_a_name_is_what_it_spells(x):
    with x(**{Name("user"): 1}):
        assert vars(x) == {"user": 1}
        assert [type(name) for name in vars(x)] == [str]
    with pytest.raises(TypeError, match="reserved"):
        x(**{Name("_user"): 1})


def test_a_declared_name_is_what_it_spells(key):
    class Current(xctx.xlocal, key=key):
        user: int

    with Current()(**{Name("user"): 1}) as current:
        assert current.user == 1


def test_methods_taken_as_attributes_need_no_counterpart(x):
    scope = x(a=1)
    enter, leave = scope.__enter__, scope.__exit__
    for method in (enter, leave):
        assert method.__self__ is scope and "bound method" in repr(method)
    with pytest.raises(RuntimeError, match="not entered"):
        leave(None, None, None)
    assert enter() is x
    assert x.a == 1
    with scope:  # looks both up, and is nothing to those
        assert x.a == 1
    leave(None, None, None)
    assert not hasattr(x, "a")
    with pytest.raises(TypeError, match="takes no arguments"):
        enter(1)
    assert not hasattr(x, "a")


def test_methods_of_the_class(x):
    scope = x(a=1)
    cls = type(scope)
    assert cls.__enter__(scope) is x
    assert x.a == 1
    assert cls.__exit__(scope, None, None, None) is False
    assert not hasattr(x, "a")
    for method in (cls.__enter__, cls.__exit__):
        with pytest.raises(TypeError):
            method(x)


def test_what_a_scope_is_made_of_is_made_by_nobody_else(x, store):
    scope = x(a=1)
    with scope:
        xctx.local(key=xctx.keys.context).a = 1
        classes = [type(scope), type(vars(type(scope))["__enter__"])]
        names = {"Binding", "Block", "BoundEntry", "ContextValues", "CopyGroup"}
        classes += {type(each) for each in gc.get_objects() if type(each).__name__ in names}
    assert len(classes) >= 4
    for cls in classes:
        with pytest.raises(TypeError):
            cls()
        with pytest.raises(TypeError):
            object.__new__(cls)
    assert vars(x) == {}


def test_looking_at_a_method_binds_and_keeps_nothing(x, thing, no_collector):
    value = thing()
    scope, gone = x(a=value), weakref.ref(value)
    assert not hasattr(scope, "__aenter__")
    assert hasattr(scope, "__enter__") and hasattr(scope, "__exit__")
    assert isinstance(scope, contextlib.AbstractContextManager)
    assert not hasattr(x, "a")
    del scope, value
    assert gone() is None


def test_a_with_statement_ends_what_it_bound_itself_whoever_has_the_same_scope_open(x):
    """In the order in which generators happen to be closed."""
    scope = x(a=1)

    @xctx.transparent
    def block():
        with scope:
            yield

    first, second, third = block(), block(), block()
    context = contextvars.copy_context()

    def use():
        for each in (first, second, third):
            next(each)
        with x(a=2):
            second.close()
            assert x.a == 2
            first.close()
            assert x.a == 2
        assert x.a == 1
        third.close()
        assert not hasattr(x, "a")

    context.run(use)


def test_a_with_statement_and_a_block_by_hand_of_one_scope(x):
    scope = x(a=1)
    scope.__enter__()
    with scope, x(a=2):
        scope.__exit__(None, None, None)  # the one by hand
        assert x.a == 2
    assert not hasattr(x, "a")


def test_a_block_of_a_with_statement_left_by_hand(x):
    scope = x(a=1)
    with pytest.raises(RuntimeError, match="not entered"), scope:
        scope.__exit__(None, None, None)
        assert not hasattr(x, "a")
    assert not hasattr(x, "a")


def test_threads_enter_one_scope_at_once(key):
    x = xctx.xlocal(key=key)
    scope = x(a=1)
    start, wrong = threading.Barrier(4), []

    def work():
        start.wait()
        for _ in range(500):
            with scope:
                if x.a != 1:
                    wrong.append(1)
            if hasattr(x, "a"):
                wrong.append(2)

    threads = [threading.Thread(target=contextvars.Context().run, args=(work,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_abandoned_block_in_a_cycle_is_collected(x, thing):
    def block():
        value = thing()
        refs.append(weakref.ref(value))
        with x(value=value, generator=[generator]):
            yield

    refs = []
    context = contextvars.Context()
    generator = block()
    context.run(next, generator)
    del generator, context
    block.__closure__  # the cell that the generator is in is emptied by the next line
    gc.collect()
    assert refs[0]() is None


def test_many_open_with_statements_of_one_scope_are_left(x):
    scope = x(a=1)

    @xctx.transparent
    def block():
        with scope:
            yield

    def use():
        generators = [block() for _ in range(2000)]
        for each in generators:
            next(each)
        assert x.a == 1
        for each in reversed(generators):
            each.close()
        assert not hasattr(x, "a")

    contextvars.Context().run(use)
