"""Says in what is released where the project lives: its addresses in the metadata, and an image that an index can show.

Run:  python .ci/address.py https://example.org/people/xctx v1.2     in a checkout that is then built

The tree names no address, because a fork or a mirror has another one: the workflow that builds releases knows its own.
"""

import argparse
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("address", help="of the repository, as a browser shows it")
    parser.add_argument("version", help="the tag or branch that is built")
    parser.add_argument("--root", type=Path, default=ROOT, help="of the checkout")
    options = parser.parse_args(arguments)
    if not re.fullmatch(r"https://[\w.-]+/[\w./-]*[\w-]", options.address):
        parser.error(f"the address of a repository begins with https:// and has a path, unlike {options.address!r}")
    files = f"{options.address}/blob/{options.version}"

    project = options.root / "pyproject.toml"
    text = project.read_text()
    if "[project.urls]" in text:
        parser.error(f"{project} has addresses already")
    urls = {"Source": options.address, "Issues": f"{options.address}/issues", "Changelog": f"{files}/CHANGES"}
    lines = "".join(f'{name} = "{address}"\n' for name, address in urls.items())
    project.write_text(text.replace("\n[project.entry-points", f"\n[project.urls]\n{lines}\n[project.entry-points", 1))

    readme = options.root / "README.rst"
    raw = f".. image:: {options.address}/raw/{options.version}/"
    readme.write_text(re.sub(r"^\.\. image:: (?!https:)", lambda _: raw, readme.read_text(), flags=re.MULTILINE))


if __name__ == "__main__":
    main()
