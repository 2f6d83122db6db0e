"""Pages in a browser, where one is installed: Chromium without a window."""

import re
import shutil
import subprocess

BROWSER = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
WIDTHS = [390, 1280]  # of a telephone, of a desk
HEIGHT = 1400
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


def browse(folder, width, *options):
    """Runs the browser with a profile of its own in the folder, and gives what it prints."""
    window = [f"--window-size={width},{HEIGHT}", f"--user-data-dir={folder / 'profile'}"]
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *window, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def what_sticks_out(page, width, folder):
    """The elements that are wider than a window of that width, as text; empty where the page fits."""
    asked = page.with_name(f"{page.stem}-asked.html")  # beside it, where it finds its style
    asked.write_text(page.read_text().replace("</body>", f"{ASKED}</body>"))
    frame = folder / "frame.html"
    frame.write_text(FRAME.format(asked.as_uri(), width))
    told = re.search(
        r"ASKED (\d+) (\d+) ?(.*?) ?END",
        browse(folder, HEIGHT, "--virtual-time-budget=10000", "--dump-dom", frame.as_uri()),
    )
    assert told, "the page did not answer"
    assert (int(told[1]), int(told[2])) == (width, width)
    return told[3]
