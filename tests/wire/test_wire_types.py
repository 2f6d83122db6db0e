"""Values are of the types that are declared, all the way down, whether they come in or go out."""

import dataclasses
import datetime
import enum
import sys
import types
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, LiteralString, NewType, NotRequired, TypedDict, TypeVar, Union
from urllib.parse import quote

import pytest
from helpers.effort import examples
from helpers.packages import installed
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_names import came

import xctx
from xctx import wire
from xctx._wire.form_of import form_of

T = TypeVar("T")
NAUGHT = object()


class Role(enum.StrEnum):
    GUEST = "guest"
    USER = "user"


class Level(enum.Enum):
    LOW = 1
    HALF = 1.5
    NONE = None


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


@dataclasses.dataclass
class Place:
    name: str
    near: "list[Place]" = dataclasses.field(default_factory=list)
    since: datetime.date | None = None


@dataclasses.dataclass(frozen=True)
class Positive:
    number: int

    def __post_init__(self):
        if self.number < 1:
            raise ValueError("it is not positive")


TENANT = uuid.UUID("12345678-1234-5678-1234-567812345678")
NOON = datetime.datetime(2024, 5, 6, 12, tzinfo=datetime.UTC)
Name = NewType("Name", str)


def carrying(annotation):
    store = xctx.xlocal()
    wire.declare(store, value=annotation)
    return store


def reading(annotation, text, told=None):
    store = carrying(annotation)
    report = None if told is None else lambda *what: told.append(what)
    return came({"baggage": f"value={quote(text)}"}, store, report=report).get(store, {}).get("value", NAUGHT)


def header_of(annotation, value):
    store = carrying(annotation)
    told = []
    with store(value=value):
        header = wire.inject({}, store, report=lambda *what: told.append(what)).get("baggage")
    assert (header is None) == bool(told)
    return header


# --- what others send -----------------------------------------------------------------------------------------------

READ = [
    # str among others: text that is none of these stays text
    (str, ["12345", "true", "null", "1e5", "[1]", "", " spaced ", '"', '"half', "0a1b2c3d"], None),
    (str | None, ["12345", "true", "1e5", "[1]", "u-17", ""], None),
    (str | None, [("null", None), ('"null"', "null"), ('"x"', "x")], None),
    (int | str, ["1.5", "true", "[1]", "A-7", "9" * 5000, ("12", 12), ('"12"', "12")], None),
    (str | list[int], ['["x"]', '{"a":1}', "7", ("[7]", [7])], None),
    (str | Movie, ['{"year":1}', ('{"title":"Up"}', {"title": "Up"})], None),
    (Name, ["7", ('"7"', "7")], None),
    (Any, ["abc", ("7", 7), ("true", True), ('["a"]', ["a"])], None),
    (T, ["abc", ("7", 7)], None),
    # numbers and truth are never taken for each other
    (int, [("7", 7), ("-0", 0)], ["1.0", "true", '"7"', "", "seven", "1_000", "\u0667", "+7"]),
    (float, [("7", 7.0), ("1.5", 1.5)], ["true", "NaN", "1e999", "9" * 400, '"1.5"']),
    (int | float, [("1", 1), ("1.0", 1.0)], ["true", "x"]),
    (bool, [("true", True)], ["1", "True", "yes", '"true"']),
    (None, [("null", None)], ["None", "0", ""]),
    (Literal["guest", "user"], ["guest", ('"user"', "user")], ["admin", "", '["guest"]', "Guest"]),
    (Literal[1, "1"] | None, [("1", 1), ('"1"', "1"), ("null", None)], ["true", "1.0", "2", '"null"']),
    (Literal[True], [("true", True)], ["1", "True"]),
    (Literal[Role.USER], [("user", Role.USER)], ["guest"]),
    (Literal["a"] | int, ["a", ("7", 7)], ["b", "true"]),
    (Union[Literal["a"], str], ["a", "b"], None),  # noqa: PYI051, UP007
    (
        Literal["a"] | None | Literal["b"],  # noqa: PYI030
        ["a", "b", ("null", None)],
        ["c"],
    ),
    (Role, [("user", Role.USER), ('"guest"', Role.GUEST)], ["USER", "7", "admin"]),
    (Level, [("1", Level.LOW), ("1.5", Level.HALF), ("null", Level.NONE)], ["LOW", "2", "true"]),
    (list[int], [("[1,2]", [1, 2]), ("[]", [])], ['["x"]', '[1,"x"]', "[true]", "[1.0]", "1", "{}", "[null]"]),
    (list[Role | None], [('["user",null]', [Role.USER, None])], ['["x"]']),
    (Sequence[int], [("[1]", [1])], ['"a"', "a", '["1"]']),
    (Mapping[str, list[int]], [('{"a":[1]}', {"a": [1]})], ['{"a":1}', "[]"]),
    (dict[str, float], [('{"a":1}', {"a": 1.0})], ['{"a":"1"}']),
    (tuple[int, str], [('[1,"a"]', (1, "a"))], ["[1]", '[1,"a",2]', '["a",1]']),
    (tuple, [('[1,"a"]', (1, "a"))], ["{}"]),
    (tuple[()], [("[]", ())], ["[1]"]),
    (LiteralString, ["7"], None),
    (tuple[int, ...], [("[]", ()), ("[1,2]", (1, 2))], ['["a"]', "{}"]),
    (uuid.UUID, [(str(TENANT), TENANT), (f'"{TENANT}"', TENANT)], ["nobody", "7", "", str(TENANT)[:-1]]),
    (uuid.UUID | int, [(str(TENANT), TENANT), ("7", 7)], ["x"]),
    (datetime.datetime, [("2024-05-06T12:00:00+00:00", NOON), ("2024-05-06T12:00:00Z", NOON)], ["noon", "1714996800"]),
    (datetime.date, [("2024-05-06", NOON.date())], ["2024-05-06T12:00:00", "2024-13-01", "1"]),
    (datetime.time, [("12:30:00", datetime.time(12, 30))], ["25:00"]),
    (
        Movie,
        [('{"title":"Up"}', {"title": "Up"}), ('{"title":"Up","year":9,"new":1}', {"title": "Up", "year": 9})],
        ["{}", '{"title":1}', '{"title":"Up","year":"9"}', "[]", "Up"],
    ),
    (
        Place,
        [
            ('{"name":"a"}', Place("a")),
            (
                '{"name":"a","near":[{"name":"b","since":"2024-05-06"}],"x":1}',
                Place("a", [Place("b", [], NOON.date())]),
            ),
        ],
        ["{}", '{"name":"a","near":[{}]}', '{"name":"a","near":[7]}', '{"name":null}', "a"],
    ),
    (Positive, [('{"number":1}', Positive(1))], ['{"number":0}', '{"number":"1"}']),
    (
        list[Movie | int | None],
        [('[{"title":"Up"},1,null]', [{"title": "Up"}, 1, None])],
        ['[{"title":"Up"},"1"]', "[[]]"],
    ),
]


@pytest.mark.parametrize(("annotation", "good", "bad"), READ, ids=lambda value: str(value)[:40])
def test_what_arrives_is_of_the_declared_type_all_the_way_down(annotation, good, bad):
    for text, wanted in [each if isinstance(each, tuple) else (each, each) for each in good]:
        told = []
        found = reading(annotation, text, told)
        assert found == wanted and type(found) is type(wanted) and told == [], text
    for text in bad or ():
        told = []
        assert reading(annotation, text, told) is NAUGHT, text
        assert len(told) == 1, text


def test_a_value_that_nothing_is_known_of_is_text():
    store = xctx.xlocal()
    wire.declare(store, "by_name", marked=xctx.carried, named=xctx.carried("other-name"))
    header = "by_name=12345678,marked=12345e67,other-name=null"
    assert came({"baggage": header}, store) == {store: {"by_name": "12345678", "marked": "12345e67", "named": "null"}}


def test_by_hand_the_annotation_of_the_class_counts():
    class Current(xctx.xlocal):
        pages: int
        ids: "list[int]"

    current = Current()
    wire.declare(current, "pages", ids=xctx.carried("page-ids"))
    assert came({"baggage": "pages=7,page-ids=[1]"}, current) == {current: {"pages": 7, "ids": [1]}}
    assert not came({"baggage": "pages=a,page-ids=[%22a%22]"}, current)


def test_names_in_annotations_that_are_text_are_found_in_their_module():
    module = types.ModuleType("of_items")
    sys.modules[module.__name__] = module
    try:
        exec(
            "import typing, xctx\n"
            "class Item(typing.TypedDict):\n    name: 'Name'\n"
            "Name = str\n"
            "class Current(xctx.xlocal):\n"
            "    items: typing.Annotated[list['Item'], xctx.carried]\n"
            "    others: typing.Annotated['dict[str, Item]', xctx.carried]\n"
            "    unknown: typing.Annotated[list['Nowhere'], xctx.carried]\n",
            vars(module),
        )
        current = module.Current()
        headers = {"baggage": "items=[{%22name%22:%22a%22}],others={%22a%22:{}},unknown=[1]"}
        assert came(headers, current) == {current: {"items": [{"name": "a"}], "unknown": [1]}}
    finally:
        del sys.modules[module.__name__]


# --- what goes out --------------------------------------------------------------------------------------------------


class Text(str):
    __slots__ = ()

    def __str__(self):
        return "a lie"

    def __eq__(self, other):
        return True

    __hash__ = str.__hash__


class Whole(int):
    def __repr__(self):
        return "a lie"

    __str__ = __repr__


class Deeper(Place):
    pass


class Shown(dict):
    """Shows something else than it holds."""

    def __iter__(self):
        return iter(["shown"])

    def __getitem__(self, name):
        return "shown"

    def items(self):
        return [("shown", "shown")]


@pytest.mark.parametrize(
    ("annotation", "value", "header"),
    [
        (str, "12345", "12345"),
        (str, '"quoted"', "%22%5C%22quoted%5C%22%22"),
        (str, '"half', "%22half"),
        (str, " a b ", "%20a%20b%20"),
        (str, "", ""),
        (str, "a\0b\r\n", "a%00b%0D%0A"),
        (str | None, "12345", "12345"),
        (str | None, "null", "%22null%22"),
        (int | str, "7", "%227%22"),
        (int | str, "7.5", "7.5"),
        (int | str, 7, "7"),
        (str | list[int], '["a"]', "[%22a%22]"),
        (str | list[int], "[1]", "%22[1]%22"),
        (Role, Role.USER, "user"),
        (str, Role.USER, "user"),
        (Level, Level.LOW, "1"),
        (Literal["null"] | None, "null", "%22null%22"),
        (Literal["null"], "null", "null"),
        (uuid.UUID, TENANT, str(TENANT)),
        (datetime.datetime, NOON, "2024-05-06T12:00:00%2B00:00"),
        (datetime.date, NOON.date(), "2024-05-06"),
        (list[uuid.UUID], [TENANT], f"[%22{TENANT}%22]"),
        (Sequence[int], (1, 2), "[1%2C2]"),
        (float, 7, "7.0"),
        (Movie, {"title": "Up"}, "{%22title%22:%22Up%22}"),
        (Movie, Shown(title="Up"), "{%22title%22:%22Up%22}"),
        (Any, Shown(a=1), "{%22a%22:1}"),
        (dict[str, int], Shown(a=1), "{%22a%22:1}"),
        (Positive, Positive(3), "{%22number%22:3}"),
        (str, Text("true"), "true"),
        (int, Whole(7), "7"),
        (Any, [Text("a"), Whole(7), Role.USER, (1,)], "[%22a%22%2C7%2C%22user%22%2C[1]]"),
    ],
)
def test_values_as_they_are_written(annotation, value, header):
    assert header_of(annotation, value) == f"value={header}"


def circle():
    made = []
    made.append(made)
    return made


def wheel():
    place = Place("a")
    place.near.append(place)
    return place


def nested(depth):
    return [] if depth == 1 else [nested(depth - 1)]


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (str, 7),
        (str, b"7"),
        (str | None, 7),
        (int, True),
        (int, "7"),
        (int, 7.0),
        (bool, 1),
        (None, 0),
        (float, True),
        (float, float("nan")),
        (float, 10**400),
        (int | float, float("inf")),
        (list[int], ["x"]),
        (list[int], (1,)),
        (list[int], [True]),
        (Sequence[str], "ab"),
        (tuple[int, str], (1,)),
        (tuple[int, ...], [1]),
        (dict[str, int], {1: 1}),
        (dict[str, int], {"a": "1"}),
        (Literal["guest"], "admin"),
        (Literal["guest"], ["guest"]),
        (Literal[1], True),
        (Role, "user"),
        (Role, Level.LOW),
        (uuid.UUID, str(TENANT)),
        (datetime.date, NOON),
        (datetime.datetime, NOON.date()),
        (Movie, {}),
        (Movie, {"title": "Up", "yaer": 9}),
        (Movie, {"title": 7}),
        (Place, {"name": "a"}),
        (Place, Deeper("a")),
        (Place, Place(7)),
        (Place, Place),
        pytest.param(Any, circle(), id="circle"),
        pytest.param(Place, wheel(), id="wheel"),
        pytest.param(Any, nested(65), id="deep"),
        (Any, {1, 2}),
        (Any, b"x"),
        (Any, Level.LOW),
    ],
)
def test_values_of_other_types_are_not_written(annotation, value):
    assert header_of(annotation, value) is None


def test_what_is_as_deep_as_may_be_arrives():
    header = header_of(Any, nested(64))
    store = carrying(Any)
    assert came({"baggage": header}, store) == {store: {"value": nested(64)}}


zones = st.sampled_from([None, datetime.UTC, datetime.timezone(datetime.timedelta(hours=-5, minutes=-30))])
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
movies = st.fixed_dictionaries({"title": st.text()}, optional={"year": st.integers()})
places = st.recursive(
    st.builds(Place, st.text(max_size=5), st.just([]), st.none() | st.dates()),
    lambda inner: st.builds(Place, st.text(max_size=5), st.lists(inner, max_size=2), st.none()),
    max_leaves=4,
)
texts = st.text() | st.sampled_from(
    ['"', '"a"', "null", "true", "7", "1.5", "[1]", '["a"]', "{}", " a ", "NaN", "1e999"]
)
LAWS = {
    str: texts,
    str | None: texts | st.none(),
    int | str: texts | st.integers(),
    bool | float | str | None: texts | st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False),
    str | list[int]: texts | st.lists(st.integers()),
    int | float: st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    float: st.floats(allow_nan=False, allow_infinity=False),
    Any: anything,
    Literal["a", "1", 1, True] | None: st.sampled_from(["a", "1", 1, True, None]),
    Role | int | None: st.sampled_from(Role) | st.integers() | st.none(),
    Level: st.sampled_from(Level),
    list[int]: st.lists(st.integers(), max_size=10),
    list[str | None]: st.lists(texts | st.none(), max_size=10),
    tuple[int, str]: st.tuples(st.integers(), texts),
    tuple[bool, ...]: st.lists(st.booleans(), max_size=5).map(tuple),
    dict[str, list[float]]: st.dictionaries(
        st.text(max_size=5), st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3), max_size=3
    ),
    uuid.UUID: st.uuids(),
    uuid.UUID | None: st.uuids() | st.none(),
    datetime.datetime: st.datetimes(timezones=zones),
    datetime.date: st.dates(),
    datetime.time: st.times(),
    Movie: movies,
    list[Movie | str]: st.lists(movies | texts, max_size=4),
    Place: places,
    str | Place: places | texts,
}


@pytest.mark.parametrize("annotation", LAWS, ids=str)
def test_what_is_injected_is_extracted_equal(annotation):
    store = carrying(annotation)

    @settings(deadline=None, max_examples=examples(60))
    @given(LAWS[annotation])
    def law(value):
        told = []
        with store(value=value):
            headers = wire.inject({}, store, report=lambda what, why: told.append(why))
        if told:
            assert "8192 bytes" in told[0] or "UnicodeEncodeError" in told[0]
            return
        (names,) = came(headers, store).values()
        assert names == {"value": value} and type(names["value"]) is type(value)
        assert headers["baggage"].isascii()

    law()


# --- types of libraries ---------------------------------------------------------------------------------------------


@pytest.fixture
def msgspec():
    return pytest.importorskip("msgspec", reason="msgspec is not installed here")


@pytest.fixture
def pydantic():
    return pytest.importorskip("pydantic", reason="pydantic is not installed here")


@pytest.mark.skipif(not installed("pydantic"), reason="pydantic is not installed here")
def test_models_of_pydantic(pydantic):
    class User(pydantic.BaseModel):
        name: str
        age: Annotated[int, pydantic.Field(ge=0)] = 0
        born: datetime.date | None = None

    user = User(name="Ada", age=36, born=datetime.date(1815, 12, 10))
    header = header_of(User, user)
    store = carrying(User)
    assert came({"baggage": header}, store) == {store: {"value": user}}
    for text in ('{"name":7}', '{"name":"Ada","age":-1}', '{"name":"Ada","age":"36"}', "Ada", "[]"):
        assert reading(User, text) is NAUGHT
    for value in ({"name": "Ada"}, User.model_construct(name=7), None):
        assert header_of(User, value) is None
    assert reading(User | None, "null") is None
    few = Annotated[list[int], pydantic.Field(max_length=2)]
    assert reading(few, "[1,2]") == [1, 2]
    assert reading(few, "[1,2,3]") is NAUGHT and header_of(few, [1, 2, 3]) is None


def test_structs_of_msgspec(msgspec):
    class User(msgspec.Struct):
        name: str
        age: Annotated[int, msgspec.Meta(ge=0)] = 0

    user = User("Ada", 36)
    store = carrying(User)
    header = header_of(User, user)
    assert came({"baggage": header}, store) == {store: {"value": user}}
    for text in ('{"name":7}', '{"name":"Ada","age":-1}', '{"name":"Ada","age":"36"}', "Ada", "[]"):
        assert reading(User, text) is NAUGHT
    for value in (User(7), {"name": "Ada"}, 7, None):
        assert header_of(User, value) is None
    assert reading(set[int], "[1,2]") == {1, 2}
    assert reading(set[int], '["a"]') is NAUGHT and header_of(set[int], {"a"}) is None
    with pytest.raises(TypeError, match="'range' is no type that xctx can write and check"):
        carrying(list[range])


# What both are asked: types that xctx knows by itself, and data of JSON.
SHARED = [str, int, float, bool, None, str | None, int | None, Literal["a", 1], Role, list[int], dict[str, int]]
SHARED += [list[str | None], Movie, Place, Positive, tuple[int, str], tuple[int, ...], uuid.UUID]
DATA = [
    None,
    True,
    0,
    7,
    -1,
    1.5,
    "",
    "a",
    "7",
    "user",
    [],
    [1],
    ["a"],
    [1, "a"],
    [None],
    {},
    {"a": 1},
    {"title": "Up"},
]
DATA += [
    {"title": "Up", "year": "9"},
    {"title": "Up", "new": 1},
    {"name": "a"},
    {"name": "a", "near": [{}]},
    {"number": 0},
]
DATA += [{"name": "a", "near": [{"name": "b", "since": "2024-05-06"}]}, {"number": 3}, str(TENANT), [True], {"a": None}]


@pytest.mark.parametrize("library", ["msgspec", "pydantic"])
@pytest.mark.parametrize("annotation", SHARED, ids=str)
def test_a_library_would_say_the_same_of_types_that_need_none(annotation, library):
    from xctx._wire import libraries

    module = pytest.importorskip(library, reason=f"{library} is not installed here")
    if library == "msgspec":
        pytest.importorskip("msgspec.inspect")
    if library == "pydantic" and annotation is Movie and sys.version_info < (3, 12):
        pytest.skip("pydantic takes no TypedDict of typing before 3.12")
    (theirs,) = [form for name, form, _ in libraries.LIBRARIES if name == library]
    theirs = theirs("T", annotation, module)
    ours = form_of("value", annotation)
    assert not isinstance(ours, type(theirs))

    def said(form, data):
        try:
            return form.into(data)
        except Exception:
            return NAUGHT

    for data in DATA:
        if not (library == "pydantic" and annotation == Literal["a", 1] and data is True):  # it takes this for 1
            assert said(ours, data) == said(theirs, data), data
