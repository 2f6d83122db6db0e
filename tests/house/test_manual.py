"""The manual as a reader sees it: built without a network, and looked at in a browser where one is installed."""

import html
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.browser import BROWSER, HEIGHT, WIDTHS, browse, what_sticks_out
from helpers.packages import installed

ROOT = Path(__file__).parents[2]
PAGES = ["index", "your_program/index", "your_program/flask", "api", "units"]

pytestmark = [pytest.mark.slow, pytest.mark.thorough]


@pytest.fixture(scope="module")
def manual(tmp_path_factory):
    """The folder with the pages, built as `make docs` does; no reference leads nowhere."""
    if not (installed("sphinx") and installed("furo")):
        pytest.skip("sphinx or furo is not installed here")
    folder = tmp_path_factory.mktemp("manual")
    options = ["-W", "-E", "-q", "-d", folder / "trees"]
    command = [sys.executable, "-m", "sphinx", *options, ROOT / "docs", folder / "pages"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "pages"


def test_references_lead_into_pythons_manual(manual):
    page = (manual / "api.html").read_text()
    assert 'href="https://docs.python.org/3/library/contextvars.html#contextvars.ContextVar"' in page


def test_compiled_functions_show_their_types(manual):
    page = html.unescape(re.sub(r"<[^>]+>|\s", "", (manual / "api.html").read_text()))
    assert "acquire(exclusive:bool=False,blocking:bool=True,timeout:float|None=-1,)→bool" in page


@pytest.mark.skipif(not BROWSER, reason="no browser is installed here")
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_nothing_sticks_out_of_a_page(manual, name, width, tmp_path):
    page = manual / f"{name}.html"
    picture = tmp_path / "picture.png"
    browse(tmp_path, width, f"--screenshot={picture}", page.as_uri())
    assert struct.unpack(">II", picture.read_bytes()[16:24]) == (width, HEIGHT)
    assert what_sticks_out(page, width, tmp_path) == ""
