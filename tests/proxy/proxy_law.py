"""The law of proxies, to be tried on many examples: an operation on a proxy gives the target's result or exception.

Here are the targets, the operations, and `agree`, which does an operation twice: on bare targets, and with proxies in
the places of some. Results, exceptions and what became of the targets must agree.
"""

import collections
import copy
import dataclasses
import datetime
import functools
import math
import operator
import os
import pathlib
import pickle
import re
import types

import pytest
from proxy_leaves import enter

from xctx import unwrap

pytest.importorskip("hypothesis")
from hypothesis import strategies as st

numpy = pytest.importorskip("numpy")

# --- targets ----------------------------------------------------------------------------------------------------------


class Broken(Exception):
    """Raised by each method of Raises with the method's name, which shows that the right one was called."""


def broken(name):
    def method(self, *args, **kwargs):
        raise Broken(name)

    return method


SPECIAL = [
    "len",
    "getitem",
    "setitem",
    "delitem",
    "contains",
    "iter",
    "next",
    "reversed",
    "call",
    "add",
    "radd",
    "iadd",
    "sub",
    "rsub",
    "mul",
    "rmul",
    "truediv",
    "floordiv",
    "mod",
    "divmod",
    "pow",
    "rpow",
    "lshift",
    "and",
    "or",
    "xor",
    "neg",
    "pos",
    "abs",
    "invert",
    "int",
    "float",
    "complex",
    "index",
    "round",
    "trunc",
    "floor",
    "ceil",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "bool",
    "str",
    "bytes",
    "format",
    "enter",
    "exit",
    "aenter",
    "aexit",
    "aiter",
    "anext",
    "await",
    "getattr",
    "delattr",
    "length_hint",
    "copy",
    "reduce_ex",
    "fspath",
    "dir",
]
Raises = type(
    "Raises",
    (),
    {f"__{name}__": broken(name) for name in SPECIAL}
    | {
        "__hash__": broken("hash"),
        "__repr__": broken("repr"),
        "__setattr__": broken("setattr"),
    },
)


class Named(Raises):
    """The same, but it has a repr, so that a test that fails can print it."""

    def __repr__(self):
        return "Raises()"


RAISES = Named()


@dataclasses.dataclass(order=True)
class Data:
    a: int
    b: str = "b"

    def method(self, n):
        return self.a + n

    def __add__(self, other):
        return Data(self.a + other.a) if isinstance(other, Data) else NotImplemented

    def __imul__(self, n):
        self.a *= n
        return self


class Special:
    """Answers every binary operator by its name, on both sides."""

    def __init__(self, tag):
        self.tag = tag

    def __eq__(self, other):
        return isinstance(other, Special) and self.tag == other.tag

    def __hash__(self):
        return hash(self.tag)

    def __repr__(self):
        return f"Special({self.tag!r})"


for _name in [
    "add",
    "sub",
    "mul",
    "matmul",
    "truediv",
    "floordiv",
    "mod",
    "divmod",
    "pow",
    "lshift",
    "rshift",
    "and",
    "xor",
    "or",
]:
    setattr(Special, f"__{_name}__", lambda self, other, *mod, _n=_name: (_n, self.tag, other, *mod))
    setattr(Special, f"__r{_name}__", lambda self, other, *mod, _n=_name: (f"r{_n}", self.tag, other, *mod))


small = st.integers(-9, 9)
texts = st.text("ab1%-", max_size=3)
TARGETS = st.one_of(
    small,
    st.integers(),
    st.floats(allow_nan=False),
    st.booleans(),
    st.none(),
    st.complex_numbers(max_magnitude=9, allow_nan=False),
    texts,
    st.binary(max_size=3),
    st.binary(max_size=3).map(bytearray),
    st.lists(small, max_size=3),
    st.lists(small, max_size=3).map(tuple),
    st.dictionaries(texts, small, max_size=3),
    st.sets(small, max_size=3),
    st.frozensets(small, max_size=3),
    st.lists(small, max_size=3).map(collections.deque),
    st.builds(slice, small, small),
    st.builds(range, small),
    st.decimals(-9, 9, places=2),
    st.fractions(-9, 9, max_denominator=9),
    st.dates(datetime.date(2000, 1, 1), datetime.date(2001, 1, 1)),
    st.datetimes(datetime.datetime(2000, 1, 1), datetime.datetime(2001, 1, 1)),
    st.timedeltas(datetime.timedelta(0), datetime.timedelta(9)),
    st.lists(small, min_size=2, max_size=2).map(numpy.array),
    st.floats(-9, 9).map(numpy.float64),
    st.just([[1, 2], [3, 4]]).map(numpy.array),
    st.sampled_from(["a", "/b", "a/b.c"]).map(pathlib.PurePosixPath),
    st.builds(Data, small, texts),
    st.sampled_from(["x", "y"]).map(Special),
    st.sampled_from([int, list, Data, dict, math, len, operator.add, types, object, NotImplemented, Ellipsis]),
    st.builds(lambda: RAISES),
)


def generator():
    got = yield 1
    yield got


async def coroutine():
    return 5


MADE = [
    generator,
    coroutine,
    lambda: iter([1, 2]),
    lambda: memoryview(b"ab"),
    lambda: types.SimpleNamespace(a=1),
    lambda: functools.partial(max, 1),
    lambda: {}.items(),
    lambda: (i for i in (1, 2)),
]

# --- operations -------------------------------------------------------------------------------------------------------

BINARY = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.matmul,
    operator.truediv,
    operator.floordiv,
    operator.mod,
    divmod,
    pow,
    operator.lshift,
    operator.rshift,
    operator.and_,
    operator.or_,
    operator.xor,
    operator.eq,
    operator.ne,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
    operator.getitem,
    operator.contains,
    operator.concat,
    operator.delitem,
]
INPLACE = [
    operator.iadd,
    operator.isub,
    operator.imul,
    operator.imatmul,
    operator.itruediv,
    operator.ifloordiv,
    operator.imod,
    operator.ipow,
    operator.ilshift,
    operator.irshift,
    operator.iand,
    operator.ior,
    operator.ixor,
    operator.iconcat,
]
UNARY = [
    operator.neg,
    operator.pos,
    abs,
    operator.invert,
    operator.not_,
    bool,
    int,
    float,
    complex,
    operator.index,
    round,
    math.trunc,
    math.floor,
    math.ceil,
    len,
    hash,
    repr,
    str,
    bytes,
    format,
    iter,
    list,
    tuple,
    sorted,
    sum,
    max,
    dir,
    operator.length_hint,
    os.fspath,
    copy.copy,
    copy.deepcopy,
    memoryview,
    vars,
    lambda o: list(reversed(o)),
    lambda o: next(o),
    lambda o: o.__class__,
    lambda o: o.__doc__,
    lambda o: o.__module__,
    lambda o: o(),
    lambda o: o(1),
    lambda o: o(1, 2),
    lambda o: o(a=1),
    lambda o: isinstance(1, o),
    lambda o: issubclass(int, o),
    lambda o: round(o, 1),
    lambda o: format(o, ">5"),
    lambda o: f"{o!r}",
    lambda o: "%s" % (o,),
    lambda o: o[0],
    lambda o: o[-1],
    lambda o: o[0:1],
    lambda o: o["a"],
    lambda o: o.nothing,
    lambda o: o.a,
    lambda o: o.real,
    lambda o: o.append(1),
    lambda o: o.copy(),
    lambda o: o.method(1),
    lambda o: o.upper(),
    lambda o: o.shape,
    lambda o: o.send(None),
    lambda o: o.close(),
    lambda o: setattr(o, "a", 5),
    lambda o: delattr(o, "a"),
    lambda o: operator.setitem(o, 0, 5),
    lambda o: operator.setitem(o, "a", 5),
    lambda o: operator.delitem(o, 0),
    lambda o: operator.delitem(o, slice(0, 1)),
    lambda o: operator.setitem(o, slice(0, 1), [7]),
    lambda o: [*o],
    lambda o: {**o},
    lambda o: 1 in o,
    lambda o: o.__iter__,
    lambda o: hasattr(o, "__len__"),
    lambda o: pickle.loads(pickle.dumps(o)),
    lambda o: enter(o),
    numpy.sin,
]

# --- whether two outcomes agree ---------------------------------------------------------------------------------------


def same(a, b):
    """Whether two results agree: the same object, or equal ones of one type, however they compare."""
    a, b = unwrap(a), unwrap(b)
    if a is b:
        return True
    if isinstance(a, (bool, numpy.bool_)) and isinstance(b, (bool, numpy.bool_)):
        return bool(a) == bool(b)  # who of two is asked first depends on their classes
    if type(a) is not type(b):
        return False
    # numpy computes with two numbers of its own by other routines than with a number and an array, or with what it
    # takes for one: the last digit of a power may differ.
    if isinstance(a, (numpy.ndarray, numpy.generic)) and a.dtype.kind in "fc":
        return a.dtype == b.dtype and a.shape == b.shape and numpy.allclose(a, b, rtol=1e-14, atol=0, equal_nan=True)
    if isinstance(a, numpy.ndarray):
        return a.dtype == b.dtype and numpy.array_equal(a, b)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, (float, complex, numpy.generic)):
        return repr(a) == repr(b)
    if isinstance(
        a, (types.GeneratorType, types.CoroutineType, types.BuiltinMethodType, types.MethodWrapperType, memoryview)
    ):
        return True
    if type(a).__name__.endswith(("iterator", "reversed", "Raises", "SimpleNamespace", "partial", "_items", "object")):
        return True
    if type(a).__eq__ is object.__eq__:
        return True
    try:
        return bool(a == b)
    except ValueError:  # of arrays within
        return repr(a) == repr(b)
    except AttributeError:  # after `del`
        return vars(a) == vars(b)


ADDRESS = re.compile(r"0x[0-9a-f]+")


def outcome(op, *args):
    try:
        result = op(*args)
    except (Exception, pytest.fail.Exception) as error:
        return type(error), ADDRESS.sub("", str(error))
    return "returned", ADDRESS.sub("", result) if type(result) is str else result


def agree(op, bare_args, proxied):
    expected = outcome(op, *bare_args)
    got = outcome(op, *proxied)
    assert got[0] == expected[0], (op, expected, got)
    if op is hash and expected[0] == "returned":
        assert got[1] == hash(unwrap(proxied[0]))
    elif expected[0] == "returned":
        assert same(got[1], expected[1]), (op, expected, got)
    elif expected[0] is Broken:
        assert got[1] == expected[1]
    for before, after in zip(bare_args, proxied):
        assert same(before, after), (op, before, after)


def twice(value):
    """Two equal targets that share nothing mutable."""
    if value is RAISES:
        return value, value
    try:
        return copy.deepcopy(value), copy.deepcopy(value)
    except Exception:
        return value, value
