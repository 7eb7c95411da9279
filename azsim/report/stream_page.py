"""One self-contained HTML page of a stream: what the person waits, what that costs, and why; it works offline."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup
from plotly.offline import get_plotlyjs

import azsim
from azsim.chip import describe_chip
from azsim.listen import Heard
from azsim.report import stream_figures as figures
from azsim.report.page import scaled, sources_table, table, template
from azsim.report.quantity import figure as digits
from azsim.report.stream_sentences import sentences
from azsim.report.stream_tables import StreamTables
from azsim.report.stream_timeline import MOST_DRAWN, drawn_until_s, timeline_figure, utterance_ranges
from azsim.report.sweep_page import plot
from azsim.stream.books import TIMELINE_S
from azsim.stream.scenario import fields_of

MOST_ANSWERS = 300
SHARES = ("miss_share", "chip_share", "share", "utilization")


def render_stream(heard: Heard, tables: StreamTables) -> str:
    """The page as text.

    Parameters
    ----------
    heard : Heard
    tables : StreamTables
        Of the same stream.
    """
    scenario = heard.scenario
    plots = {
        "timeline": timeline_figure(heard),
        "latency": figures.latency_figure(heard),
        "backlog": figures.backlog_figure(heard),
        "waits": figures.waits_figure(tables),
        "energy": figures.energy_figure(tables),
        "states": figures.states_figure(tables),
        "utilization": figures.utilization_figure(tables.utilization),
    }
    return template("stream.html").render(
        h=tables.headline,
        description=scenario.description,
        chip_description=heard.chip.description,
        changes=", ".join(f"{path} = {_text(value)}" for path, value in scenario.chip_set.items()),
        notes=heard.notes,
        cards=_cards(heard, tables),
        says=sentences(heard, tables),
        figures={name: plot(figure, name) for name, figure in plots.items()},
        ranges=Markup(json.dumps(utterance_ranges(heard))),
        timeline_ends=_timeline_ends(heard),
        n_answers=len(tables.answers),
        most_answers=MOST_ANSWERS,
        n_bars=min(len(tables.answers), figures.MOST_UTTERANCES),
        tables={
            "latency": table(shown(tables.latency)),
            "answers": table(shown(tables.answers.head(MOST_ANSWERS))),
            "networks": table(shown(tables.networks.iloc[:, : _split(tables.networks)])),
            "loads": table(shown(_loads(tables.networks))),
            "waits": table(shown(tables.waits)),
            "utilization": table(shown(tables.utilization)),
            "energy": table(shown(tables.energy)),
            "states": table(shown(tables.states)),
            "scenario": table(_fields(heard)),
            "utterances": table(shown(_utterances(heard))),
            "chip": table(sources_table(describe_chip(scenario.chip, scenario.chip_set))),
        },
        version=azsim.__version__,
        plotly_js=Markup(get_plotlyjs()),
    )


def shown(frame: pd.DataFrame) -> pd.DataFrame:
    """A table for people: shares in percent, microseconds with their sign, words without underscores."""
    out = frame.copy()
    names = {}
    for column in out.columns:
        words = column.replace("_", " ")
        if column in SHARES:
            out[column] = 100 * out[column]
            names[column] = f"{'missed' if column == 'miss_share' else words}, %"
        elif column.endswith("_us"):
            names[column] = f"{words.removesuffix(' us')}, µs"
        elif column.endswith("_s"):
            names[column] = f"{words.removesuffix(' s')}, s"
        elif column in ("uj", "seconds"):
            names[column] = {"uj": "µJ", "seconds": "time, s"}[column]
        elif column.startswith("is_"):
            names[column] = words.removeprefix("is ")
    return out.rename(columns=names)


def _split(networks: pd.DataFrame) -> int:
    """Columns about latency come first; the others stand in a table of their own, so that both fit a page."""
    return list(networks.columns).index("frames_in")


def _loads(networks: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([networks[["network"]], networks.iloc[:, _split(networks) :]], axis=1)


def _fields(heard: Heard) -> pd.DataFrame:
    rows = [{"field": path, "value": _text(value)} for path, value in fields_of(heard.scenario).items()]
    return pd.DataFrame(rows, columns=["field", "value"])


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return digits(float(value)) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _utterances(heard: Heard) -> pd.DataFrame:
    return pd.DataFrame([
        {"audio": Path(spoken.audio).name, "pause_s": spoken.pause_s, "transcript": spoken.transcript or "beside it",
         "speech_end_s": digits(spoken.speech_end_s) if spoken.speech_end_s else "measured"}
        for spoken in heard.scenario.utterances
    ])  # fmt: skip


def _timeline_ends(heard: Heard) -> str:
    """What the timeline leaves out, in words; "" if nothing."""
    parts = []
    if heard.seconds > TIMELINE_S:
        parts.append(f"It shows the first {TIMELINE_S:.0f} of {heard.seconds:,.0f} s.")
    until = drawn_until_s(heard)
    if math.isfinite(until):
        parts.append(
            f"Of the intervals the first {MOST_DRAWN:,} are drawn, until {until:.2f} s; the trace has them all."
        )
    return " ".join(parts)


def _cards(heard: Heard, tables: StreamTables) -> list[dict[str, str]]:
    h, latency = tables.headline, tables.latency
    answered = f"end of speech to answer, mean; 95 % within {_ms(latency.p95_ms.iloc[0])}"
    cards = [{"value": _ms(latency.mean_ms.iloc[0]), "label": answered}]
    if len(latency) > 1:
        without = f"the same without speculation; 95 % within {_ms(latency.p95_ms.iloc[-1])}"
        cards.append({"value": _ms(latency.mean_ms.iloc[-1]), "label": without})
    frames = int(tables.networks.frames_out.sum())
    words = f"word error rate: {h['word_errors']:,} of {h['words']:,} words" if h["words"] else "words not known"
    sent = f"less to send than Opus, {_times(h['audio_over_lattice'])} less than raw audio"
    revoked = f"starts revoked; {h['revoked_bytes']:,} B sent in vain"
    return [
        *cards,
        {"value": f"{h['revoked']:,}", "label": revoked},
        {"value": f"{h['deadline_misses']:,}", "label": f"deadlines missed, of {frames:,} frames"},
        {"value": scaled(h["energy_per_utterance_uj"] * 1e-6, "J"), "label": "per utterance, with radio and pauses"},
        {"value": _hours(h["battery_hours"]), "label": f"on {heard.scenario.power.battery_wh:g} Wh, "
         f"at {h['mean_mw'] + heard.scenario.power.rest_mw:.3g} mW"},
        {"value": _times(h["opus_over_lattice"]), "label": sent},
        {"value": f"{100 * h['wer']:.1f} %" if h["words"] else "–", "label": words},
    ]  # fmt: skip


def _ms(value: float) -> str:
    return f"{value:,.0f} ms" if math.isfinite(value) else "–"


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} ×" if math.isfinite(ratio) else "–"


def _hours(hours: float) -> str:
    return f"{hours:,.0f} h" if hours >= 10 else f"{hours:.2g} h"
