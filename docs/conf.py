"""The manual is the README and what the docstrings say."""

import tomllib
from pathlib import Path

metadata = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]

project = metadata["name"]
release = metadata["version"]
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": metadata["description"]}
autodoc_member_order = "bysource"
