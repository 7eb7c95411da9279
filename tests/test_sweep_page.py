"""The page of a sweep: its files, and what it does in a real browser without any network."""

import csv
import re
import shutil
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from stores import FAILURE, SMALL, grid, row, store_of
from typer.testing import CliRunner

from azsim.errors import OutputError
from azsim.report.reading import read_sweep
from azsim.report.sweep_page import write_sweep_page
from azsim.sweep import Store, export, load_results
from azsim.sweep.store import Row

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    failures = [({"mac_array.pes": 4096}, FAILURE)]
    return store_of(tmp_path_factory.mktemp("sweep") / "grid.db", grid(), failures)


# --- files ---


def test_exports_read_back_equal(store, tmp_path):
    results = load_results(store)
    export(results, tmp_path / "a.csv")
    export(results, tmp_path / "a.parquet")
    wanted = results.map(lambda v: str(v) if isinstance(v, list | dict) else v)
    for back in (pd.read_csv(tmp_path / "a.csv", dtype={"key": str}), pd.read_parquet(tmp_path / "a.parquet")):
        assert list(back) == list(wanted) and len(back) == 72
        for column in wanted:  # a column of nothing but None reads back as nan
            assert back[column].astype(object).where(back[column].notna(), None).tolist() == wanted[column].tolist()


def test_the_command_writes_page_and_table(store, tmp_path):
    from azsim.cli import app

    page, table = tmp_path / "x.html", tmp_path / "x.csv"
    done = CliRunner().invoke(app, ["report", str(store), "--out", str(page), "--export", str(table)])
    assert done.exit_code == 0, done.output
    assert "72 points, 1 more failed" in done.output and page.stat().st_size < 8e6
    assert len(pd.read_csv(table)) == 72
    wrong = CliRunner().invoke(app, ["report", str(store), "--objectives", "latency_p95", "--out", str(page)])
    assert wrong.exit_code == 2 and "did you mean latency_p95_ms" in wrong.output
    unknown = CliRunner().invoke(app, ["report", str(store), "--sweep", "dem"])
    assert unknown.exit_code == 2 and "it has demo" in unknown.output


def test_a_page_that_cannot_be_written_says_so(store, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_sweep_page(store, tmp_path / "file" / "x.html")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", SMALL)
def test_a_small_store_makes_a_page(name, tmp_path):
    axes, failures = SMALL[name]
    reading = write_sweep_page(store_of(tmp_path / "s.db", axes, failures), tmp_path / "s.html")
    page = (tmp_path / "s.html").read_text()
    assert len(reading.points) == len(axes)
    assert ("No point ran" in page) == (not axes)
    assert ('id="plot-fronts"' in page) == bool(axes)
    assert ('id="plot-parallel"' in page) == ('id="plot-curve-0"' in page) == (name == "one_axis")
    assert ("Points that could not run" in page) == bool(failures)
    assert "<script>window.broken" not in page


def test_a_name_cannot_break_the_page(tmp_path):
    path = store_of(tmp_path / "s.db", [{"audio": name} for name in ("a.wav", "b<!--<script>.wav")])
    write_sweep_page(path, tmp_path / "s.html")
    page = (tmp_path / "s.html").read_text()
    assert "b<!--<script>" not in page and "b\\u003c!--" in page
    assert re.search(r'[\[ ]"b&lt;!--&lt;script&gt;.wav"[\],]', page), "the texts over points"


# --- in a browser ---


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("needs chromium; install it to look at the page")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@contextmanager
def opened(browser, file, width=1200):
    """A drawn page; at the end no error may have been seen and no request may have left the file."""
    problems, requests = [], []
    page = browser.new_page(viewport={"width": width, "height": 900}, accept_downloads=True)
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(file.as_uri())
    page.wait_for_selector("body[data-drawn=yes]")
    yield page
    page.close()
    assert not problems
    assert requests and [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []


@pytest.fixture(scope="module")
def page_file(store, tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "page.html"
    write_sweep_page(store, file)
    return file


@pytest.fixture(scope="module")
def shared(browser, page_file):
    with opened(browser, page_file) as page:
        page.wait_for_selector("#points tbody tr td")
        yield page


@pytest.fixture
def page(shared):
    shared.get_by_text("Clear filters").first.click()
    return shared


def rows_left(page) -> str:
    return page.locator("#all .dt-info").inner_text()


def column(page, title: str) -> int:
    titles = [t.strip() for t in page.locator("#all .dt-scroll-head thead tr").first.locator("th").all_inner_texts()]
    return next(n for n, text in enumerate(titles) if " ".join(text.split()) == title)


def shown_in(page, title: str) -> list[float]:
    cells = page.locator(f"#points tbody tr td:nth-child({column(page, title) + 1})").all_inner_texts()
    return [float(text.replace(",", "")) for text in cells]


@pytest.mark.parametrize("width", [1200, 390])
def test_all_figures_have_marks_and_fit(browser, page_file, width):
    with opened(browser, page_file, width) as page:
        check_figures(page, width)


def check_figures(page, width):
    points = page.evaluate(
        "document.getElementById('plot-fronts').data.reduce((n, t) => n + (t.customdata ?? []).length, 0)"
    )
    assert points == 3 * 72, "every point in every pair of three objectives"
    assert page.locator("#plot-fronts .scatterlayer .point").count() >= points
    assert page.locator("#plot-fronts .scatterlayer .js-line").count() == 3
    assert page.locator("#plot-parallel .parcoords .y-axis").count() == 9, "six axes and three objectives"
    ticks = page.locator("#plot-parallel").inner_text()
    assert "zero_mask" in ticks and "run_length" in ticks
    for n in range(5):
        assert page.locator(f"#plot-curve-{n} .scatterlayer .point").count() >= 6
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"


def test_a_change_of_the_bound_is_shaded(page, store):
    reading = read_sweep(store)
    for n, curve in enumerate(reading.curves):
        changes = (
            0 if curve.is_trend else sum(a != b for a, b in zip(curve.rows.bound, curve.rows.bound[1:], strict=False))
        )
        shades = page.locator(f"#plot-curve-{n} .shapelayer path, #plot-curve-{n} .layer-below .shapelayer path")
        assert shades.count() == (3 * (changes + 1) if changes else 0)
    assert any(curve.rows.bound.nunique() > 1 for curve in reading.curves)


def test_hovering_over_a_point_names_its_chip(page, store):
    dot = page.locator("#plot-fronts .scatterlayer .point").first
    dot.scroll_into_view_if_needed()
    box = dot.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    label = page.wait_for_selector("#plot-fronts .hovertext").text_content()
    points = read_sweep(store).points
    hovered = points.loc[page.evaluate("document.getElementById('plot-fronts').data[0].customdata[0]")]
    said = points.set_index("key").loc[label.rpartition("key: ")[2]]  # the same place may hold several points
    assert list(said[["latency_p95_ms", "energy_working_uj"]]) == list(hovered[["latency_p95_ms", "energy_working_uj"]])
    assert f"MAC array PEs: {said['mac_array.pes']}" in label and f"codec: {said['codec.name']}" in label
    for text in ("DRAM bandwidth: ", " GB/s", "weight SRAM: ", "codec: ", "latency p95: ", " ms",
                 "area: ", " mm²", "bound: "):  # fmt: skip
        assert text in label


def test_typing_below_a_heading_filters(page):
    assert "of 72 entries" in rows_left(page)
    field = page.locator("#all .dtcc-search input").nth(column(page, "MAC array PEs"))
    field.fill("64")
    page.wait_for_function("document.querySelector('#all .dt-info').textContent.includes('of 18 entries')")
    assert set(shown_in(page, "MAC array PEs")) == {64.0}
    page.locator("#all .dtcc-search input").nth(column(page, "codec")).fill("zero")
    page.wait_for_function("document.querySelector('#all .dt-info').textContent.includes('of 6 entries')")
    page.get_by_text("Clear filters").first.click()
    page.wait_for_function("document.querySelector('#all .dt-info').textContent.includes('of 72 entries')")
    assert "filtered" not in rows_left(page) and field.input_value() == ""


def test_searching_the_whole_table_filters(page):
    page.locator("#all .dt-search input").fill("run_length")
    page.wait_for_function("document.querySelector('#all .dt-info').textContent.includes('of 48 entries')")
    codecs = page.locator(f"#points tbody tr td:nth-child({column(page, 'codec') + 1})").all_inner_texts()
    assert len(codecs) == 15 and set(codecs) == {"run_length"}


def test_clicking_a_heading_sorts_by_number(page):
    heading = page.locator("#all .dt-scroll-head thead tr").first.locator("th").nth(column(page, "MAC array PEs"))
    expect = pytest.importorskip("playwright.sync_api").expect
    first = page.locator(f"#points tbody tr:first-child td:nth-child({column(page, 'MAC array PEs') + 1})")
    heading.click()
    expect(first).to_have_text("16")
    assert shown_in(page, "MAC array PEs") == [16.0] * 15
    heading.click()
    expect(first).to_have_text("128")  # as text 64 would come first
    assert shown_in(page, "MAC array PEs") == [128.0] * 15


def test_the_csv_button_saves_the_rows_that_are_left(page, store):
    page.locator("#all .dtcc-search input").nth(column(page, "MAC array PEs")).fill("64")
    page.wait_for_function("document.querySelector('#all .dt-info').textContent.includes('of 18 entries')")
    with page.expect_download() as download:
        page.get_by_text("Save these rows as CSV").first.click()
    assert download.value.suggested_filename == "demo-points.csv"
    with open(download.value.path(), encoding="utf-8-sig") as file:
        saved = list(csv.DictReader(file))
    wanted = load_results(store).query("`mac_array.pes` == 64").set_index("key")
    assert sorted(r["key"] for r in saved) == sorted(wanted.index)
    for r in saved:
        assert float(r["area (mm²)"]) == pytest.approx(wanted.area_mm2[r["key"]], rel=1e-3)
        assert (r["codec index bits"] == "") == (r["codec"] == "zero_mask")


def test_failures_show_their_reason_as_text(page):
    assert FAILURE in page.locator("#failures tbody").inner_text()
    assert page.evaluate("window.broken") is None


@pytest.mark.parametrize("name", SMALL)
def test_a_small_store_is_drawn_without_errors(name, browser, tmp_path):
    write_sweep_page(store_of(tmp_path / "s.db", *SMALL[name]), tmp_path / "s.html")
    with opened(browser, tmp_path / "s.html") as page:
        assert page.locator(".plot .main-svg").count() >= (len(SMALL[name][0]) > 0)
        assert page.locator(".plot:not(.js-plotly-plot)").count() == 0, "a figure was left out"


def test_many_points_stay_light(browser, tmp_path):
    rng = np.random.default_rng(1)
    template = row({"mac_array.pes": 16})
    with Store(tmp_path / "many.db") as many:
        rows, members = [], []
        for n in range(3000):
            noise = rng.uniform(1, 3, 3)
            figures = template.figures | {
                "latency_p95_ms": noise[0],
                "energy_working_uj": noise[1],
                "area_mm2": noise[2],
            }
            rows.append(Row(f"{n:016x}", template.chip | {"clock_hz": 1e8 + n}, *list(vars(template).values())[2:9],
                            figures, 0.1))  # fmt: skip
            members.append((rows[-1].key, {"clock_hz": 1e8 + n}))
        many.add(rows)
        many.enlist("many", members)
    write_sweep_page(tmp_path / "many.db", tmp_path / "many.html")
    assert (tmp_path / "many.html").stat().st_size < 8e6
    with opened(browser, tmp_path / "many.html") as page:
        page.wait_for_selector("#points tbody tr td")
        assert "of 3,000 entries" in rows_left(page), "no row was left out for its size"
        assert page.evaluate("document.getElementById('plot-fronts').data[0].type") == "scattergl"
