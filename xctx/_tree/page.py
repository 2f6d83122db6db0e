"""The tree as a page of HTML: one file, with no script and nothing from elsewhere."""

from collections.abc import Iterable
from html import escape

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


def page_of(title: str, program: str, about: str, inside: str) -> str:
    """The page, complete.

    Args:
        inside: what :func:`section` has made of the process.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n<p><code>{escape(program)}</code><br>{escape(about)}</p>\n"
        f"{inside}\n</body>\n</html>\n"
    )


def section(kind: str, rest: str, rows: Iterable[str], inside: Iterable[str]) -> str:
    """What can be folded away: a line that is always seen, rows, and other sections."""
    found = "".join(rows)
    shown = f"<ul>{found}</ul>" if found else ""
    return f"<details open><summary><b>{escape(kind)}</b> {escape(rest)}</summary>{shown}{''.join(inside)}</details>"


def row_of_names(does: str, store: str, key: str, names: Iterable[str]) -> str:
    """What one store has."""
    said = ", ".join(f"<code>{escape(each)}</code>" for each in names)
    return f'<li><span class="dim">{does}</span> {escape(store)} <span class="dim">({escape(key)})</span>: {said}</li>'


def row_of_lock(said: str, waits: bool) -> str:
    """A sentence on a lock."""
    return f'<li class="{"waits" if waits else "holds"}">{escape(said)}</li>'
