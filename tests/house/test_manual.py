"""The manual as a reader sees it: built without a network, and looked at in a browser where one is installed."""

import html
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.packages import installed

ROOT = Path(__file__).parents[2]
BROWSER = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
PAGES = ["index", "your_program/index", "your_program/flask", "api", "units"]
WIDTHS = [390, 1280]  # of a telephone, of a desk
# What the browser is asked: how wide the window and the page are, and what sticks out that has no scroll bar of its
# own. The page is in a frame, because a window is never narrower than 500 pixels.
ASKED = """
<script>
addEventListener("load", () => {
    const scrolls = element => element.closest("pre, .table-wrapper, .sidebar-drawer, .toc-drawer, svg, label");
    const out = [...document.querySelectorAll("body *")]
        .filter(each => !scrolls(each) && each.getBoundingClientRect().right > innerWidth + 1 && each.offsetParent);
    parent.postMessage([innerWidth, document.documentElement.scrollWidth,
                        ...out.map(each => each.tagName + "." + each.className)].join(" "), "*");
});
</script>
"""
FRAME = """
<iframe src="{}" style="width: {}px; height: 1400px; border: 0"></iframe>
<script>addEventListener("message", message => {{ document.body.innerText = `ASKED ${{message.data}} END`; }});</script>
"""

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


def browse(*options):
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


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
    window = [f"--window-size={width},1400", f"--user-data-dir={tmp_path / 'profile'}"]
    browse(*window, f"--screenshot={picture}", page.as_uri())
    assert struct.unpack(">II", picture.read_bytes()[16:24]) == (width, 1400)
    asked = page.with_name(f"{page.stem}-asked.html")  # beside it, where it finds its style
    asked.write_text(page.read_text().replace("</body>", f"{ASKED}</body>"))
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(asked.as_uri(), width))
    options = ["--window-size=1400,1400", *window[1:], "--virtual-time-budget=10000"]
    told = re.search(r"ASKED (\d+) (\d+) ?(.*?) ?END", browse(*options, "--dump-dom", frame.as_uri()))
    assert told, "the page did not answer"
    assert (int(told[1]), int(told[2])) == (width, width)
    assert told[3] == ""
