"""Each special method of a target is reached through a proxy, and numpy treats a proxy as its target."""

import builtins
import copy
import math
import operator
import os

import pytest
from proxy_law import SPECIAL, Broken, Raises, outcome
from proxy_leaves import enter, through_callable, through_variable, wrapper_of_variable

import xctx
from xctx import LocalWrapper, is_proxy

numpy = pytest.importorskip("numpy")

LEAVES = [LocalWrapper, through_variable, through_callable, wrapper_of_variable]


@pytest.mark.parametrize("leaf", LEAVES)
@pytest.mark.parametrize("name", sorted(SPECIAL))
def test_every_method_is_reached(name, leaf):
    """The target raises from each of its methods, and says from which."""
    doing = {
        "getattr": lambda o: o.nothing,
        "delattr": lambda o: delattr(o, "x"),
        "index": operator.index,
        "iadd": lambda o: operator.iadd(o, 1),
        "call": lambda o: o(),
        "getitem": lambda o: o[0],
        "setitem": lambda o: operator.setitem(o, 0, 0),
        "delitem": lambda o: operator.delitem(o, 0),
        "contains": lambda o: 0 in o,
        "divmod": lambda o: divmod(o, 1),
        "rpow": lambda o: 2**o,
        "radd": lambda o: 1 + o,
        "rsub": lambda o: 1 - o,
        "rmul": lambda o: 1 * o,
        "pow": lambda o: pow(o, 2, 3),
        "and": lambda o: o & 1,
        "or": lambda o: o | 1,
        "enter": enter,
        "exit": lambda o: type(o).__exit__(o, None, None, None),
        "trunc": math.trunc,
        "floor": math.floor,
        "ceil": math.ceil,
        "length_hint": lambda o: type(o).__length_hint__(o),
        "copy": copy.copy,
        "fspath": os.fspath,
        "reduce_ex": None,
        "bytes": bytes,
        "complex": complex,
        "reversed": reversed,
        "aenter": lambda o: type(o).__aenter__(o),
        "aexit": lambda o: type(o).__aexit__(o, 1, 2, 3),
        "aiter": aiter,
        "anext": lambda o: anext(o),
        "await": lambda o: type(o).__await__(o),
        "str": str,
        "format": format,
        "bool": bool,
        "dir": dir,
        "len": len,
    }
    op = doing.get(name, getattr(builtins, name, None) or getattr(operator, f"__{name}__", None))
    if name == "reduce_ex":  # pickle and copy get the target itself
        return
    binary = ["add", "sub", "mul", "truediv", "floordiv", "mod", "lshift", "xor", "eq", "ne", "lt", "le", "gt", "ge"]
    args = (1,) if name in binary else ()
    expected = outcome(op, Raises(), *args)
    assert expected == (Broken, name)
    assert outcome(op, leaf(Raises()), *args) == expected
    if args:
        assert outcome(op, leaf(Raises()), leaf(1)) == expected


def test_numpy():
    array = numpy.array([1, 2, 3])
    for leaf in LEAVES:
        p = leaf(array)
        for got in (array + p, p + array, p + p, numpy.add(p, p), numpy.add(array, p)):
            assert type(got) is numpy.ndarray and got.dtype == array.dtype and got.tolist() == [2, 4, 6]
        assert (array + leaf(1)).dtype == array.dtype
        out = numpy.zeros(3, int)
        assert numpy.add(p, 1, out=leaf(out)) is out and out.tolist() == [2, 3, 4]
        total = array.copy()
        alias = total
        total += p
        assert alias is total and total.tolist() == [2, 4, 6]
        assert numpy.asarray(p).base is array or numpy.shares_memory(numpy.asarray(p), array)
        assert numpy.add.reduce(p) == 6 and numpy.sum(p) == 6 and p.sum() == 6
        assert p[leaf(numpy.array([True, False, True]))].tolist() == [1, 3]
        assert (p @ p) == 14 and p.mean() == 2 and numpy.concatenate([p, p]).shape == (6,)
        with pytest.raises(TypeError):
            numpy.add(p, "a")


def test_facade():
    assert is_proxy(xctx.LocalWrapper(1)) and xctx.unwrap(xctx.LocalWrapper(1)) == 1
