"""What a tree of who is running is made of, and how it is written as text and as JSON.

Nothing here changes once it is made. All of it is text and numbers: a tree refers to no object of the program, so it
keeps none alive, and is the same in the process that asked for it.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple


class Named(NamedTuple):
    """A name that is bound or kept."""

    name: str
    type: str
    value: str | None  #: its repr, cut short; None where values were not asked for


class Names(NamedTuple):
    """The names that one store has for one unit."""

    store: str  #: the module and name under which the store is found, or else its type and address
    key: str  #: of the store
    names: tuple[Named, ...]


class LockState(NamedTuple):
    """A lock that a unit holds, or waits for, or both (it holds it upgradable and waits to write)."""

    name: str  #: its name or path; without these, where the object is found
    held: str | None  #: "shared", "upgradable", "exclusive", or None
    times: int  #: how often it was acquired and not released
    held_for: float | None  #: seconds, or None if they were not noted (see :doc:`operating`)
    wanted: str | None  #: how it is waited for, or None
    waits_for: float | None  #: likewise


class Node(NamedTuple):
    """A unit, or what units stand under: a process, thread, event loop, task, greenlet, unit of work or context.

    What is ``bound`` are names of xlocals that the unit sees, and what is ``kept`` are those of locals.
    """

    #: "process", "thread", "greenlet", "loop", "task", "work", "context", or "value" for that of a callable's key
    kind: str
    name: str
    id: str  #: unique among all of its kind in this tree
    works: tuple[str, ...] = ()  #: ids of the units of work that are open there, from the innermost outwards
    bound: tuple[Names, ...] = ()
    kept: tuple[Names, ...] = ()
    locks: tuple[LockState, ...] = ()
    children: tuple["Node", ...] = ()

    def walk(self) -> Iterator["Node"]:
        """This node and all beneath it, from the top downwards."""
        yield self
        for child in self.children:
            yield from child.walk()


class Tree(NamedTuple):
    """Who is running in a process, at one moment. ``str()`` of it is :meth:`text`.

    Thread-safety: it never changes.
    Lifetime: it refers to nothing of the process that it describes.
    """

    pid: int
    program: str  #: the command line
    python: str
    at: str  #: the time, by the clock of that machine
    root: Node  #: the process
    interpreter: int = 0  #: the number of the interpreter that was asked; 0 is the main one

    def walk(self) -> Iterator[Node]:
        """All nodes, from the process downwards."""
        return self.root.walk()

    def text(self) -> str:
        """The tree as lines of text, indented."""
        lines = [f"{self._title()}: {self.program}", f"  {self.python}, {self.at}"]
        _write(self.root, lines, "")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """The tree as dicts, lists, strings and numbers. Fields are named as the attributes of the classes."""
        return {**self._asdict(), "root": _plain(self.root)}

    def json(self, indent: int | None = 2) -> str:
        """What :meth:`as_dict` gives, as JSON."""
        import json

        return json.dumps(self.as_dict(), indent=indent)

    def html(self) -> str:
        """The tree as a page of HTML, complete in itself."""
        from xctx._tree import page

        return page.page_of(self._title(), self.program, f"{self.python}, {self.at}", _section(self.root))

    def _title(self) -> str:
        return f"process {self.root.name}"

    def __str__(self) -> str:
        return self.text()


def tree_of(plain: dict[str, Any]) -> Tree:
    """The tree of which :meth:`Tree.as_dict` gave this."""
    return Tree(**{**plain, "root": _node_of(plain["root"])})


def _node_of(plain: dict[str, Any]) -> Node:
    return Node(
        **{
            **plain,
            "works": tuple(plain["works"]),
            "bound": tuple(map(_names_of, plain["bound"])),
            "kept": tuple(map(_names_of, plain["kept"])),
            "locks": tuple(LockState(**each) for each in plain["locks"]),
            "children": tuple(map(_node_of, plain["children"])),
        }
    )


def _names_of(plain: dict[str, Any]) -> Names:
    return Names(plain["store"], plain["key"], tuple(Named(**each) for each in plain["names"]))


def _plain(what: Any) -> Any:
    if isinstance(what, tuple):
        if hasattr(what, "_asdict"):
            return {name: _plain(value) for name, value in what._asdict().items()}
        return [_plain(each) for each in what]
    return what


def _write(node: Node, lines: list[str], indent: str) -> None:
    if node.kind != "process":
        lines.append(f"{indent}{title_of(node)}")
    indent += "  "
    for does, stores in (("bound", node.bound), ("kept ", node.kept)):
        for store in stores:
            lines.append(f"{indent}{does} {store.store} ({store.key}): {', '.join(map(said_of_name, store.names))}")
    lines += [f"{indent}{said}" for lock in node.locks for said in said_of_lock(lock)]
    for child in node.children:
        _write(child, lines, indent)


def _section(node: Node) -> str:
    from xctx._tree import page

    kind, _, rest = title_of(node).partition(" ")
    rows = [
        page.row_of_names(does, store.store, store.key, map(said_of_name, store.names))
        for does, stores in (("bound", node.bound), ("kept", node.kept))
        for store in stores
    ]
    rows += [page.row_of_lock(said, said.startswith("waits")) for lock in node.locks for said in said_of_lock(lock)]
    return page.section(kind, rest, rows, map(_section, node.children))


def title_of(node: Node) -> str:
    """What the node is, in a line."""
    inside = f", in work {' in '.join(node.works)}" if node.works else ""
    name = node.id if node.kind in ("work", "context") else node.name
    return f"{node.kind} {name}{inside}"


def said_of_name(named: Named) -> str:
    return f"{named.name}: {named.type}" + ("" if named.value is None else f" = {named.value}")


def said_of_lock(lock: LockState) -> list[str]:
    """What the unit has of a lock: a sentence, or two."""
    said = []
    if lock.held is not None:
        often = f" ({lock.times} times)" if lock.times > 1 else ""
        said.append(f"holds {lock.name} {lock.held}{often}{_seconds(lock.held_for)}")
    if lock.wanted is not None:
        said.append(f"waits for {lock.name} {lock.wanted}{_seconds(lock.waits_for)}")
    return said


def _seconds(time: float | None) -> str:
    return "" if time is None else f", for {time:.1f} s"
