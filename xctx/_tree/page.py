"""The tree as a page of HTML: one file, with no script and nothing from elsewhere."""

from html import escape

from xctx._tree.nodes import Node, Tree, said_of_lock, said_of_name, title_of

STYLE = """
:root { color-scheme: light dark; --line: #ccd3da; --dim: #5a6672; --warn: #a4361b; --back: #fff; --ink: #17202a; }
@media (prefers-color-scheme: dark) {
  :root { --line: #3a444e; --dim: #a3afbb; --warn: #ff9d80; --back: #14191f; --ink: #e6ebf0; }
}
body { margin: 0 auto; padding: 1rem; max-width: 75rem; background: var(--back); color: var(--ink);
       font: 15px/1.45 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.2rem; margin: 0; }
p { margin: .2rem 0 1rem; color: var(--dim); }
details { border-left: 2px solid var(--line); padding-left: .7rem; margin: .3rem 0; }
summary { cursor: pointer; }
summary b { font-weight: 600; }
ul { list-style: none; margin: .15rem 0; padding: 0 0 0 .9rem; }
code { font: 13px/1.4 ui-monospace, monospace; }
.dim { color: var(--dim); }
.waits { color: var(--warn); }
"""


def page_of(tree: Tree) -> str:
    """The page, complete."""
    about = f"{escape(tree.python)}, {escape(tree.at)}"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>process {tree.pid}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>process {tree.pid}</h1>\n<p><code>{escape(tree.program)}</code><br>{about}</p>\n"
        f"{_section(tree.root)}\n</body>\n</html>\n"
    )


def _section(node: Node) -> str:
    rows = []
    for does, stores in (("bound", node.bound), ("kept", node.kept)):
        for store in stores:
            names = ", ".join(f"<code>{escape(said_of_name(each))}</code>" for each in store.names)
            key = f'<span class="dim">({escape(store.key)})</span>'
            rows.append(f'<li><span class="dim">{does}</span> {escape(store.store)} {key}: {names}</li>')
    for lock in node.locks:
        for said in said_of_lock(lock):
            rows.append(f'<li class="{"waits" if said.startswith("waits") else "holds"}">{escape(said)}</li>')
    kind, _, rest = title_of(node).partition(" ")
    inside = f"<ul>{''.join(rows)}</ul>" if rows else ""
    inside += "".join(map(_section, node.children))
    return f"<details open><summary><b>{escape(kind)}</b> {escape(rest)}</summary>{inside}</details>"
