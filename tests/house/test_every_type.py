"""No object of any type in xctx crashes the process, however it was made and whatever is done to it: it answers, or
it raises. Each test runs in a forked child, because what it looks for is a crash."""

import faulthandler
import os
import sys

import ordeal
import pytest
from helpers.packages import offers
from helpers.units import in_fork

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a crash is to be survived, and nothing forks here")

TYPES = ordeal.compiled_types()


@pytest.fixture(params=sorted(TYPES), ids=lambda name: name.removeprefix("xctx."))
def cls(request):
    return TYPES[request.param]


@pytest.fixture
def survives(tmp_path):
    """survives(func, *args): what it gives, called in a child that does not crash."""

    def run(func, *args):
        def call():
            os.chdir(tmp_path)  # some make a file
            faulthandler.enable(sys.__stderr__)  # what pytest puts in its place may be no file
            return ordeal.without_noise(lambda: func(*args))

        return in_fork(call)

    return run


@pytest.mark.sampled
@pytest.mark.parametrize("what", [ordeal.use_all_that_is_made, ordeal.use_all_that_is_derived, ordeal.use_when_cleared])
def test_it_is_survived(cls, what, survives):
    survives(what, cls)


def test_a_method_called_on_something_else_raises_type_error(cls, survives):
    assert survives(ordeal.call_with_wrong_self, cls) == []


def test_a_keyword_that_equals_a_parameter_and_is_none_raises(cls, survives):
    assert survives(ordeal.call_with_equal_names, cls) == []


@pytest.mark.skipif(not offers("SharedLock"), reason="there are no locks here")
def test_there_is_an_object_of_each_type():
    """Otherwise the tests above would say nothing about it."""
    found, _kept = ordeal.living()
    missing = {cls.__name__ for cls in TYPES.values() if cls not in found}
    assert {name for name in missing if not name.startswith("__pyx_scope")} <= ordeal.NOT_SHOWN


def test_no_function_is_of_a_kind_that_does_not_look_at_self():
    """With ``binding=True`` Cython makes functions of its own, which take what they are called on for what they were
    made for, and from whose type programs can derive. With ``binding=False`` it makes CPython's."""
    places = [*TYPES.values(), *(module for name, module in sys.modules.items() if name.split(".")[0] == "xctx")]
    for place in places:
        for name, each in vars(place).items():
            assert type(each).__name__ != "cython_function_or_method", f"{place}: {name}"
