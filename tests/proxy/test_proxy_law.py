"""The law, tried on examples that hypothesis draws: an operation on a proxy gives the target's result or exception,
whichever operand is a proxy."""

import decimal
import fractions
import operator

import pytest
from helpers.effort import examples
from proxy_law import BINARY, INPLACE, MADE, TARGETS, UNARY, Special, agree, outcome, same, small, twice
from proxy_leaves import bare, through_callable, through_variable, wrapper_of_variable

from xctx import LocalWrapper, unwrap

hypothesis = pytest.importorskip("hypothesis")
numpy = pytest.importorskip("numpy")
given, st = hypothesis.given, hypothesis.strategies

LEAVES = [LocalWrapper, through_variable, through_callable, wrapper_of_variable]
leaves = st.sampled_from(LEAVES)
NUMPY = (numpy.ndarray, numpy.generic)
SEQUENCES = (numpy.ndarray, str, bytes, bytearray, list, tuple)

LAW = hypothesis.settings(
    max_examples=examples(400),
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.filter_too_much],
)


def too_big(op, *args):
    """`**` and `<<` of large numbers, and repetition, take for ever, proxy or not."""
    numbers = (int, float, decimal.Decimal, fractions.Fraction)
    return any(isinstance(a, numbers) and not isinstance(a, bool) and abs(a) > 99 for a in args)


@LAW
@given(TARGETS, st.sampled_from(UNARY), leaves)
def test_unary(value, op, leaf):
    if op is memoryview and leaf is not LocalWrapper:
        return  # a LocalProxy offers no buffer
    if op is bytes and (too_big(op, value) or isinstance(value, str)):
        return  # bytes() looks at the class for a str, and takes anything else for a sequence
    a, b = twice(value)
    agree(op, [a], [leaf(b)])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("leaf", LEAVES)
@pytest.mark.parametrize("make", MADE)
def test_made(make, leaf):
    for op in UNARY:
        if op is memoryview and leaf is not LocalWrapper:
            continue  # a LocalProxy offers no buffer
        agree(op, [make()], [leaf(make())])


@pytest.mark.filterwarnings("ignore")
@LAW
@given(TARGETS, TARGETS, st.sampled_from(BINARY), leaves, leaves, st.sampled_from(["left", "right", "both"]))
def test_binary(left, right, op, leaf, other, where):
    if too_big(op, left, right):
        return
    if op is operator.mod and where == "right" and isinstance(left, (str, bytes, bytearray)):
        return  # formatting looks at the class of its right operand, and never asks it
    if op in (operator.getitem, operator.contains, operator.concat, operator.delitem) and where == "right":
        return  # only the left operand is asked
    if op is operator.concat and where == "both" and not isinstance(right, SEQUENCES):
        return  # it looks at the class of its right operand, and that of a LocalProxy could be a sequence's
    if where == "right" and isinstance(left, NUMPY) and not isinstance(right, (*NUMPY, int, float, complex)):
        return  # numpy looks at the class of an operand that is not a number, and makes an array of any other
    (a, b), (c, d) = twice(left), twice(right)
    agree(op, [a, c], [bare(b) if where == "right" else leaf(b), bare(d) if where == "left" else other(d)])


@pytest.mark.filterwarnings("ignore")
@LAW
@given(TARGETS, TARGETS, st.sampled_from(INPLACE), leaves, leaves, st.sampled_from(["left", "both"]))
def test_inplace(left, right, op, leaf, other, where):
    if too_big(op, left, right):
        return
    if op is operator.iconcat and where == "both" and not isinstance(right, SEQUENCES):
        return  # as in test_binary
    (a, b), (c, d) = twice(left), twice(right)
    expected, got = outcome(op, a, c), None
    p = leaf(b)
    got = outcome(op, p, bare(d) if where == "left" else other(d))
    assert got[0] == expected[0], (op, expected, got)
    if expected[0] == "returned":
        assert same(got[1], expected[1])
        if expected[1] is a:
            assert got[1] is p, "a target that changed itself leaves its proxy in the variable"
        elif leaf is LocalWrapper and expected[1] is not NotImplemented:
            assert type(got[1]) is type(LocalWrapper(expected[1]))
    assert same(a, unwrap(p)) and same(c, d)


@LAW
@given(st.lists(small, min_size=3, max_size=3), st.lists(st.booleans(), min_size=3, max_size=3), leaves)
def test_pow(values, chosen, leaf):
    agree(pow, values, [leaf(v) if c else v for v, c in zip(values, chosen)])


@LAW
@given(st.sampled_from(["x", "y"]).map(Special), small, small, leaves, st.integers(1, 7))
def test_pow_of_objects(special, b, c, leaf, chosen):
    values = [special, b, c]
    agree(pow, values, [leaf(v) if chosen >> i & 1 else v for i, v in enumerate(values)])


@LAW
@given(st.lists(small, max_size=4), st.one_of(small, st.builds(slice, small, small)), TARGETS, leaves, st.booleans())
def test_items(items, key, value, leaf, proxied_key):
    a, b = list(items), list(items)
    k = leaf(key) if proxied_key else key
    p = leaf(b)
    assert outcome(operator.getitem, a, key) == outcome(operator.getitem, p, k)
    assert outcome(operator.setitem, a, key, value)[0] == outcome(operator.setitem, p, k, value)[0]
    assert same(a, b)
    assert outcome(operator.delitem, a, key)[0] == outcome(operator.delitem, p, k)[0]
    assert same(a, b)
