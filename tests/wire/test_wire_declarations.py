"""Which names are carried: what classes and `wire.declare` say."""

import enum
import sys
import types
import uuid
import weakref
from fractions import Fraction
from typing import Annotated, ClassVar, NewType, TypedDict

import pytest
from wire_names import Everything, came

import xctx
from xctx import wire
from xctx._wire import fields

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
            "class Everything(xctx.xlocal):\n"
            "    request_id: Id\n"
            "    request: typing.Annotated[Request, xctx.carried(encode=str, decode=str)]\n"
            "    pages: typing.Annotated[int | Unknown, xctx.carried]\n"
            "    response: Response | None\n"
            "    odd: 1 / 0\n",
            vars(module),
        )
        with (current := module.Everything())(request_id="7", request="r", pages="p", response=None, odd=0):
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


class Number(enum.IntEnum):
    ONE = 1


class Movie(TypedDict):
    title: str


class Permissions(enum.Flag):
    READ = 1
    WRITE = 2


class Point(enum.Enum):
    ORIGIN = (0, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        *(complex, dict[int, str], NewType("Id", Fraction), range, Permissions, Point),
        *(str | uuid.UUID, list[int] | list[str], int | Number, dict | Movie),
    ],
)
def test_what_cannot_be_written_and_told_apart_needs_a_codec(wrong):
    with pytest.raises(
        TypeError,
        match=r"'a' is carried, but .* is no type that xctx can write and check: give carried\(encode=",
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
    with store(a="1", b=2, c='"3"', d=4.0, e="null", f="{}"):
        headers = wire.inject({}, store)
    assert headers == {"baggage": "a=1,b=2,see=%22%5C%223%5C%22%22,dee=4.0,e=null,f={}"}
    assert came(headers, store) == {store: {"a": "1", "b": 2, "c": '"3"', "d": 4.0, "e": "null", "f": "{}"}}
    with pytest.raises(TypeError, match="'Everything' declares no name 'retrys': did you mean 'retries'"):
        wire.declare(current, "retrys")
    with pytest.raises(TypeError, match="'id' is carried, but 'complex' is no type that xctx can"):
        wire.declare(store, id=complex)
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
    store, declared = xctx.xlocal(), Everything()
    wire.declare(store, "a")
    wire.declare(store, "b")
    gone = [weakref.ref(store), weakref.ref(declared)]
    before = len(fields.carriers())
    del store, declared
    assert [each() for each in gone] == [None, None]
    assert len(fields.carriers()) == before - 2
