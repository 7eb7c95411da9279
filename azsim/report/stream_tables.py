"""The figures of a stream as tables, each with its unit in the column's name; the page and stream.json show these."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from azsim.energy.stream import add, scale
from azsim.listen import Heard
from azsim.stream import Stream
from azsim.stream.books import WAITED_FOR
from azsim.stream.outcome import word_errors

PERCENTILES = (50, 95, 99)


@dataclass(frozen=True)
class StreamTables:
    """Tables of a stream.

    Attributes
    ----------
    headline : dict
        One value a figure.
    latency : DataFrame
        What the person waits, with and without speculation.
    answers : DataFrame
        A row for each utterance.
    networks, waits : DataFrame
        A row for each network.
    utilization : DataFrame
        Chip, DRAM, host core and uplink.
    energy : DataFrame
        By component, over all and per utterance.
    states : DataFrame
        Time, power and energy in each power state.
    """

    headline: dict[str, Any]
    latency: pd.DataFrame
    answers: pd.DataFrame
    networks: pd.DataFrame
    waits: pd.DataFrame
    utilization: pd.DataFrame
    energy: pd.DataFrame
    states: pd.DataFrame


def tabulate_stream(heard: Heard) -> StreamTables:
    """Every table of a stream."""
    networks, energy = _networks(heard), _energy(heard)
    latency, answers = _latency(heard), _answers(heard.stream)
    states, utilization = _states(heard), _utilization(heard)
    headline = _headline(heard, latency, answers, networks)
    return StreamTables(headline, latency, answers, networks, _waits(heard), utilization, energy, states)


def _waiting_ms(stream: Stream) -> np.ndarray:
    return np.array([a.latency_s for a in stream.answers if not a.is_cut_off]) * 1e3


def _latency(heard: Heard) -> pd.DataFrame:
    """User-perceived latency; without figures where a network on the way to the answer falls behind."""
    rows = []
    streams = {"with speculation": heard.stream, "without speculation": heard.plain}
    if heard.plain is heard.stream:
        is_speculating = heard.scenario.endpointing.speculative and heard.scenario.named("endpointer")
        streams = {f"{'with' if is_speculating else 'without'} speculation": heard.stream}
    for name, stream in streams.items():
        waits = _waiting_ms(stream)
        on_the_way = {n for n, c in heard.scenario.networks.items() if c.role != "listener"}
        known = len(waits) and not on_the_way & set(stream.overloaded)
        row: dict[str, Any] = {"case": name, "answers": len(waits)}
        row["mean_ms"] = float(waits.mean()) if known else np.nan
        row |= {f"p{p}_ms": float(np.percentile(waits, p)) if known else np.nan for p in PERCENTILES}
        row["longest_ms"] = float(waits.max()) if known else np.nan
        rows.append(row)
    return pd.DataFrame(rows)


def _answers(stream: Stream) -> pd.DataFrame:
    rows = [
        {
            "utterance": a.utterance,
            "audio": a.audio,
            "said": a.said,
            "recognized": a.recognized,
            "speech_end_s": a.speech_end_s,
            "speculative_ms": (a.speculative_s - a.speech_end_s) * 1e3,
            "final_ms": (a.final_s - a.speech_end_s) * 1e3,
            "answer_ms": a.latency_s * 1e3,
            "revoked": a.revoked,
            "is_cut_off": a.is_cut_off,
            "sent_bytes": a.sent_bytes,
            "opus_bytes": a.opus_bytes,
            "audio_bytes": a.audio_bytes,
        }
        for a in stream.answers
    ]
    columns = ["utterance", "audio", "said", "recognized", "speech_end_s", "speculative_ms", "final_ms", "answer_ms",
               "revoked", "is_cut_off", "sent_bytes", "opus_bytes", "audio_bytes"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _networks(heard: Heard) -> pd.DataFrame:
    rows = []
    per_ms = 1e3 / heard.chip.clock_hz
    for name, book in heard.stream.books.items():
        guest, config = heard.ear.guests[name], heard.scenario.networks[name]
        known = name not in heard.stream.overloaded
        rows.append({
            "network": name,
            "model": guest.network.name,
            "priority": config.priority,
            "deadline_ms": book.deadline_cycles * per_ms,
            "mean_ms": book.latency.mean * per_ms if known else np.nan,
            **{f"p{p}_ms": book.latency.percentile(p) * per_ms if known else np.nan for p in PERCENTILES},
            "longest_ms": book.latency.largest * per_ms if known else np.nan,
            "deadline_misses": book.missed_deadlines,
            "miss_share": book.missed_deadlines / max(1, book.frames_out),
            "frames_in": book.frames_in,
            "frames_out": book.frames_out,
            "dropped": book.dropped,
            "backlog": book.backlog,
            "largest_backlog": book.largest_backlog,
            "preemptions": book.preemptions,
            "chip_share": heard.stream.chip.busy_cycles.get(name, 0) / max(1, heard.stream.total_cycles),
            "real_time_factor": real_time_factor(heard, name),
            "pinned_bytes": guest.pinned_bytes,
            "refetched_bytes": book.cold_bytes,
            "is_overloaded": not known,
        })  # fmt: skip
    return pd.DataFrame(rows)


def real_time_factor(heard: Heard, network: str) -> float:
    """Chip time over the time of the audio that the network listened to; below 1 it keeps up."""
    book = heard.stream.books[network]
    period_ms = heard.scenario.networks[network].period_ms or heard.ear.front.frame_ms
    listened_s = book.frames_out * period_ms * 1e-3
    busy_s = heard.stream.chip.busy_cycles.get(network, 0) / heard.chip.clock_hz
    return busy_s / listened_s if listened_s else np.nan


def _waits(heard: Heard) -> pd.DataFrame:
    """Mean wait of a frame by cause, microseconds."""
    us = 1e6 / heard.chip.clock_hz
    return pd.DataFrame([
        {"network": name, **{f"{cause}_us": book.waited_cycles[cause] * us / max(1, book.frames_out)
                             for cause in WAITED_FOR}}
        for name, book in heard.stream.books.items()
    ])  # fmt: skip


def _utilization(heard: Heard) -> pd.DataFrame:
    stream, total = heard.stream, max(1, heard.stream.total_cycles)
    busy = {
        "chip": sum(stream.chip.busy_cycles.values()),
        "DRAM, networks": stream.chip.bus_cycles,
        "DRAM, background": round(stream.background.share * total),
        "host core": stream.host.busy_cycles,
        "uplink": stream.uplink.busy_cycles,
    }
    return pd.DataFrame([{"part": part, "utilization": cycles / total} for part, cycles in busy.items()])


def _energy(heard: Heard) -> pd.DataFrame:
    said = max(1, len(heard.stream.answers))
    rows = [
        {"component": name, "uj": value, "low_uj": low, "high_uj": high, "per_utterance_uj": value / said}
        for name, (value, low, high) in heard.energy.components().items()
    ]
    table = pd.DataFrame(rows)
    return table[table.uj > 0].sort_values("uj", ascending=False, ignore_index=True)


def _states(heard: Heard) -> pd.DataFrame:
    """Time and standing power of each state; what networks do is charged to run."""
    rows, energy = [], heard.energy
    said = max(1, len(heard.stream.answers))
    work = sum(v for v, _, _ in add(list(energy.by_network.values())).values()) + energy.host_uj + energy.cold_uj
    for state, cycles in heard.stream.chip.state_cycles.items():
        standing = sum(v for v, _, _ in scale(energy.by_state[state], 1.0).values())
        uj = standing + (work if state == "run" else 0.0)
        seconds = cycles / heard.chip.clock_hz
        rows.append({
            "state": state, "seconds": seconds, "share": seconds / max(1e-12, energy.seconds), "standing_uj": standing,
            "work_uj": uj - standing, "per_utterance_uj": uj / said,
        })  # fmt: skip
    return pd.DataFrame(rows)


def _headline(heard: Heard, latency: pd.DataFrame, answers: pd.DataFrame, networks: pd.DataFrame) -> dict[str, Any]:
    stream, energy = heard.stream, heard.energy
    errors, words = word_errors(list(answers.said), list(answers.recognized))
    said = max(1, len(stream.answers))
    sent, opus, audio = (int(answers[f"{name}_bytes"].sum()) for name in ("sent", "opus", "audio"))
    return {
        "scenario": heard.scenario.name,
        "chip": heard.chip.name,
        "seconds": heard.seconds,
        "utterances": len(stream.answers),
        "words": words,
        "word_errors": errors,
        "wer": errors / words if words else np.nan,
        "latency_mean_ms": latency.mean_ms.iloc[0],
        "latency_p95_ms": latency.p95_ms.iloc[0],
        "latency_without_speculation_mean_ms": latency.mean_ms.iloc[-1],
        "deadline_misses": int(networks.deadline_misses.sum()),
        "preemptions": int(networks.preemptions.sum()),
        "revoked": stream.revoked,
        "revoked_bytes": stream.revoked_bytes,
        "cut_off": int(answers.is_cut_off.sum()),
        "uplink_bytes": sent,
        "opus_over_lattice": opus / sent if sent else np.nan,
        "audio_over_lattice": audio / sent if sent else np.nan,
        "energy_uj": energy.total_uj,
        "energy_per_utterance_uj": energy.total_uj / said,
        "energy_without_speculation_uj": heard.plain_energy.total_uj,
        "mean_mw": energy.mean_mw,
        "battery_hours": energy.hours(heard.scenario.power),
        "background_bytes_per_s": stream.background.bytes_per_s,
        "is_overloaded": bool(stream.overloaded),
        "simulated_s_per_s": heard.simulated_s_per_s["stream"],
        "simulated_s_per_s_with_execution": heard.simulated_s_per_s["both"],
    }
