"""The figures of a point, by name; the last word of a name is its unit."""

from typing import Any

import numpy as np

from azsim.chip import Chip
from azsim.energy import area
from azsim.energy.area import sram_bytes
from azsim.listen import Heard
from azsim.simulate import Replay
from azsim.stream.outcome import word_errors

STATIC = {
    "area_mm2": "silicon of the chip",
    "area_low_mm2": "lower end of its band",
    "area_high_mm2": "upper end of its band",
    "sram_bytes": "all memory on the chip",
    "dense_tops": "8-bit operations of the MAC array at best",
}
RUN = {
    "latency_p50_ms": "frame latency, median",
    "latency_p95_ms": "frame latency, 95th percentile",
    "latency_p99_ms": "frame latency, 99th percentile",
    "latency_mean_ms": "frame latency, mean",
    "latency_max_ms": "frame latency, longest",
    "working_ms": "work of the utterance",
    "real_time_factor": "work over audio time",
    "dram_read_bytes": "DRAM traffic of the utterance",
    "dram_bytes_per_s": "DRAM traffic per second of audio",
    "wasted_bytes": "fetched for arms that were not taken",
    "stored_weight_bytes": "weights in DRAM",
    "pinned_weight_bytes": "weights that stay on the chip, as held there",
    "energy_working_uj": "energy while working",
    "energy_working_low_uj": "lower end of its band",
    "energy_working_high_uj": "upper end of its band",
    "energy_utterance_uj": "energy of the whole utterance, standby included",
    "mac_array_busy_cycles": "cycles in which the array multiplies",
    "mac_array_dma_cycles": "cycles in which it waits for DRAM",
    "mac_array_decoder_cycles": "cycles in which it waits for the decoder",
    "compute_bound_ms": "floor by multiplications and broadcasts",
    "bandwidth_bound_ms": "floor by bytes",
    "decode_bound_ms": "floor by symbols",
    "word_errors": "substitutions, insertions and deletions, where a transcript is known",
    "wer": "word errors over words of the transcript",
}
STREAM = {
    "deadline_misses": "frames that were late, over all networks of a stream",
    "miss_share": "of a network's frames, the largest over networks",
    "largest_backlog_frames": "frames that waited at once, the most over networks",
    "is_overloaded": "1 where a network falls behind",
    "felt_latency_mean_ms": "end of speech to answer, mean; none where a network on the way falls behind",
    "felt_latency_p95_ms": "end of speech to answer, 95th percentile",
    "worst_frame_ms": "longest frame latency over networks",
    "chip_utilization": "share of cycles in which the chip runs a network",
    "dram_background_bytes_per_s": "DRAM traffic of others",
    "dram_left_bytes_per_s": "DRAM bandwidth that others leave: minimize it to find the highest load",
    "stream_energy_uj": "energy of the whole stream",
    "mean_mw": "average power of the stream",
    "battery_hours": "until the battery is empty, the rest of the device included",
    "uplink_bytes": "lattices sent",
    "word_errors": RUN["word_errors"],
    "wer": RUN["wer"],
}
RESULTS = RUN | STREAM
TEXTS = {
    "bound": "the largest floor: compute, bandwidth or decode",
    "text": "what was recognized",
    "arms": "frames by the arm taken",
}


def static_figures(chip: Chip) -> dict[str, Any]:
    """Figures that need no run."""
    silicon = area(chip).total()
    return {
        "area_mm2": silicon.value,
        "area_low_mm2": silicon.low,
        "area_high_mm2": silicon.high,
        "sram_bytes": sum(sram_bytes(chip).values()),
        "dense_tops": 2e-12 * chip.peak_macs_per_s,
    }


def stream_figures(heard: Heard) -> dict[str, Any]:
    """Figures of one stream; without those that it has not."""
    stream, per_ms = heard.stream, heard.chip.clock_hz * 1e-3
    books = list(stream.books.values())
    load = stream.background.bytes_per_s
    return {
        "deadline_misses": sum(book.missed_deadlines for book in books),
        "miss_share": max(book.missed_deadlines / max(1, book.frames_out) for book in books),
        "largest_backlog_frames": max(book.largest_backlog for book in books),
        "is_overloaded": int(bool(stream.overloaded)),
        **_felt(heard),
        "worst_frame_ms": max(book.latency.largest for book in books) / per_ms,
        "chip_utilization": sum(stream.chip.busy_cycles.values()) / max(1, stream.total_cycles),
        "dram_background_bytes_per_s": load,
        "dram_left_bytes_per_s": heard.chip.dram.bandwidth_bytes_per_s - load,
        "stream_energy_uj": heard.energy.total_uj,
        "mean_mw": heard.energy.mean_mw,
        "battery_hours": heard.energy.hours(heard.scenario.power),
        "uplink_bytes": sum(answer.sent_bytes for answer in stream.answers),
        **_spoken(heard),
    }


def _felt(heard: Heard) -> dict[str, float]:
    """What the person waits; not known where it grows for as long as the stream lasts."""
    waits = [answer.latency_s * 1e3 for answer in heard.stream.answers if not answer.is_cut_off]
    on_the_way = {name for name, config in heard.scenario.networks.items() if config.role != "listener"}
    if not waits or on_the_way & set(heard.stream.overloaded):
        return {}
    return {
        "felt_latency_mean_ms": float(np.mean(waits)),
        "felt_latency_p95_ms": float(np.percentile(waits, 95)),
    }


def _spoken(heard: Heard) -> dict[str, Any]:
    """Word errors, where transcripts are known and the recognizer was trained."""
    recognizer, answers = heard.scenario.named("recognizer"), heard.stream.answers
    if recognizer is None or heard.ear.guests[recognizer].network.synthetic_weights:
        return {}
    errors, words = word_errors([answer.said for answer in answers], [answer.recognized for answer in answers])
    return {"word_errors": errors, "wer": errors / words} if words else {}


def run_figures(replay: Replay, audio_s: float) -> dict[str, Any]:
    """Figures of one replay."""
    timeline, counts = replay.timeline, replay.timeline.counts
    per_ms = timeline.clock_hz * 1e-3
    latency = timeline.frame_latency_cycles / per_ms
    working = replay.energy.total(while_working=True)
    array = timeline.accounts["mac_array"]
    floors = {name: timeline.bounds[f"{name}_bound_cycles"] for name in ("compute", "bandwidth", "decode")}
    return {
        **{f"latency_p{p}_ms": timeline.latency_ms(p) for p in (50, 95, 99)},
        "latency_mean_ms": float(latency.mean()),
        "latency_max_ms": float(latency.max()),
        "working_ms": timeline.working_cycles / per_ms,
        "real_time_factor": timeline.real_time_factor,
        "dram_read_bytes": counts.dram_read_bytes,
        "dram_bytes_per_s": counts.dram_read_bytes / audio_s,
        "wasted_bytes": counts.wasted_bytes,
        "stored_weight_bytes": replay.image.stored_weight_bytes,
        "pinned_weight_bytes": sum(replay.image.tensors[name].sram_bytes for name in timeline.pinned),
        "energy_working_uj": working.value,
        "energy_working_low_uj": working.low,
        "energy_working_high_uj": working.high,
        "energy_utterance_uj": replay.energy.total().value,
        "mac_array_busy_cycles": array.busy_cycles,
        "mac_array_dma_cycles": array.stall_cycles.get("dma", 0),
        "mac_array_decoder_cycles": array.stall_cycles.get("decoder", 0),
        **{f"{name}_bound_ms": cycles / per_ms for name, cycles in floors.items()},
        "bound": max(floors, key=lambda name: floors[name]),
    }
