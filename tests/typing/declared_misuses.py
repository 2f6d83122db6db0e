"""Misuses of declared names that mypy finds with the plugin xctx.mypy: each such line names its error."""

from typing import ClassVar, Final, Generic, TypeVar, assert_type

import xctx

T = TypeVar("T")


class Current(xctx.xlocal):
    user: str | None = None
    job: "Job"
    tags: list[int] = xctx.field(default_factory=list[int])
    limit: ClassVar[int] = 10
    version: Final = 3

    def title(self) -> str:
        return f"{self.user} {self.limit}"


class Job:
    pass


class More(Current):
    extra: int


class Box(xctx.xlocal, Generic[T]):
    item: T


class IntBox(Box[int]):
    pass


class Plain(xctx.xlocal):
    def title(self) -> str:
        return "plain"


class Holder:
    current = Current()


current, more, box, int_box, plain, anything = Current(), More(), Box[str](), IntBox(), Plain(), xctx.xlocal()


def what_is_declared_is_bound_and_read() -> None:
    with current(user="ada", tags=[1], job=Job()) as entered:
        assert_type(entered, Current)
        assert_type(entered.user, str | None)
        assert_type(entered.title(), str)
    with more(user=None, extra=1), box(item="x") as str_box, int_box(item=1):
        assert_type(more.extra, int)
        assert_type(str_box.item, str)
        assert_type(int_box.item, int)
    with plain(anything=1), anything(anything=2), Holder.current(user="x"):
        print(plain.anything, plain.title(), anything.anything)


def blocks(either: Current | None) -> None:
    current(usr="ada")  # type: ignore[call-arg]
    current(user=3)  # type: ignore[arg-type]
    current(tags=["a"])  # type: ignore[list-item]
    current(job=None)  # type: ignore[arg-type]
    current(limit=3)  # type: ignore[call-arg]
    current(version=3)  # type: ignore[call-arg]
    current(title="x")  # type: ignore[call-arg]
    more(extra="x")  # type: ignore[arg-type]
    more(usr="x")  # type: ignore[call-arg]
    box(item=1)  # type: ignore[arg-type]
    int_box(item="x")  # type: ignore[arg-type]
    Holder.current(usr="x")  # type: ignore[call-arg]
    if either is not None:
        either(usr="x")  # type: ignore[call-arg]


@current(usr="ada")  # type: ignore[call-arg]
def decorated() -> None:
    pass


def reads() -> None:
    current.usr  # type: ignore[attr-defined]
    more.usr  # type: ignore[attr-defined]
    int_box.no_item  # type: ignore[attr-defined]
    with current(user="ada") as entered:
        entered.usr  # type: ignore[attr-defined]


def writes() -> None:
    current.user = "ada"  # type: ignore[misc]
    more.user = "ada"  # type: ignore[misc]
    current.usr = "ada"  # type: ignore[assignment]


def local_classes() -> None:
    class Inner(xctx.xlocal):
        number: int

    Inner()(number="x")  # type: ignore[arg-type]
    Inner().no_number  # type: ignore[attr-defined]
