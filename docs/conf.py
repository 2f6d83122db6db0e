"""The manual is the README and what the docstrings say."""

import ast
import re
import tomllib
import zlib
from pathlib import Path

ROOT = Path(__file__).parent.parent
metadata = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

project = metadata["name"]
(release,) = re.findall(r'^__version__ = "(.*)"$', (ROOT / "xctx" / "__init__.py").read_text(), re.MULTILINE)
extensions = ["sphinx.ext.autodoc", "sphinx.ext.intersphinx", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"{project} {release}"
html_theme_options = {"top_of_page_buttons": []}
html_copy_source = html_show_sourcelink = False
html_show_copyright = False
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
maximum_signature_line_length = 80

# Each reference leads somewhere, but for type variables and what only stubs name.
nitpicky = True
nitpick_ignore = [
    ("py:class", name)
    for name in (
        *("BatchStats", "Holder", "LocalBatch", "LockLost", "Scope"),
        *("xctx._patch.carrying.Policy", "xctx._postgres.lock.Block"),
    )
]
nitpick_ignore_regex = [("py:class", r"(\w+\.)*_[A-Z](\w|\.)*")]


# --- references into Python's manual ----------------------------------------------------------------------------------


def read_names(path):
    """The lines of python.txt: kind, name, page, and the anchor where that is not the name."""
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            kind, name, page, anchor = [*line.split(), "$"][:4]
            yield f"{name} py:{kind} 1 library/{page}.html#{anchor} -\n"


def write_inventory():
    """Writes what intersphinx reads. So the manual is built where there is no network, and the same way each time."""
    INVENTORY.parent.mkdir(exist_ok=True)
    INVENTORY.write_bytes(
        b"# Sphinx inventory version 2\n# Project: Python\n# Version: 3\n"
        b"# The remainder of this file is compressed using zlib.\n"
        + zlib.compress("".join(read_names(ROOT / "docs" / "python.txt")).encode())
    )


INVENTORY = ROOT / "docs" / "_build" / "python.inv"
intersphinx_mapping = {"python": ("https://docs.python.org/3", str(INVENTORY))}


# --- what the stubs know of compiled modules --------------------------------------------------------------------------


def read_stub(path):
    """Each function, class and property of a stub by its qualified name: its signature or type, as text."""
    tree = ast.parse(path.read_text())
    aliases = {
        node.target.id: ast.unparse(node.value)
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and node.value and ast.unparse(node.annotation) == "TypeAlias"
    }

    def text(node):
        return re.sub(r"\b_[A-Z]\w*", lambda name: aliases.get(name[0], name[0]), ast.unparse(node))

    def visit(body, prefix):
        for node in body:
            if isinstance(node, ast.ClassDef):
                yield from visit(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.FunctionDef):
                decorators = {ast.unparse(each) for each in node.decorator_list}
                returned = f" -> {text(node.returns)}" if node.returns else ""
                if "property" in decorators:
                    yield f"{prefix}{node.name}", returned.removeprefix(" -> ")
                else:
                    if prefix and "staticmethod" not in decorators:
                        arguments = node.args.posonlyargs or node.args.args
                        del arguments[0]
                    yield f"{prefix}{node.name}", f"({text(node.args)}){returned}"

    return list(visit(tree.body, ""))


STUBS = {}
for stub in sorted((ROOT / "xctx").rglob("*.pyi")):
    for qualified, told in read_stub(stub):
        STUBS.setdefault(qualified, []).append(told)


def find_in_stubs(name):
    """What the stubs say about a public name of the manual, but for functions that are overloaded."""
    told = STUBS.get(name.removeprefix("xctx.").removeprefix("keys.").removeprefix("debug."), ())
    return told[0] if len(told) == 1 else None


def add_types(app, what, name, obj, options, signature, returns):
    """Compiled functions do not know their types, and show their `self`."""
    if signature is None or ":" in signature:
        return None
    plain = re.sub(r"^\((?:self|cls)(?:, )?", "(", signature)
    if what in ("class", "exception"):
        typed = find_in_stubs(f"{name}.__init__") or find_in_stubs(f"{name}.__new__")
    else:
        typed = find_in_stubs(name)
    if not typed or (what == "class" and plain == "()"):
        return plain, returns
    arguments, _, result = typed.rpartition(" -> ")
    return arguments or typed, None if what == "class" or "_Block" in result else result


def add_type_of_attribute(app, what, name, obj, options, lines):
    """Napoleon takes what stands before the first colon of an attribute's docstring for its type."""
    if what in ("attribute", "property") and lines and (told := find_in_stubs(name)):
        lines[0] = f"{told}: {lines[0]}"


# --- docstrings -------------------------------------------------------------------------------------------------------


def mark_promises(app, what, name, obj, options, lines):
    """What a class promises ("Thread-safety: ...") becomes a field, as its arguments and errors do."""
    marked, within = [], False
    for line in lines:
        if re.match(r"(Thread-safety|Lifetime): ", line):
            marked += ["", f":{line}"]
            within = True
        else:
            within = within and bool(line)
            marked.append(f"    {line.lstrip()}" if within else line)
    lines[:] = marked


def find_images(app, relative_path, parent, content):
    """The README stands a floor above the manual that includes it."""
    content[0] = content[0].replace(".. image:: ", ".. image:: ../")


def setup(app):
    write_inventory()
    app.connect("autodoc-process-docstring", add_type_of_attribute, priority=400)  # before napoleon
    app.connect("autodoc-process-docstring", mark_promises)
    app.connect("autodoc-process-signature", add_types)
    app.connect("include-read", find_images)
