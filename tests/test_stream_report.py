"""The report of a stream: what the log has is in the trace and on the page, and the page can be read anywhere."""

import gzip
import itertools
import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from azsim.listen import listen
from azsim.report.stream_page import MOST_ANSWERS, render_stream, shown
from azsim.report.stream_sentences import backlog, energy, speculation, states, utilization, waits
from azsim.report.stream_tables import tabulate_stream
from azsim.report.stream_timeline import timeline_figure, utterance_ranges
from azsim.report.stream_trace import MOMENTS, best_path, changes, stream_trace, without_overlap, words_said
from azsim.report.stream_write import STREAM_FILES, stream_json, write_stream
from azsim.stream.scenario import Scenario

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DIGITS = Path(__file__).parents[1] / "models" / "demo" / "digits_1.wav"
MARKUP = "<b>three</b> one four one five"


def household(**changes):
    """One utterance, three networks, one of them with a name that is markup."""
    networks = {
        "recognizer": {"model": "amnet", "role": "recognizer", "priority": 3},
        "<i>other</i>": {"model": "rnnt", "priority": 2},
        "endpointer": {"model": "endpointer", "role": "endpointer", "priority": 0},
    }
    spoken = {"audio": str(DIGITS), "pause_s": 1.5, "transcript": MARKUP}
    described = {"name": "<u>house</u>", "utterances": [spoken], "networks": networks,
                 "background": {"music": {"bytes_per_s": 5e6}}}  # fmt: skip
    return Scenario(**(described | changes))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream")
    frames = folder / "scratch.csv"
    heard = listen(household(), frames_csv=frames)
    tables = write_stream(heard, folder, frames)
    return heard, tables, folder


@pytest.fixture(scope="module")
def heard(written):
    return written[0]


@pytest.fixture(scope="module")
def tables(written):
    return written[1]


@pytest.fixture(scope="module")
def page(written):
    return (written[2] / "report.html").read_text()


@pytest.fixture(scope="module")
def overloaded():
    """A chip that is 500 times too slow for the recognizer."""
    alone = {"recognizer": {"model": "amnet", "role": "recognizer", "priority": 0, "deadline_ms": 2000}}
    return listen(household(networks=alone, chip_set={"clock_hz": 5e5}))


def text_of(page):
    """What a reader sees: no scripts, no tags."""
    return re.sub(r"<[^>]*>", " ", re.sub(r"<(script|style).*?</\1>", "", page, flags=re.S))


def figures_of(page):
    """The data of every figure as strict JSON, and then as text in which nothing is escaped but quotes."""
    found = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, flags=re.S)
    assert len(found) == 8, "seven figures, and the ranges of the timeline"
    refuse = lambda constant: pytest.fail(f"{constant} is not JSON")  # noqa: E731
    return [json.dumps(json.loads(data, parse_constant=refuse), ensure_ascii=False) for data in found]


# -- trace ------------------------------------------------------------------------------------------


def lane_names(events):
    return {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}


def test_every_interval_of_the_log_is_in_the_trace_with_its_cycles(heard):
    events = stream_trace(heard)
    lanes = lane_names(events)
    drawn = Counter()
    for e in events:
        lane = re.sub(r" \d+$", "", lanes.get(e["tid"], ""))
        if e["ph"] == "X":
            drawn[lane, e["name"], e["args"]["start_cycle"], e["args"]["start_cycle"] + e["args"]["cycles"]] += 1
        elif e["ph"] == "i" and lane in MOMENTS:
            drawn[lane, e["name"], e["args"]["cycle"], e["args"]["cycle"] + 1] += 1
    logged = Counter((lane, name, start, end) for lane, name, start, end, _ in heard.stream.log.intervals)
    assert len(logged) > 200
    assert not logged - drawn
    assert {lane for lane, *_ in drawn - logged} == {"background: music"}


def test_slices_of_a_lane_never_overlap(heard):
    by_lane = {}
    for event in stream_trace(heard):
        if event["ph"] == "X":
            by_lane.setdefault(event["tid"], []).append(event)
    assert len(by_lane) >= 6
    for events in by_lane.values():
        events.sort(key=lambda e: e["args"]["start_cycle"])
        for before, after in itertools.pairwise(events):
            assert before["args"]["start_cycle"] + before["args"]["cycles"] <= after["args"]["start_cycle"]
            assert before["ts"] + before["dur"] <= after["ts"] + 1e-9


def test_two_requests_in_the_cloud_at_once_have_a_lane_each():
    # a and b overlap; c starts when a ends, so it goes on in a's lane.
    a, b, c = ("cloud", "a", 0, 10, {}), ("cloud", "b", 5, 12, {}), ("cloud", "c", 10, 11, {})
    assert list(without_overlap([c, b, a])) == [[a, c], [b]]


def test_the_background_takes_its_share_of_the_bus_in_the_trace(heard):
    [music] = [e for e in stream_trace(heard) if e["name"] == "music"]
    # 5 MB/s of 1.6 GB/s
    share = 5e6 / heard.chip.dram.bandwidth_bytes_per_s
    assert music["args"]["busy_cycles"] / music["args"]["cycles"] == pytest.approx(share, rel=1e-3)


def test_counters_follow_the_backlog(heard):
    counters = [e for e in stream_trace(heard) if e["ph"] == "C"]
    assert {e["name"] for e in counters} == {f"backlog {name}" for name in heard.scenario.networks}
    for name, series in heard.stream.log.backlog.items():
        mine = [e["args"]["frames"] for e in counters if e["name"] == f"backlog {name}"]
        assert max(mine) == series.max() and mine[-1] == series[-1]
    assert changes([0, 0, 2, 2, 1]) == [0, 2, 4]


def test_the_trace_file_is_strict_json(written):
    def refuse(constant):
        raise AssertionError(constant)

    content = json.loads(gzip.decompress((written[2] / "trace.json.gz").read_bytes()), parse_constant=refuse)
    assert len(content["traceEvents"]) > 200


def test_words_stand_where_the_best_path_said_them(heard):
    words = words_said(heard)
    assert " ".join(word.text for word in words) == heard.stream.answers[0].best
    cycles = [word.cycle for word in words]
    assert cycles == sorted(cycles) and cycles[-1] < heard.stream.answers[0].final_s * heard.chip.clock_hz


def test_the_best_path_says_what_the_lattice_says_best_and_silence_says_nothing(heard):
    done = heard.ear.hear(heard.scenario.utterances[0])
    lattice = done.lattices[done.decisions[-1].frame]
    tokens, _ = lattice.best(1)[0]
    assert tuple(token for token, _ in best_path(lattice)) == tokens
    empty = type(lattice).of([], {0: 0.0})
    assert best_path(empty) == []


# -- figures ----------------------------------------------------------------------------------------


def test_the_timeline_draws_every_interval_and_merges_none(heard):
    figure = timeline_figure(heard)
    logged = Counter(lane for lane, *_ in heard.stream.log.intervals)
    ticks = [re.sub(r"<br><i>.*", "", text) for text in figure.layout.yaxis2.ticktext]
    drawn = {trace.y[0]: trace for trace in figure.data if trace.fill == "toself" and trace.xaxis == "x2"}
    for n, tick in enumerate(ticks):
        lane = tick.replace("<br>", " ").replace("&lt;", "<").replace("&gt;", ">")
        if lane in logged and lane not in MOMENTS:
            [trace] = [t for y, t in drawn.items() if round(float(y) + 0.34) == n]
            assert np.isnan(np.asarray(trace.x, float)).sum() == logged[lane], lane
            assert trace.line.simplify is False


def test_the_timeline_starts_at_the_first_utterance_and_can_be_zoomed(heard):
    figure = timeline_figure(heard)
    first, everything = utterance_ranges(heard)[0], utterance_ranges(heard)[-1]
    assert list(figure.layout.xaxis2.range) == first
    assert first[0] < 0 < heard.stream.answers[0].answer_s < first[1] <= everything[1]
    assert figure.layout.dragmode == "zoom"
    assert figure.layout.xaxis.matches == "x2", "sound and lanes share the time"


# -- page -------------------------------------------------------------------------------------------


def test_every_table_is_in_the_page(page, tables):
    frames = [tables.latency, tables.answers.head(MOST_ANSWERS), tables.networks, tables.waits, tables.utilization]
    for frame in [*frames, tables.energy, tables.states]:
        for column in shown(frame).columns:
            label = column.replace("_", " ")
            assert re.search(rf"<th[^>]*>{re.escape(label.rsplit(' ', 1)[0])}", page), column
        for cell in frame.iloc[:, 0].astype(str):
            assert re.search(rf"<td[^>]*>{re.escape(cell.replace('<', '&lt;').replace('>', '&gt;'))}<", page), cell
    for heading in ("uplink.round_trip_ms", "dram.bandwidth_bytes_per_s", "digits_1.wav"):
        assert heading in text_of(page)


def test_the_page_needs_nothing_from_outside_and_shows_no_nan(page):
    without_code = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.search(r"""(src|href)\s*=|url\(|@import""", without_code)
    assert not re.search(r"\bnan\b", text_of(page), flags=re.I)
    assert all(figures_of(page))


def test_text_of_recordings_and_scenario_is_escaped(page):
    for markup in (MARKUP, "<i>other</i>", "<u>house</u>"):
        assert markup not in page
        assert not any(markup in data for data in figures_of(page)), "plotly would set it in bold"
        assert markup.replace("<", "&lt;").replace(">", "&gt;") in page


def test_the_page_says_what_speculation_gained(heard, tables, page):
    [with_it], [without] = heard.stream.answers, heard.plain.answers
    gained = (without.answer_s - with_it.answer_s) * 1e3
    assert gained > 50, "the cloud takes 60 ms, which speculation hides"
    assert f"{gained:,.4g} ms sooner" in speculation(heard, tables)
    assert speculation(heard, tables).split(".")[0] in page


def test_revoked_starts_are_priced_in_words(heard, tables):
    headline = tables.headline | {"revoked": 2, "revoked_bytes": 3000}
    # 3,000 B at 0.1 uJ/B
    said = speculation(heard, replace(tables, headline=headline))
    assert "2 starts had to be revoked: 3,000 B" in said and "300 µJ" in said


def test_sentences_name_the_largest(tables):
    table = tables.waits.copy()
    table.loc[1, "dram_us"] = 1e6
    assert waits(table).startswith("<i>other</i> waits most") and "background traffic on the DRAM" in waits(table)
    assert "dram standby" in energy(tables)
    assert "retention" in states(tables.states)
    assert tables.utilization.part[tables.utilization.utilization.idxmax()].split(",")[0] in utilization(
        tables.utilization
    )


def test_the_page_of_an_overloaded_stream_says_so(overloaded):
    tables = tabulate_stream(overloaded)
    page = render_stream(overloaded, tables)
    assert overloaded.stream.overloaded == ["recognizer"]
    assert re.search(r'class="note alarm">recognizer falls behind', page)
    assert "recognizer cannot keep up" in backlog(tables.networks)
    assert "A network on the way to the answer falls behind" in text_of(page)
    assert not re.search(r"\bnan\b", text_of(page), flags=re.I)


def test_without_an_end_pointer_nothing_is_said_to_be_gained(overloaded):
    tables = tabulate_stream(overloaded)
    known = tables.latency.assign(mean_ms=100.0, p95_ms=100.0)
    assert "Nothing is speculated about" in speculation(overloaded, replace(tables, latency=known))


# -- stream.json ------------------------------------------------------------------------------------

UNITS = ("_s", "_ms", "_us", "_uj", "_mw", "_hours", "_bytes", "_bytes_per_s", "_cycles")
BARE = {"uj", "seconds", "wer", "share", "miss_share", "chip_share", "utilization", "real_time_factor",
        "opus_over_lattice", "audio_over_lattice", "simulated_s_per_s_with_execution"}  # fmt: skip


def quantities(node, key=""):
    if isinstance(node, dict):
        for name, value in node.items():
            yield from quantities(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from quantities(value, key)
    elif isinstance(node, float):
        yield key


def test_stream_json_has_units_in_its_keys_and_no_nan(heard, tables):
    content = stream_json(heard, tables)
    json.dumps(content, allow_nan=False)
    figures = {key: value for key, value in content.items() if not key.endswith("_fields")}
    assert {key for key in quantities(figures) if not key.endswith(UNITS)} <= BARE


def test_a_stream_leaves_four_files_and_nothing_else(written):
    assert {path.name for path in written[2].iterdir()} == set(STREAM_FILES)


# -- in a browser -----------------------------------------------------------------------------------


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium; install it to look at the report")
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_and_its_timeline_zooms(written, width):
    playwright = pytest.importorskip("playwright.sync_api")
    problems, requests = [], []
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.set_default_timeout(120_000)
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto((written[2] / "report.html").as_uri())
        page.wait_for_selector("body[data-drawn=yes]")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
        for plot in page.locator(".plot .main-svg:first-child").all():
            box = plot.bounding_box()
            assert box and box["x"] >= 0 and box["x"] + box["width"] <= width + 1
        span = "(([a, b]) => b - a)(document.getElementById('plot-timeline')._fullLayout.xaxis2.range)"
        whole = page.evaluate(span)
        lanes = page.locator("#plot-timeline .nsewdrag").nth(1)
        lanes.scroll_into_view_if_needed()
        box = lanes.bounding_box()
        page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 40)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 42, steps=5)
        page.mouse.up()
        page.wait_for_function(f"Math.abs({span} - {0.3 * whole}) < {0.015 * whole}")
        page.click("button[data-go='1']")
        page.wait_for_function(f"Math.abs({span} - {whole}) < {1e-6 * whole}")
        browser.close()
    assert not problems
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
