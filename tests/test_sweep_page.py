"""Reading a sweep: what the page says, and what it does in a real browser without any network."""

import csv
import hashlib
import shutil
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from azsim.chip import load_chip
from azsim.errors import OutputError, SweepError
from azsim.report.quantity import describe, ticks
from azsim.report.reading import read_sweep
from azsim.report.sweep_figures import bound_ranges, levels
from azsim.report.sweep_page import write_sweep_page
from azsim.report.sweep_table import decimals
from azsim.sweep import Store, export, load_results
from azsim.sweep.figures import RESULTS, static_figures
from azsim.sweep.store import Row

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FAILURE = "layer 'a': one row takes 501 B </script><script>window.broken = 1</script>"


def row(axes: dict, **figures) -> Row:
    """A point with a real chip and invented results: more PEs are faster and larger, more bandwidth costs energy."""
    chip = load_chip("az1_like", {k: v for k, v in axes.items() if "." in k})
    bandwidth = chip.dram.bandwidth_bytes_per_s / 1e9
    compute, fetch = 8.0 / chip.mac_array.pes, 0.2 / bandwidth
    results = dict.fromkeys(RESULTS, 1.0) | static_figures(chip)
    results |= {"latency_p95_ms": max(compute, fetch), "energy_working_uj": 500 + 100 * bandwidth, "wer": 0.0}
    results |= {"bound": "compute" if compute > fetch else "bandwidth", "text": "one"} | figures
    key = hashlib.sha256(repr(axes).encode()).hexdigest()[:16]
    return Row(key, chip.model_dump(), "amnet", "h", axes.get("weight_bits", 8), axes.get("weight_density"), "a.wav",
               "h", "v", results, 0.1)  # fmt: skip


def store_of(path, axes: list[dict], failures=(), **figures):
    rows = [row(a, **figures) for a in axes]
    with Store(path) as store:
        store.add(rows, [(f"f{n}", text) for n, (_, text) in enumerate(failures)])
        store.enlist("demo", [(r.key, a) for r, a in zip(rows, axes, strict=True)])
        store.enlist("demo", [(f"f{n}", a) for n, (a, _) in enumerate(failures)])
    return path


def grid() -> list[dict]:
    """Two axes that cross, a conditional one, and rows of values that go together."""
    points = []
    for pes in (16, 32, 64, 128):
        for bandwidth in (0.4e9, 1.6e9, 6.4e9):
            for size, tile in ((131072, 8192), (262144, 16384)):
                base = {"weight_sram.bytes": size, "weight_sram.tile_bytes": tile, "mac_array.pes": pes,
                        "dram.bandwidth_bytes_per_s": bandwidth}  # fmt: skip
                points.append({**base, "codec.name": "zero_mask"})
                points += [{**base, "codec.name": "run_length", "codec.index_bits": bits} for bits in (3, 5)]
    return points


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    failures = [({"mac_array.pes": 4096}, FAILURE)]
    return store_of(tmp_path_factory.mktemp("sweep") / "grid.db", grid(), failures)


# --- what is read ---


def test_a_conditional_axis_is_missing_where_a_point_does_not_have_it(store):
    points = read_sweep(store).points
    assert points.loc[points["codec.name"] == "zero_mask", "codec.index_bits"].isna().all()
    assert set(points.loc[points["codec.name"] == "run_length", "codec.index_bits"]) == {3, 5}


def test_values_that_go_together_are_one_choice(store):
    reading = read_sweep(store)
    assert reading.tied == {"weight_sram.tile_bytes": "weight_sram.bytes"}
    assert "weight_sram.tile_bytes" not in [curve.axis.name for curve in reading.curves]


def test_along_a_curve_nothing_else_changes(store):
    reading = read_sweep(store)
    reference = reading.points.loc[reading.reference]
    assert reference.on_front
    walk = next(curve for curve in reading.curves if curve.axis.name == "mac_array.pes")
    assert list(walk.rows["mac_array.pes"]) == [16, 32, 64, 128] and not walk.is_trend
    for other in ("dram.bandwidth_bytes_per_s", "weight_sram.bytes", "codec.name"):
        assert set(walk.rows[other]) == {reference[other]}
    codec = next(curve for curve in reading.curves if curve.axis.name == "codec.name")
    assert sorted(codec.rows["codec.name"]) == ["run_length", "zero_mask"], "an axis that a point lacks may differ"


def test_the_strongest_axis_comes_first(store):
    walks = [curve for curve in read_sweep(store).curves if not curve.is_trend]
    assert [curve.effect for curve in walks] == sorted((curve.effect for curve in walks), reverse=True)
    assert walks[0].axis.name in ("mac_array.pes", "dram.bandwidth_bytes_per_s") and walks[0].effect > 3
    assert walks[-1].effect == 1.0, "the invented results do not know the codec"


def test_points_drawn_at_random_give_trends_and_no_ties(tmp_path):
    rng = np.random.default_rng(0)
    drawn = [{"dram.bandwidth_bytes_per_s": float(rng.uniform(1e9, 6e9)), "mac_array.pes": int(rng.integers(8, 4000))}
             for _ in range(40)]  # fmt: skip
    reading = read_sweep(store_of(tmp_path / "drawn.db", drawn))
    assert reading.tied == {} and all(curve.is_trend and len(curve.rows) == 40 for curve in reading.curves)


def test_an_infeasible_point_is_told_and_never_on_the_front(tmp_path):
    path = store_of(tmp_path / "a.db", [{"mac_array.pes": 64}], feasible=True)
    with Store(path) as opened:
        better = row({"mac_array.pes": 128}, feasible=False, energy_working_uj=1.0)
        opened.add([better])
        opened.enlist("demo", [(better.key, {"mac_array.pes": 128})])
    reading = read_sweep(path)
    assert list(reading.points.on_front) == list(reading.feasible) and reading.feasible.sum() == 1
    page = tmp_path / "a.html"
    write_sweep_page(path, page)
    assert "of them break a condition" in page.read_text()


def test_a_front_that_ignores_word_errors_is_flagged(tmp_path):
    path = store_of(tmp_path / "a.db", [{"mac_array.pes": 32}], wer=0.0)
    with Store(path) as opened:
        cheap = row({"mac_array.pes": 64}, wer=0.4, energy_working_uj=1.0)
        opened.add([cheap])
        opened.enlist("demo", [(cheap.key, {"mac_array.pes": 64})])
    write_sweep_page(path, tmp_path / "a.html")
    assert "add wer to --objectives" in (tmp_path / "a.html").read_text()
    write_sweep_page(path, tmp_path / "b.html", objectives=["latency_p95_ms", "wer"])
    assert "add wer to --objectives" not in (tmp_path / "b.html").read_text()


@pytest.mark.parametrize(
    ("objectives", "said"),
    [
        (["latency_p59_ms"], r"no figure 'latency_p59_ms'; did you mean .*latency_p95_ms.*\? There are:"),
        (["area"], r"did you mean .*area_mm2"),
        (["dense_tops"], r"more is better"),
        ([], r"one to 6 objectives"),
        (["area_mm2", "area_mm2"], r"stands twice"),
    ],
)
def test_a_wrong_objective_says_what_there_is(store, objectives, said):
    with pytest.raises(SweepError, match=said):
        read_sweep(store, objectives=objectives)


# --- numbers for people ---


@pytest.mark.parametrize(
    ("name", "values", "title", "shown"),
    [
        ("dram.bandwidth_bytes_per_s", [4e8, 6.4e9], "DRAM bandwidth (GB/s)", "6.4"),
        ("weight_sram.bytes", [131072, 262144], "weight SRAM (KiB)", "256"),
        ("clock_hz", [5e8, 7.5e8], "clock (MHz)", "750"),
        ("energy_working_uj", [1022.9, 4848.5], "energy working (mJ)", "4.848"),
        ("latency_p95_ms", [0.1169, 0.7947], "latency p95 (ms)", "0.7947"),
        ("codec.name", ["huffman", "run_length"], "codec", "run_length"),
        ("mac_array.pes", [16, 64], "MAC array PEs", "64"),
        ("audio", ["models/demo/a.wav", "models/demo/b.wav"], "audio", "b.wav"),
        ("mac_array.skip_weights", [False, True], "MAC array skip weights", "yes"),
    ],
)
def test_columns_have_plain_names_and_units(name, values, title, shown):
    column = describe(name, pd.Series(values))
    assert (column.title, column.text(values[-1])) == (title, shown)


def test_ticks_are_round_and_inside():
    assert ticks(0.1, 0.8, False) == [0.2, 0.4, 0.6, 0.8]
    assert ticks(0.5, 300, True) == [1, 3, 10, 30, 100, 300]
    assert ticks(3.0, 3.0, True) == [3.0]


def test_decimals_are_as_many_as_the_values_need():
    assert decimals(np.array([16.0, 64.0])) == 0
    assert decimals(np.array([0.4, 6.4])) == 1
    assert decimals(np.array([0.12345, 0.98765])) == 4
    assert decimals(np.array([np.nan, 0.0])) == 0


def test_a_level_stands_for_each_value_and_one_for_points_without():
    bits = pd.Series([3, None, 5], dtype=object)
    position, at, text = levels(describe("codec.index_bits", bits), bits)
    assert position == [0.0, -1.0, 1.0] and at == [-1.0, 0.0, 1.0] and text == ["–", "3", "5"]


def test_a_shade_ends_midway_between_two_bounds():
    x, bounds = pd.Series([1.0, 4.0, 16.0]), pd.Series(["bandwidth", "compute", "compute"])
    assert bound_ranges(x, bounds, False, [0.0, 17.0]) == [(0.0, 2.5, "bandwidth"), (2.5, 17.0, "compute")]
    # On a log axis the ends are exponents, and the middle of 1 and 4 is 2.
    assert bound_ranges(x, bounds, True, [0.0, 2.0]) == [(1.0, 2.0, "bandwidth"), (2.0, 100.0, "compute")]


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


SMALL = {
    "empty": ([], []),
    "only_failures": ([], [({"mac_array.pes": 4096}, FAILURE)]),
    "one_point": ([{"mac_array.pes": 16}], []),
    "one_axis": ([{"mac_array.pes": pes} for pes in (16, 32, 64)], []),
}


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


def test_hovering_over_a_point_names_its_chip(page):
    dot = page.locator("#plot-fronts .scatterlayer .point").first
    dot.scroll_into_view_if_needed()
    box = dot.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    label = page.wait_for_selector("#plot-fronts .hovertext").text_content()
    for text in ("MAC array PEs: ", "DRAM bandwidth: ", " GB/s", "weight SRAM: ", "codec: ", "latency p95: ", " ms",
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


def test_clicking_a_heading_sorts_by_number(page):
    heading = page.locator("#all .dt-scroll-head thead tr").first.locator("th").nth(column(page, "MAC array PEs"))
    heading.click()
    assert shown_in(page, "MAC array PEs") == [16.0] * 15
    heading.click()
    assert shown_in(page, "MAC array PEs") == [128.0] * 15, "as text 64 would come first"


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
