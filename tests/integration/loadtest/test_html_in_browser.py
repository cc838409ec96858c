"""The HTML report in a real browser: no errors, no overflow, and a few pages when printed."""

import json
import re
import shutil
import subprocess
from html import escape, unescape

import pytest
from matplotlib.image import imread
from unrolled_loadtest.report.html import render

from tests.support.loadtest.records import record_of

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
OPTIONS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    *("--hide-scrollbars", "--enable-logging=stderr", "--virtual-time-budget=2000"),
]
# The test's own addition to the page: what sticks out to the right, and is in nothing that scrolls.
PROBE = """<script>
addEventListener("load", () => {
  const out = [...document.querySelectorAll("body *")].filter(
    (e) => !e.closest(".wide, svg") && e.getBoundingClientRect().right > innerWidth + 0.5);
  parent.document.body.dataset.probe = JSON.stringify({
    widths: [innerWidth, document.documentElement.scrollWidth],
    out: out.map((e) => e.outerHTML.slice(0, 80)),
    drawings: [...document.querySelectorAll("svg")].filter((e) => e.getClientRects().length).length,
  });
});
</script>"""

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(BROWSER is None, reason="needs Debian's chromium: apt-get install chromium"),
]


def browse(path, tmp_path, *options):
    """Runs the browser with a separate profile and returns its output."""
    done = subprocess.run(
        [BROWSER, *OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", *options, path.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    return done.stdout


def probe(name, tmp_path, width, *options):
    """Returns the layout of a page of that width; in a frame, since windows are at least 500 wide."""
    probed = render(record_of(name)).replace("</head>", f"{PROBE}</head>")
    path = tmp_path / "frame.html"
    look = f"width: {width}px; height: 900px; border: 0"
    path.write_text(f'<body><iframe style="{look}" srcdoc="{escape(probed)}"></iframe>', encoding="utf-8")
    shown = browse(path, tmp_path, "--dump-dom", "--window-size=1400,1000", *options)
    return json.loads(unescape(re.search(r'data-probe="([^"]*)"', shown)[1]))


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("name", ["failing", "found", "long", "unanswered", "short"])
def test_nothing_overflows_and_nothing_fails(name, width, tmp_path):
    """At the widths of a phone and of a desktop screen."""
    found = probe(name, tmp_path, width)
    assert found["widths"] == [width, width]
    assert found["out"] == []
    assert found["drawings"] == render(record_of(name)).count("<svg")


def test_a_screenshot_shows_the_lines_in_their_colours(tmp_path):
    path = tmp_path / "page.html"
    path.write_text(render(record_of("paused")), encoding="utf-8")
    browse(path, tmp_path, f"--screenshot={tmp_path / 'page.png'}", "--window-size=1280,2600")
    seen = {
        tuple(pixel)
        for pixel in (imread(tmp_path / "page.png")[..., :3] * 255).round().astype(int).reshape(-1, 3)
    }
    assert {(31, 119, 180), (255, 127, 14), (255, 255, 255)} <= seen


@pytest.mark.parametrize(("name", "most"), [("usual", 3), ("failing", 3), ("found", 3), ("long", 3)])
def test_printing_gives_a_few_complete_pages(name, most, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(render(record_of(name)), encoding="utf-8")
    browse(path, tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={tmp_path / 'page.pdf'}")
    count = len(re.findall(rb"/Type\s*/Page\b", (tmp_path / "page.pdf").read_bytes()))
    assert 1 < count <= most
