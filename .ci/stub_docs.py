"""Writes the docstrings of compiled public classes and functions into their stubs, where editors look for them.

Run:  make stub-docs    or, to see only whether they are there, with --check, as `make lint` does
"""

import argparse
import ast
import importlib
import inspect
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PUBLIC = ("xctx", "xctx.keys")


def public() -> dict[int, object]:
    """By identity, what the facade and the keys' module offer."""
    found: dict[int, object] = {}
    for name in PUBLIC:
        module = importlib.import_module(name)
        for each in module.__all__:
            thing = getattr(module, each)
            if isinstance(thing, type) or callable(thing):
                found[id(thing)] = thing
    return found


def told(thing: Any) -> str | None:
    """The docstring, unless it is inherited from a type that is not ours."""
    text = inspect.getdoc(thing) if isinstance(thing, type) else getattr(thing, "__doc__", None)
    return inspect.cleandoc(text) if isinstance(text, str) and text.strip() else None


def wanted(tree: ast.Module, module: Any, shown: dict[int, object]) -> Iterator[tuple[ast.AST, str]]:
    """The nodes of a stub that are to have a docstring, with it."""
    for node in tree.body:
        if not isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            continue
        thing = getattr(module, node.name, None)
        if id(thing) not in shown:
            continue
        text = told(thing)
        if text:
            yield node, text
        seen: set[str] = set()
        for inner in node.body if isinstance(node, ast.ClassDef) else ():
            # Of several overloads the first one has it.
            if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef)) and inner.name not in seen:
                seen.add(inner.name)
                text = told(vars(thing).get(inner.name)) if not inner.name.startswith("_") else None
                if text:
                    yield inner, text


def with_docs(source: str, module: Any, shown: dict[int, object]) -> str:
    """The text of a stub, with the docstrings that its module has now."""
    lines = source.splitlines()
    for node, text in sorted(wanted(ast.parse(source), module, shown), key=lambda pair: -pair[0].lineno):  # type: ignore[attr-defined]
        assert isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        indent = " " * (node.col_offset + 4)
        escaped = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
        if "\n" in escaped:
            escaped += "\n"
        elif escaped.endswith('"'):
            escaped = escaped[:-1] + '\\"'
        doc = textwrap.indent(f'"""{escaped}"""', indent, lambda line: bool(line.strip()))
        first = node.body[0]
        begin, column = first.lineno - 1, first.col_offset
        value = first.value.value if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) else None
        if isinstance(value, str):
            lines[begin : first.end_lineno] = doc.splitlines()
        elif value is Ellipsis:
            lines[begin] = lines[begin][:column].rstrip()
            lines[begin + 1 : begin + 1] = doc.splitlines()
        else:  # under the head of the class, before comments and decorators
            heads = [node.lineno, *(each.end_lineno or 0 for each in getattr(node, "bases", ()))]
            lines[max(heads) : max(heads)] = doc.splitlines()
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, and fail where something would change")
    options = parser.parse_args()
    shown, behind = public(), []
    for path in sorted((ROOT / "xctx").rglob("*.pyi")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        source = path.read_text()
        text = with_docs(source, importlib.import_module(name), shown)
        if text != source:
            behind.append(str(path.relative_to(ROOT)))
            if not options.check:
                path.write_text(text)
    if behind and options.check:
        print(f"These have not the docstrings of what was compiled: {', '.join(behind)}.", file=sys.stderr)
        print("Say `make stub-docs`.", file=sys.stderr)
    return 1 if behind and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
