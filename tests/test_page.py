"""The report in a real browser: offline, at desk and phone width, without a console error."""

import shutil

import pytest

from azsim import baselines, simulate
from azsim.chip import describe_chip
from azsim.report import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium; install it to look at the report")


@pytest.fixture(scope="module")
def page_file(recording, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    described = describe_chip(
        "az1_like", ["weight_sram.bytes=2048", "weight_sram.tile_bytes=512", "weight_sram.tile_slots=2"]
    )
    run = simulate("conftest:tiny_transducer", recording, described.chip)
    write_report(run, baselines(run), described, folder)
    return folder / "report.html"


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_renders_offline_and_fits(page_file, width):
    problems, requests = [], []
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(page_file.as_uri())
        page.wait_for_selector("#plot-codecs .main-svg")
        for name in ("latency", "cycles", "roofline", "codecs", "energy"):
            box = page.locator(f"#plot-{name} .main-svg").first.bounding_box()
            assert box and box["x"] >= 0 and box["x"] + box["width"] <= width + 1, f"{name} does not fit {width} px"
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
        assert page.locator("#plot-latency .bars .point").count() == 32, "one bar for each frame"
        browser.close()
    assert not problems
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
