"""Sampled fidelity: replay some stretches of an utterance, and say how sure that makes us.

``BLOCKS`` stretches, evenly spaced from a random start, are replayed. Additive figures (bytes, energy, work) of a
stretch are those of it with the frames before it, less those of these frames alone: what is fetched once, and the cold
start of the first frame, cancel out. They are carried over to all frames by a regression on what the record knows
of every frame: its dense MACs, the bytes of its weights that are not pinned, and whether its arm is another than that
of the frame before. So a sample with too many frames of a simple arm does no harm. The first frames, and a last chunk
that is not full, are replayed as they are.

Intervals (95 %) are Student's t for what the regression leaves over; for percentiles of the latency they join a
bootstrap over stretches and the order statistics of the frames. An event that no stretch has seen is in no
interval. An utterance that is too short for this is replayed whole; so is a small network faster.
"""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np

from azsim.chip import Chip
from azsim.execute import ActivityRecord, Execution
from azsim.simulate import Replay, Speech, replay
from azsim.sweep.figures import run_figures
from azsim.timing import pinned_tensors
from azsim.weights import DramImage, QuantizedNetwork

BLOCKS, SHORTEST, SHARE = 10, 4, 0.2
BOOTSTRAPS = 400
T_975 = {9: 2.262, 8: 2.306, 7: 2.365, 6: 2.447}  # Student's t by degrees of freedom: BLOCKS - 1 - covariates
Z_975 = 1.96
ADDITIVE = (
    "working_ms", "dram_read_bytes", "wasted_bytes", "energy_working_uj", "energy_utterance_uj",
    "mac_array_busy_cycles", "mac_array_dma_cycles", "mac_array_decoder_cycles", "compute_bound_ms",
    "bandwidth_bound_ms", "decode_bound_ms",
)  # fmt: skip
PERCENTILES = {"latency_p50_ms": 50, "latency_p95_ms": 95, "latency_p99_ms": 99}


def blocks(n_frames: int, chunk: int, share: float, seed: int) -> list[tuple[int, int]]:
    """Stretches to replay, (start, stop), none with the first frames; empty if everything should be replayed.

    Bounds are multiples of ``chunk``, the frames that run together.
    """
    length = round(share * n_frames / BLOCKS / chunk) * chunk
    if length < max(SHORTEST, chunk):
        return []
    spacing = (n_frames - chunk - length) / BLOCKS
    offset = np.random.default_rng(seed).uniform(0, spacing)
    starts = chunk + (offset + spacing * np.arange(BLOCKS)) // chunk * chunk
    return [(int(start), int(start) + length) for start in starts]


def sampled_figures(
    quantized: QuantizedNetwork,
    execution: Execution,
    speech: Speech,
    chip: Chip,
    image: DramImage,
    share: float = SHARE,
    seed: int = 0,
) -> dict[str, Any]:
    """Figures of a run from a share of its frames.

    Returns
    -------
    dict
        As ``run_figures``, without ``latency_max_ms``, which a sample does not know, and with ``NAME_margin``
        beside each: half the width of its 95 % interval, 0 where everything was replayed; and
        ``sampled_share``, of frames.
    """
    record, audio_s = execution.record, speech.seconds
    chunk = chip.controller.chunk_frames
    stretches = blocks(record.n_frames, chunk, share, seed)
    if not stretches:
        return _exact(run_figures(replay(quantized, execution, speech, chip, image), audio_s))
    kept = pinned_tensors(record, image, chip)
    fixed = chip.replace(weight_sram=chip.weight_sram.replace(pin=kept or "none"))

    def part(start: int, stop: int) -> Replay:
        some = replace(execution, record=record.frames(start, stop))
        return replay(quantized, some, speech, fixed, image)

    def alone(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """(latencies in ms, additive figures) of some frames, those before them taken off."""
        whole, before = part(start - chunk, stop), part(start - chunk, start)
        more, less = run_figures(whole, audio_s), run_figures(before, audio_s)
        latency = whole.timeline.frame_latency_cycles[chunk:] / (chip.clock_hz * 1e-3)
        return latency, np.array([*(more[name] - less[name] for name in ADDITIVE), latency.sum()])

    head = part(0, chunk)
    first = run_figures(head, audio_s)
    latency = head.timeline.frame_latency_cycles / (chip.clock_hz * 1e-3)
    edges = [(latency, np.array([*(first[name] for name in ADDITIVE), latency.sum()]))]
    last = record.n_frames - record.n_frames % chunk
    if last < record.n_frames:
        edges.append(alone(last, record.n_frames))
    inner = [alone(start, stop) for start, stop in stretches]
    known = covariates(record, image, kept)
    seen = np.array([known[start:stop].mean(axis=0) for start, stop in stretches])
    rates = np.array([additive / len(latency) for latency, additive in inner])
    mean, margin = (last - chunk) * _regression(rates, seen, known[chunk:last].mean(axis=0))
    totals = mean + sum(additive for _, additive in edges)
    names = (*ADDITIVE, "latency_sum_ms")
    out: dict[str, Any] = {name: float(value) for name, value in zip(names, totals, strict=True)}
    out |= {f"{name}_margin": float(value) for name, value in zip(names, margin, strict=True)}
    for name in ("latency_sum_ms", "latency_sum_ms_margin"):
        out[name.replace("sum", "mean")] = out.pop(name) / record.n_frames
    out |= _percentiles(np.array([latency for latency, _ in inner]), seed)
    out["sampled_share"] = sum(stop - start for start, stop in stretches) / record.n_frames
    return _completed(out, first, speech, record.n_frames)


def _completed(out: dict[str, Any], first: dict[str, Any], speech: Speech, n_frames: int) -> dict[str, Any]:
    """With figures that follow from others."""
    audio_ms = 1e3 * (speech.first_frame_s + (n_frames - 1) * speech.hop_s)
    ratios = {
        "real_time_factor": ("working_ms", audio_ms),
        "dram_bytes_per_s": ("dram_read_bytes", speech.seconds),
    }
    for name, (of, unit) in ratios.items():
        out |= {name: out[of] / unit, f"{name}_margin": out[f"{of}_margin"] / unit}
    for end in ("low", "high"):  # the coefficients' band, not the sample's
        band = first[f"energy_working_{end}_uj"] / first["energy_working_uj"]
        out[f"energy_working_{end}_uj"] = out["energy_working_uj"] * band
    floors = {name: out[f"{name}_bound_ms"] for name in ("compute", "bandwidth", "decode")}
    constant = {name: first[name] for name in ("stored_weight_bytes", "pinned_weight_bytes")}
    return {**out, **constant, "bound": max(floors, key=lambda name: floors[name])}


def _exact(figures: dict[str, Any]) -> dict[str, Any]:
    del figures["latency_max_ms"]
    names = (*ADDITIVE, *PERCENTILES, "latency_mean_ms", "real_time_factor", "dram_bytes_per_s")
    return {**figures, **{f"{name}_margin": 0.0 for name in names}, "sampled_share": 1.0}


def covariates(record: ActivityRecord, image: DramImage, pinned: Collection[str]) -> np.ndarray:
    """What is known of every frame without a replay, float64[T, 3]: dense MACs, streamed bytes, arm changed."""
    macs, streamed = np.zeros(len(record.ops)), np.zeros(len(record.ops))
    for i, op in enumerate(record.ops):
        for name in op.tensors:
            tensor = image.tensors[name]
            uses = 1.0 / tensor.rows if tensor.kind == "embedding" else 1.0
            macs[i] += tensor.size * (tensor.kind != "embedding")
            streamed[i] += float(tensor.stored_bytes.sum()) * uses * (name not in pinned)
    arms = np.array(record.frame_arm)
    changed = np.concatenate([[False], arms[1:] != arms[:-1]]) if len(arms) else np.zeros(record.n_frames, bool)
    of_frames = [np.bincount(record.frame, weights=of[record.op], minlength=record.n_frames) for of in (macs, streamed)]
    return np.stack([*of_frames, changed.astype(float)], axis=1)


def _regression(rates: np.ndarray, seen: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """[mean, half width of its 95 % interval] of float[blocks, figures] where covariates have the means ``wanted``."""
    n, scale = len(seen), np.maximum(np.abs(seen).max(axis=0), 1e-30)
    centered, step = (seen - seen.mean(axis=0)) / scale, (wanted - seen.mean(axis=0)) / scale
    inverse = np.linalg.pinv(centered, rcond=1e-6)
    rank = int(np.linalg.matrix_rank(centered, tol=1e-6))
    slope = inverse @ rates
    left_over = rates - rates.mean(axis=0) - centered @ slope
    variance = (left_over**2).sum(axis=0) / (n - 1 - rank)
    error = np.sqrt(variance * (1 / n + float(((step @ inverse) ** 2).sum())))
    return np.array([rates.mean(axis=0) + step @ slope, T_975[n - 1 - rank] * error])


def _percentiles(by_block: np.ndarray, seed: int) -> dict[str, float]:
    """Percentiles of the latency with margins from float[blocks, frames] ms."""
    out: dict[str, float] = {}
    drawn = np.random.default_rng(seed).integers(len(by_block), size=(BOOTSTRAPS, len(by_block)))
    again = by_block[drawn].reshape(BOOTSTRAPS, -1)
    for name, percent in PERCENTILES.items():
        value = float(np.percentile(by_block, percent))
        rank = 100 * Z_975 * np.sqrt(percent / 100 * (1 - percent / 100) / by_block.size)
        by_rank = np.percentile(by_block, [max(0.0, percent - rank), min(100.0, percent + rank)])
        by_draw = np.percentile(np.percentile(again, percent, axis=1), [2.5, 97.5])
        ends = np.array([*by_rank, *by_draw])
        out |= {name: value, f"{name}_margin": float(np.abs(ends - value).max())}
    return out
