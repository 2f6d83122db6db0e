"""inject and extract: what travels, how it is written, and that nothing from outside does harm."""

import enum
import functools
import logging
import multiprocessing
import pickle
import sys
import threading
import types
import uuid
import weakref
from email.message import Message
from http.client import HTTPMessage
from typing import Annotated, Any, ClassVar, NewType, TypedDict

import pytest
import wire_names
from hypothesis import example, given, settings
from hypothesis import strategies as st
from werkzeug.datastructures import Headers
from wire_names import came

import xctx
from xctx import concurrent, wire
from xctx._wire import baggage


class Current(xctx.xlocal):
    request_id: Annotated[str, xctx.carried]
    tenant: Annotated[uuid.UUID, xctx.carried("tenant-id", encode=str, decode=uuid.UUID)]
    retries: Annotated[int, xctx.carried] = 0
    ratio: Annotated[float, xctx.carried]
    tags: Annotated[list[str] | dict[str, Any] | None, xctx.carried]
    anything: Annotated[Any, xctx.carried]
    user: object = None


@pytest.fixture
def current():
    return Current()


@pytest.fixture
def dropped():
    """A report, as a list of what was dropped."""

    class Dropped(list):
        def __call__(self, what, why):
            assert isinstance(what, str) and isinstance(why, str)
            self.append((what, why))

    return Dropped()


TENANT = uuid.UUID("12345678-1234-5678-1234-567812345678")


# --- what travels -----------------------------------------------------------------------------------------------------


def test_what_is_declared_travels_and_nothing_else(current):
    with current(request_id="r-1", tenant=TENANT, retries=2, user="ada"):
        headers = wire.inject({"Accept": "*/*"}, current)
    assert headers == {"Accept": "*/*", "baggage": f"request_id=r-1,tenant-id={TENANT},retries=2"}
    arrived = wire.extract(headers, current)
    assert came(headers, current) == {current: {"request_id": "r-1", "tenant": TENANT, "retries": 2}}
    with arrived:
        assert (current.request_id, current.tenant, current.retries, current.user) == ("r-1", TENANT, 2, None)
    assert not hasattr(current, "request_id")
    assert arrived.run(lambda: current.request_id) == "r-1"


def test_defaults_and_bindings_of_other_units_stay(current, in_thread):
    with current(user="ada"):
        assert wire.inject({}, current) == {}
    with current(request_id="mine"):
        assert in_thread(lambda: wire.inject({}, current)) == {}


def test_the_innermost_binding_travels(current):
    with current(request_id="outer", retries=1), current(request_id="inner"):
        assert wire.inject({}, current) == {"baggage": "request_id=inner,retries=1"}


def test_bound_in_every_kind_of_unit_under_every_key(key, other_unit, unit_kind):
    store = xctx.xlocal(key=key)
    wire.declare(store, "request_id")

    def served():
        with wire.extract({"baggage": "request_id=7"}, store):
            return store.request_id, wire.inject({}, store)["baggage"]

    assert other_unit(served) == (7, "request_id=7")
    assert not hasattr(store, "request_id")


def test_without_xlocals_every_one_that_carries_takes_part():
    one, two, three = xctx.xlocal(), xctx.xlocal(), xctx.xlocal()
    wire.declare(one, "first_of_all")
    wire.declare(two, "second_of_all", "first_of_all")
    arrived = came({"baggage": "first_of_all=1,second_of_all=2,third=3"})
    assert arrived == {one: {"first_of_all": 1}, two: {"first_of_all": 1, "second_of_all": 2}}
    with one(first_of_all="a"), two(second_of_all="b"), three(third="c"):
        assert wire.inject({}) == {"baggage": "first_of_all=a,second_of_all=b"}


def test_of_two_that_have_a_name_bound_the_later_one_goes_and_the_other_is_reported(dropped):
    one, two = xctx.xlocal(), xctx.xlocal()
    wire.declare(one, "same")
    wire.declare(two, "same")
    with one(same="a"), two(same="b"):
        assert wire.inject({}, one, two, report=dropped) == {"baggage": "same=b"}
    assert [what for what, why in dropped] == ["same=a"]


@pytest.mark.usefixtures("nothing_stays_bound")
def test_what_arrived_is_bound_again_and_again_nested_and_in_many_units(current, in_thread):
    arrived = wire.extract({"baggage": "request_id=r"}, current)
    with arrived, arrived:
        with current(request_id="inner"):
            assert in_thread(lambda: arrived.run(lambda: current.request_id)) == "r"
            assert current.request_id == "inner"
        assert current.request_id == "r"
    assert not hasattr(current, "request_id")


def test_a_failure_to_bind_one_leaves_the_others_unbound(current):
    def broken():
        if fails:
            raise LookupError("no unit")

    fails = False
    other = xctx.xlocal(key=xctx.keys.Key(broken, "broken"))
    wire.declare(other, "name")
    arrived = wire.extract({"baggage": "request_id=r,name=n"}, current, other)
    fails = True
    with pytest.raises(LookupError, match="no unit"):
        arrived.__enter__()
    assert not hasattr(current, "request_id")


def test_values_are_kept_no_longer_than_what_arrived(current, no_collector):
    class Value(str):
        pass

    alive = []

    def decode(text):
        value = Value(text)
        alive.append(weakref.ref(value))
        return value

    wire.declare(current, tenant=xctx.carried(encode=str, decode=decode))
    arrived = wire.extract({"baggage": "tenant=t"}, current)
    with arrived:
        pass
    assert alive[0]() is not None
    del arrived
    assert alive[0]() is None


# --- declarations -----------------------------------------------------------------------------------------------------


def test_a_class_declares_by_its_annotations_and_those_of_its_bases():
    class Base(xctx.xlocal):
        one: Annotated[int, "a note", xctx.carried("first")]
        two: Annotated[int, xctx.carried]
        three: int
        note: ClassVar[Annotated[int, xctx.carried]] = 1

    class Derived(Base):
        two: int
        three: Annotated[int, xctx.carried]

    base, derived = Base(), Derived()
    with base(one=1, two=2, three=3), derived(one=1, two=2, three=3):
        assert wire.inject({}, base) == {"baggage": "first=1,two=2"}
        assert wire.inject({}, derived) == {"baggage": "first=1,three=3"}


def test_annotations_that_are_text():
    module = types.ModuleType("of_the_future")
    sys.modules[module.__name__] = module
    try:
        exec(
            "from __future__ import annotations\n"
            "import typing, xctx\n"
            "Id = typing.Annotated[str, xctx.carried('id')]\n"
            "class Current(xctx.xlocal):\n"
            "    request_id: Id\n"
            "    request: typing.Annotated[Request, xctx.carried(encode=str, decode=str)]\n"
            "    pages: typing.Annotated[int | Unknown, xctx.carried]\n"
            "    response: Response | None\n"
            "    odd: 1 / 0\n",
            vars(module),
        )
        with (current := module.Current())(request_id="7", request="r", pages="p", response=None, odd=0):
            headers = wire.inject({}, current)
        assert headers == {"baggage": "id=7,request=r,pages=p"}
        assert came(headers, current) == {current: {"request_id": "7", "request": "r", "pages": "p"}}
        for annotation in ("Annotated[str, carried]", "typing.Annotated[str, xctx.carried + 1]"):
            with pytest.raises(TypeError, match=r"'Wrong' declares 'a' as .*carried"):
                exec(
                    "from __future__ import annotations\nimport typing, xctx\nfrom typing import Annotated\n"
                    f"class Wrong(xctx.xlocal):\n    a: {annotation}\n",
                    vars(module),
                )
    finally:
        del sys.modules[module.__name__]


@pytest.mark.skipif(sys.version_info < (3, 14), reason="annotations are evaluated at once before 3.14")
def test_annotations_with_names_that_come_later():
    class Early(xctx.xlocal):
        one: Annotated[Late, xctx.carried(encode=str, decode=int)]
        two: Late | None

    current = Early()
    with current(one=1):
        assert wire.inject({}, current) == {"baggage": "one=1"}


class Color(enum.StrEnum):
    RED = "red"


class Movie(TypedDict):
    title: str


@pytest.mark.parametrize(
    "wrong", [uuid.UUID, Color, set, tuple[int, ...], NewType("Id", uuid.UUID), uuid.UUID | None, bytes]
)
def test_what_json_has_not_needs_a_codec(wrong):
    with pytest.raises(
        TypeError, match=r"'a' is carried, but .* is no type of JSON: give carried\(encode=..., decode=...\)"
    ):

        class Wrong(xctx.xlocal):
            a: Annotated[wrong, xctx.carried]

    class Right(xctx.xlocal):
        a: Annotated[wrong, xctx.carried(encode=str, decode=lambda text: text)]

    Right()


def test_declarations_that_cannot_be():
    with pytest.raises(TypeError, match=r"'Both' carries both 'a' and 'b' as 'same'"):

        class Both(xctx.xlocal):
            a: Annotated[int, xctx.carried("same")]
            b: Annotated[int, xctx.carried("same")]

    with pytest.raises(ValueError, match="'größe' cannot stand on the wire"):

        class Umlaut(xctx.xlocal):
            größe: Annotated[int, xctx.carried]

    for name in ("", "a b", "a,b", "a=b", "ä", "100%", "a\r\nb"):
        with pytest.raises(ValueError, match="cannot stand on the wire"):
            xctx.carried(name)
    with pytest.raises(TypeError, match="a carried name is a str, not 7"):
        xctx.carried(7)
    with pytest.raises(TypeError, match="encode and decode go together"):
        xctx.carried(encode=str)
    with pytest.raises(TypeError, match="'json' cannot be called"):
        xctx.carried(encode="json", decode=str)


def test_declaring_by_hand(current):
    store = xctx.xlocal()
    wire.declare(store, "a", b=int, c=xctx.carried("see"), d=Annotated[float, xctx.carried("dee")], e=xctx.carried)
    wire.declare(store, "f")
    with store(a="1", b=2, c=[3], d=4.0, e=None, f={}):
        headers = wire.inject({}, store)
    assert headers == {"baggage": "a=%221%22,b=2,see=[3],dee=4.0,e=null,f={}"}
    assert came(headers, store) == {store: {"a": "1", "b": 2, "c": [3], "d": 4.0, "e": None, "f": {}}}
    with pytest.raises(TypeError, match="'Current' declares no name 'retrys': did you mean 'retries'"):
        wire.declare(current, "retrys")
    with pytest.raises(TypeError, match="'id' is carried, but 'UUID' is no type of JSON"):
        wire.declare(store, id=uuid.UUID)
    with pytest.raises(TypeError, match="cannot carry '_b': names that start with an underscore are reserved"):
        wire.declare(store, _b=int)
    with pytest.raises(TypeError, match="a carried name is a str, not 7"):
        wire.declare(store, 7)
    with pytest.raises(TypeError, match="carries both 'a' and 'g' as 'a'"):
        wire.declare(store, g=xctx.carried("a"))
    with pytest.raises(TypeError, match="is no xlocal"):
        wire.declare(xctx.local(), "a")
    assert len(came(headers, store)[store]) == 6


def test_asking_for_one_that_carries_nothing_is_an_error():
    for call in (wire.inject, wire.extract):
        with pytest.raises(TypeError, match="carries nothing"):
            call({}, xctx.xlocal())
        with pytest.raises(TypeError, match="is no xlocal"):
            call({}, 7)


def test_a_declaration_does_not_keep_an_xlocal_alive(no_collector):
    store, declared = xctx.xlocal(), Current()
    wire.declare(store, "a")
    wire.declare(store, "b")
    gone = [weakref.ref(store), weakref.ref(declared)]
    before = len(wire.carriers())
    del store, declared
    assert [each() for each in gone] == [None, None]
    assert len(wire.carriers()) == before - 2


# --- the wire form ----------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
everything = Current()


@settings(deadline=None)
@given(json_values)
@example("null")
@example('"')
@example('"quoted"')
@example(" spaced ")
@example("1 + 1 = 2, or 100%; ü\n\0")
@example("NaN")
@example("[" * 100)
def test_any_value_of_json_arrives_as_it_went(value):
    with everything(anything=value):
        headers = wire.inject({}, everything)
    if len(headers.get("baggage", "")):
        (arrived,) = came(headers, everything).values()
        assert arrived == {"anything": value} and type(arrived["anything"]) is type(value)
        assert headers["baggage"].isascii() and " " not in headers["baggage"]


@settings(deadline=None)
@given(st.text())
@example('"')
@example("7")
@example("null")
def test_any_str_declared_as_one_arrives_as_it_went(value):
    with everything(request_id=value):
        headers = wire.inject({}, everything)
    if headers:
        assert came(headers, everything) == {everything: {"request_id": value}}


@pytest.mark.parametrize(
    ("member", "name", "value"),
    [
        ("request_id=abc-123", "request_id", "abc-123"),
        ("request_id=7", "request_id", "7"),
        ("request_id=%22abc%22", "request_id", "abc"),
        ("request_id=%22abc", "request_id", '"abc'),
        ("request_id=a%20b+c=d", "request_id", "a b+c=d"),
        ("request_id=%C3%BC%FF", "request_id", "ü\N{REPLACEMENT CHARACTER}"),
        ("request_id=%zz%4", "request_id", "%zz%4"),
        ("request_id=", "request_id", ""),
        ("\t request_id \t=\t abc \t;p=1; q ;r = 2", "request_id", "abc"),
        ("retries=7", "retries", 7),
        ("ratio=7", "ratio", 7.0),
        ("tags=null", "tags", None),
        ("tags=[%22a%22]", "tags", ["a"]),
        ("anything=abc", "anything", "abc"),
        ("anything=true", "anything", True),
        ("anything=NaN", "anything", "NaN"),
        (f"tenant-id={TENANT}", "tenant", TENANT),
    ],
)
def test_what_others_send_is_read(current, dropped, member, name, value):
    arrived = came({"baggage": member}, current, report=dropped)
    assert arrived == {current: {name: value}} and type(arrived[current][name]) is type(value)
    assert dropped == []


@pytest.mark.parametrize(
    "member",
    [
        *(
            "request_id",
            "=abc",
            "request id=abc",
            'request_id="abc"',
            "request_id=ü",
            "request_id=a b",
            "request_id=a\\b",
        ),
        *("request_id=a;=p", "request_id=a;p=ü", "request_id=a\r\nX: y", "request_id=\0"),
        *(
            "retries=seven",
            "retries=true",
            "retries=7.5",
            "retries=%227%22",
            "retries=",
            "ratio=1e999",
            "ratio=NaN",
            "ratio=true",
        ),
        *(
            "ratio=" + "9" * 400,
            "tags=7",
            "tags=[1",
            "tenant-id=nobody",
            "tags=" + "[" * 100 + "]" * 100,
            "tags=[1e999]",
        ),
        *("tags=[%22%5Cud800%22]", "retries=" + "9" * 5000),
    ],
)
def test_what_is_malformed_or_of_another_type_is_left_out_and_told(current, dropped, member):
    assert not came({"baggage": member}, current, report=dropped)
    assert len(dropped) == 1 and dropped[0][0].startswith(member[:20].strip())
    arrived = came({"baggage": f"{member},request_id=whole"}, current)
    assert arrived == {current: {"request_id": "whole"}}


def test_what_was_taken_in_can_be_put_out_again(current):
    """Also by whoever is deep in the stack."""
    tags = "[" * 64 + "]" * 64
    with wire.extract({"baggage": f"tags={tags},anything={tags},ratio=1e308"}, current):

        def deeper(levels):
            return wire.inject({}, current) if levels == 0 else deeper(levels - 1)

        assert deeper(500)["baggage"].count("[") == 128


def test_of_a_name_that_comes_twice_the_last_counts(current, dropped):
    headers = [("Baggage", "request_id=1,other=2"), ("BAGGAGE", "request_id=3")]
    assert came(headers, current, report=dropped) == {current: {"request_id": "3"}}
    assert dropped == [("request_id", "it came more than once: the last counts")]


def test_limits_on_the_way_in(current, dropped):
    many = ",".join(f"k{number}=v" for number in range(63))
    assert came({"baggage": f"{many},request_id=r"}, current, report=dropped)
    assert dropped == []
    assert not came({"baggage": f"{many},k=v,request_id=r"}, current, report=dropped)
    assert dropped == [("request_id=r", "a baggage has at most 64 members")]
    dropped.clear()
    long = "k=" + "v" * (8192 - len("k=,retries=1"))
    assert came({"baggage": f"{long},retries=1"}, current, report=dropped) == {current: {"retries": 1}}
    assert dropped == []
    assert not came({"baggage": f"{long},retries=12"}, current, report=dropped)
    assert came({"baggage": f"retries=3,{long},retries=12"}, current, report=dropped) == {current: {"retries": 3}}
    assert not came({"baggage": "request_id=" + "x" * 9000}, current, report=dropped)
    assert {why for what, why in dropped} == {"a baggage has at most 8192 bytes"}


def test_limits_on_the_way_out(current, dropped):
    there = ",".join(f"k{number}=v;p" for number in range(63))
    with current(request_id="r", retries=1):
        assert wire.inject({"baggage": there}, current, report=dropped) == {"baggage": f"{there},request_id=r"}
    assert dropped == [("retries=1", "a baggage has at most 64 members")]
    dropped.clear()
    room = 8192 - len("request_id=")
    with current(request_id="x" * room):
        assert len(wire.inject({}, current, report=dropped)["baggage"]) == 8192
    assert dropped == []
    with current(request_id="x" * (room + 1), retries=1):
        assert wire.inject({}, current, report=dropped) == {"baggage": "retries=1"}
    assert [why for what, why in dropped] == ["a baggage has at most 8192 bytes"]


# --- carriers ---------------------------------------------------------------------------------------------------------


def test_baggage_that_is_there_stays_and_ours_replaces_ours(current, dropped):
    headers = {"BagGage": " a=1;p=2 ,request_id=old;q, ,rubbish,b=%20"}
    with current(request_id="new"):
        assert wire.inject(headers, current, report=dropped) == {"BagGage": "a=1;p=2,b=%20,request_id=new"}
    assert dropped == [("rubbish", "it is no member of a W3C baggage")]
    with current(request_id="new"):  # the value is the same: so is the rest
        assert wire.inject({"baggage": "request_id=%6Eew;q=1"}, current) == {"baggage": "request_id=%6Eew;q=1"}
        assert wire.inject({"baggage": "request_id=new;q=1,request_id=new"}, current) == {
            "baggage": "request_id=new;q=1"
        }
    assert wire.inject({"baggage": "request_id=old;q"}, current) == {"baggage": "request_id=old;q"}


def http_message():
    message = HTTPMessage()
    message["Accept"] = "*/*"
    return message


@pytest.mark.parametrize("make", [dict, Headers, Message, http_message, list], ids=lambda make: make.__name__)
def test_carriers(current, make):
    carrier = make()
    with current(request_id="r"):
        for _ in range(2):  # the second time there is one
            assert wire.inject(carrier, current) is carrier
            pairs = list(carrier.items() if hasattr(carrier, "items") else carrier)
            assert [(key.lower(), value) for key, value in pairs if key.lower() == "baggage"] == [
                ("baggage", "request_id=r")
            ]
            assert came(carrier, current) == {current: {"request_id": "r"}}


def test_several_headers_become_one(current):
    message = Message()
    headers = Headers()
    for carrier in (message, headers):
        carrier.add_header("Baggage", "a=1")
        carrier.add_header("baggage", "b=2")
    pairs = [(b"accept", b"*/*"), (b"Baggage", b"a=1"), (b"baggage", b"b=2")]
    different = {"Baggage": "a=1", "baggage": ["b=2"]}
    with current(request_id="r"):
        for carrier in (message, headers, different):
            assert [value for key, value in wire.inject(carrier, current).items()] == ["a=1,b=2,request_id=r"]
        assert wire.inject(pairs, current) == [(b"accept", b"*/*"), (b"baggage", b"a=1,b=2,request_id=r")]


class Hostile:
    def __getattr__(self, name):
        raise RuntimeError(name)

    def __repr__(self):
        raise RuntimeError("repr")

    def __iter__(self):
        raise RuntimeError("iter")


class Odd:
    def items(self):
        return self

    def __iter__(self):
        yield from [
            1,
            (),
            ("baggage",),
            (None, "x"),
            ("baggage", object()),
            ("baggage", b"request_id=r"),
            ("baggage", None),
        ]


@pytest.mark.parametrize(
    "carrier",
    [
        *(
            None,
            7,
            "baggage",
            b"baggage",
            {},
            [],
            [1],
            [[]],
            object(),
            {1: 2, None: 3},
            {"baggage": None},
            {"baggage": 7},
        ),
        *({"baggage": [None]}, [("baggage", {})], Hostile(), {"baggage": Hostile()}, [Hostile()]),
    ],
    ids=lambda carrier: type(carrier).__name__,
)
def test_whatever_a_carrier_is_nothing_is_raised(current, carrier):
    assert not came(carrier, current)


def test_what_can_be_read_of_an_odd_carrier_is(current):
    assert came(Odd(), current) == {current: {"request_id": "r"}}


def test_values_that_cannot_be_written_are_named_and_the_carrier_is_unchanged(current):
    headers = {"baggage": "a=1"}
    for name, value, kind in [
        ("anything", object(), TypeError),
        ("anything", float("nan"), ValueError),
        ("request_id", "\ud800", ValueError),
    ]:
        with current(request_id="r"), current(**{name: value}):
            with pytest.raises(kind, match=f"cannot carry '{name}' of <Current"):
                wire.inject(headers, current)
    store = xctx.xlocal()
    wire.declare(store, a=xctx.carried(encode=lambda value: value, decode=str), b=xctx.carried(encode=int, decode=str))
    with store(a=7), pytest.raises(TypeError, match=r"cannot carry 'a' of .* a str was wanted"):
        wire.inject(headers, store)
    with store(b="x"), pytest.raises(ValueError, match="cannot carry 'b' of"):
        wire.inject(headers, store)
    assert headers == {"baggage": "a=1"}


# --- nothing from outside does harm -----------------------------------------------------------------------------------

NAMES = ["request_id", "tenant-id", "retries", "ratio", "tags", "anything"]
MARKS = [*'=,; \t%[]{}:1-"\\\0\ud800ü', "%22", "%00", "%ff", "e9", "null", "\r\n", "x" * 3000, "," * 200]
chunks = st.sampled_from(NAMES + MARKS)
headers = st.lists(chunks, max_size=30).map("".join) | st.text() | st.binary()
carriers = st.dictionaries(st.sampled_from(["baggage", "Baggage", b"BAGGAGE", "x", 1]), headers) | st.lists(
    st.tuples(st.sampled_from(["baggage", b"baggage", None]), headers | st.none() | st.lists(headers, max_size=3))
)


@settings(deadline=None)
@given(carriers)
def test_whatever_arrives_extract_raises_nothing_and_what_it_gives_can_be_bound_and_written(carrier):
    arrived = wire.extract(carrier, everything)
    with arrived:
        written = wire.inject({}, everything)
    assert len(written.get("baggage", "")) <= 8192
    for values in came(carrier, everything).values():
        assert values.keys() <= {*NAMES, "tenant"}
        assert isinstance(values.get("request_id", ""), str) and isinstance(values.get("retries", 0), int)
    assert not vars(everything)


@settings(deadline=None)
@given(headers.filter(lambda header: isinstance(header, str)), st.text())
def test_what_is_put_out_beside_what_was_there_is_well_formed(there, value):
    with everything(request_id=value.encode("utf-8", "replace").decode()):
        written = wire.inject({"baggage": there}, everything)["baggage"]
    wrong = []
    assert len(list(baggage.members(written, lambda *what: wrong.append(what)))) <= max(64, there.count(",") + 1)
    assert wrong == []


def test_nothing_is_unpickled(current, monkeypatch):
    payload = pickle.dumps(TENANT)
    for function in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, function, None)
    for text in (payload.decode("latin-1"), payload.hex(), baggage.encoded(payload.decode("latin-1"))):
        arrived = came({"baggage": f"anything={text}"}, current)
        assert all(isinstance(value, str) for values in arrived.values() for value in values.values())


def test_reports_go_to_the_log_at_debug_and_one_that_raises_does_no_harm(current, caplog):
    with caplog.at_level(logging.DEBUG, "xctx.wire"):
        assert came({"baggage": "rubbish,retries=x,request_id=r"}, current)
        assert [record.levelname for record in caplog.records] == ["DEBUG", "DEBUG"]
        assert "'rubbish'" in caplog.text and "'retries=x'" in caplog.text
        caplog.clear()

        def broken(what, why):
            raise ZeroDivisionError

        assert came({"baggage": "rubbish,request_id=r"}, current, report=broken)
        assert "ZeroDivisionError" in caplog.text


def test_names_of_others_are_ignored_in_silence(current, dropped):
    assert not came({"baggage": "user=ada,trace=1;x"}, current, report=dropped)
    assert dropped == []


def test_reprs_show_no_values(current):
    arrived = wire.extract({"baggage": "request_id=secret"}, current)
    assert repr(arrived) == "<snapshot of Current: request_id>"
    assert repr(wire.extract({}, current)) == "<snapshot of nothing>"


def test_what_arrived_comes_on_top_of_what_is_bound(current):
    with current(user="ada", retries=1), wire.extract({"baggage": "retries=2"}, current):
        assert vars(current) == {"user": "ada", "retries": 2}


def test_what_arrived_goes_on_to_another_process(in_spawned):
    arrived = wire.extract({"baggage": "request-id=r"}, wire_names.current)
    with arrived:
        assert in_spawned(functools.partial(pickle.loads(pickle.dumps(arrived)).run, wire_names.request_id)) == "r"
        assert in_spawned(wire_names.request_id) is None


# --- with executors, and in many threads ------------------------------------------------------------------------------


def test_what_arrived_is_taken_along_by_executors_which_put_it_out_again():
    spawn = multiprocessing.get_context("spawn")
    with wire.extract({"baggage": "request-id=r"}, wire_names.current):
        with concurrent.ThreadPoolExecutor(1) as threads:
            assert threads.submit(wire.inject, {}, wire_names.current).result() == {"baggage": "request-id=r"}
        with concurrent.ProcessPoolExecutor(1, mp_context=spawn) as processes:
            assert processes.submit(wire_names.sent).result() == {"baggage": "request-id=r"}


def test_xlocals_come_and_go_while_others_are_looked_for():
    wrong = []

    def run(number):
        try:
            for turn in range(300):
                name = f"name-{number}"
                store = xctx.xlocal()
                wire.declare(store, name=xctx.carried(name))
                with wire.extract({"baggage": f"{name}={turn}"}):
                    if store.name != turn or f"{name}={turn}" not in wire.inject({})["baggage"]:
                        wrong.append(number)
        except BaseException as exc:
            wrong.append(exc)
            raise

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
