"""The figures of a point, by name; the last word of a name is its unit."""

from typing import Any

from azsim.chip import Chip
from azsim.energy import area
from azsim.energy.area import sram_bytes
from azsim.simulate import Replay

STATIC = {
    "area_mm2": "silicon of the chip",
    "area_low_mm2": "lower end of its band",
    "area_high_mm2": "upper end of its band",
    "sram_bytes": "all memory on the chip",
    "dense_tops": "8-bit operations of the MAC array at best",
}
RESULTS = {
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
