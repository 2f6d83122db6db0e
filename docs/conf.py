"""The manual is the README and what the docstrings say."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
metadata = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

project = metadata["name"]
(release,) = re.findall(r'^__version__ = "(.*)"$', (ROOT / "xctx" / "__init__.py").read_text(), re.MULTILINE)
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": metadata["description"]}
html_show_copyright = False
autodoc_member_order = "bysource"


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


def drop_self(app, what, name, obj, options, signature, returns):
    """Compiled methods show their `self`."""
    return signature and re.sub(r"^\((?:self|cls)(?:, )?", "(", signature), returns


def find_images(app, relative_path, parent, content):
    """The README stands a floor above the manual that includes it."""
    content[0] = content[0].replace(".. image:: ", ".. image:: ../")


def setup(app):
    app.connect("autodoc-process-docstring", mark_promises)
    app.connect("autodoc-process-signature", drop_self)
    app.connect("include-read", find_images)
