"""How fast are execution and replay on a large encoder, next to native dynamic-int8 torch inference of it?

Expected: on 43 million weights kernels count and not Python. Native inference of one frame at a time multiplies a
matrix by a vector, and so does executing: of one order. Given all frames at once, native inference can multiply
the inputs' weights by many frames at a time, and should be faster. Replaying a record reads no weight but its zeros:
broadcasting columns costs one step per activation and PE, row dots one per 64 weights, a tile a visit by each stage.

Method: five LSTM layers of 1,024 on 500 frames of speech features, seven side by side; synthetic weights of which half
are zero. Every frame and column is replayed, nothing is sampled; activations are zero where executing makes them so.
Everything in one process, one thread each, CPU time, alternating rounds, medians of the ratios per round. *In*:
``schedule`` (recurrences of tiles and ops, accounts, counts, laws) and ``price``. *Out*: the image, that is encoding
and counting zeros, made once per chip; the chip's tables are shown both ways.

    python experiments/benchmark.py --network lstm
"""

import importlib
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import torch
import typer

from azsim.chip import Chip, load_chip
from azsim.energy import price
from azsim.execute import Execution, Interpreter
from azsim.graph.network import network_from_modules
from azsim.timing import Timeline, schedule
from azsim.weights import DramImage, calibrate, encode, quantize
from models.house_rnnt import ZOO_RNNT, StackedStep, lstm_cells
from models.rnnt import zero_state

FRAME_S = 0.03
NATIVE = ("native, whole sequence", "native, frame by frame")
STAGES = (
    "tabulate_chip", "replay_cells", "order", "build_program", "solve", "accounts", "tally", "_per_op", "check_laws",
)  # fmt: skip
ARRAY = ["mac_array.pes=64", "mac_array.lanes=8", "mac_array.queue_depth=8"]
LARGE_TILES = ["weight_sram.bytes=1048576", "weight_sram.tile_bytes=65536"]
ROW_DOT = ["mac_array.dataflow=row_dot", "mac_array.lookahead=0"]
CHIPS = {
    "column_broadcast": [*ARRAY, *LARGE_TILES],
    "row_dot": [*ARRAY, *LARGE_TILES, *ROW_DOT],
    "column_broadcast, 16 KiB tiles": ARRAY,
    "row_dot, 16 KiB tiles": [*ARRAY, *ROW_DOT],
}


@dataclass(frozen=True)
class Size:
    """Of the encoder and the audio; ``context`` frames of features side by side are an input."""

    layers: int = 5
    hidden: int = 1024
    context: int = 7
    frames: int = 500
    rounds: int = 7


QUICK = Size(layers=2, hidden=128, context=1, frames=20, rounds=2)


class NativeLstm(torch.nn.Module):
    """The same layers as one torch LSTM, which runs them in dynamic int8."""

    def __init__(self, cells: torch.nn.ModuleList) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(cells[0].input_size, cells[0].hidden_size, len(cells))
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        self.lstm.load_state_dict({f"{n}_l{i}": getattr(cell, n) for i, cell in enumerate(cells) for n in names})

    def forward(self, frames: torch.Tensor, state: Any = None) -> Any:
        return self.lstm(frames, state)


def speech_frames(size: Size) -> np.ndarray:
    """Features of spoken digits, each frame beside those before it; float32[T, context * 192]."""
    with np.load(ZOO_RNNT / "calibration.npz") as stored:
        strings = np.concatenate([stored[key].astype(np.float32) for key in sorted(stored.files)])
    padded = np.pad(strings[: size.frames], ((size.context - 1, 0), (0, 0)))
    return np.concatenate([padded[i : i + size.frames] for i in range(size.context)], axis=1)


def cpu_seconds(work: Callable[[], Any]) -> float:
    """CPU time of one call, this process, all threads."""
    start = time.process_time()
    work()
    return time.process_time() - start


def alternate(jobs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each job in each round; in a round every job runs once."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            times[name].append(cpu_seconds(job))
    return times


def median_ratio(seconds: list[float], base: list[float]) -> float:
    """Median over the rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(seconds, base, strict=True))


@contextmanager
def stopwatch(seconds: dict[str, list[float]]) -> Iterator[None]:
    """Append to ``seconds`` the CPU time of every stage that ``schedule`` calls."""
    module = importlib.import_module("azsim.timing.schedule")

    def timed(name: str, stage: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            result = stage(*args, **kwargs)
            seconds[name].append(time.process_time() - start)
            return result

        return run

    stages: dict[str, Any] = {name: timed(name, getattr(module, name)) for name in STAGES}
    with patch.multiple(module, **stages):
        yield


class Replayed:
    """One chip with its image; each call replays the record, and adds where the time went to ``stages``."""

    def __init__(self, execution: Execution, chip: Chip, image: DramImage) -> None:
        self.execution, self.chip, self.image = execution, chip, image
        self.stages: dict[str, list[float]] = {name: [] for name in STAGES}
        self.timeline = self()  # compiles, and shows what there is to do
        self.stages = {name: [] for name in STAGES}

    def __call__(self) -> Timeline:
        with stopwatch(self.stages):
            timeline = schedule(self.execution.record, self.image, self.chip, FRAME_S, FRAME_S)
        price(timeline.counts, self.chip)
        return timeline

    @property
    def steps(self) -> tuple[int, str]:
        """How many steps the array's kernel takes, and of what."""
        if self.chip.mac_array.dataflow == "column_broadcast":
            return self.timeline.counts.queue_writes, "broadcast x PE"
        record, tensors = self.execution.record, self.image.tensors
        words = {
            i: sum(tensors[name].rows * -(-cols // 64) for name, cols in zip(op.tensors, op.cols, strict=True))
            for i, op in enumerate(record.ops)
        }
        return sum(words[int(op)] for op in record.op), "word of 64 weights"


def large_encoder(size: Size) -> None:
    """Print CPU times of native inference, execution and replay of the encoder, and their ratios."""
    torch.set_num_threads(1)
    frames = speech_frames(size)
    widths = [frames.shape[1], *[size.hidden] * size.layers]
    cells = lstm_cells(widths, zero_share=0.5, rng=np.random.default_rng(1))
    example = torch.zeros(1, widths[0]), zero_state(*[size.hidden] * 2 * size.layers)
    network = network_from_modules("lstm", {"step": (StackedStep(cells).eval(), example)}, synthetic_weights=True)
    quantized = quantize(network, calibrate(network, (frames[:100],)))
    chips = {name: load_chip("az1_like", overrides) for name, overrides in CHIPS.items()}
    images = {name: encode(quantized.tensors.values(), quantized.tables, chip) for name, chip in chips.items()}
    interpreter = Interpreter(quantized, images["column_broadcast"])
    execution = interpreter.execute(frames)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        native = torch.ao.quantization.quantize_dynamic(NativeLstm(cells).eval(), {torch.nn.LSTM}, dtype=torch.qint8)
    inputs = torch.from_numpy(frames)[:, None]

    def whole_sequence() -> torch.Tensor:
        with torch.inference_mode():
            return native(inputs)[0]

    def frame_by_frame() -> None:
        state = (torch.zeros(size.layers, 1, size.hidden),) * 2
        with torch.inference_mode():
            for t in range(len(inputs)):
                _, state = native(inputs[t : t + 1], state)

    replays = {f"replay, {name}": Replayed(execution, chip, images[name]) for name, chip in chips.items()}
    _print_case(execution, images["column_broadcast"], whole_sequence().numpy()[:, 0])
    jobs = {NATIVE[0]: whole_sequence, NATIVE[1]: frame_by_frame, "execute": lambda: interpreter.execute(frames)}
    times = alternate({**jobs, **replays}, size.rounds)
    for name, replayed in replays.items():
        tables = replayed.stages["tabulate_chip"]
        times[f"{name}, tables cached"] = [a - b for a, b in zip(times[name], tables, strict=True)]
    _print_ratios(times)
    for name, replayed in replays.items():
        _print_stages(name, replayed, times[name])


def _print_case(execution: Execution, image: DramImage, native: np.ndarray) -> None:
    record, weights = execution.record, sum(t.size for t in image.tensors.values())
    density = sum(t.nnz for t in image.tensors.values()) / weights
    activations = sum(sum(record.ops[op].cols) for op in record.op)
    active = int(np.unpackbits(record.nonzero).sum()) / activations
    agreement = np.corrcoef(native.ravel(), execution.outputs.ravel())[0, 1]
    print(
        f"{len(record.ops)} LSTM layers, {weights:,} weights (density {density:.2f}), {record.n_frames} frames; "
        f"activation density {active:.3f}; outputs correlate {agreement:.2f} with native ones\n"
    )


def _print_ratios(times: dict[str, list[float]]) -> None:
    faster = min(NATIVE, key=lambda name: statistics.median(times[name]))
    print(f"{'':<54} {'ms CPU':>9} {'x whole':>8} {'x frames':>8} {'x faster':>8}")
    for name, seconds in times.items():
        ratios = [median_ratio(seconds, times[base]) for base in (*NATIVE, faster)]
        print(f"{name:<54} {1e3 * statistics.median(seconds):9.1f}" + "".join(f" {ratio:8.3f}" for ratio in ratios))
    print(f"\nthe faster native inference: {faster.removeprefix('native, ')}")


def _print_stages(name: str, replayed: Replayed, seconds: list[float]) -> None:
    medians = {stage: statistics.median(times) for stage, times in replayed.stages.items()}
    rest = statistics.median(seconds) - sum(medians.values())
    steps, unit = replayed.steps
    print(f"\n{name}: {len(replayed.timeline.tile_op):,} tiles, {steps / 1e6:,.1f} M steps of one {unit}")
    print(f"  replay_cells takes {1e9 * medians['replay_cells'] / steps:.2f} ns per {unit}")
    parts = [f"{stage.strip('_')} {1e3 * s:.1f}" for stage, s in [*medians.items(), ("rest", rest)]]
    print(f"  ms CPU: {', '.join(parts)}")


def main(quick: Annotated[bool, typer.Option("--quick", help="a small encoder, two rounds")] = False) -> None:
    """Measure the large encoder alone."""
    large_encoder(QUICK if quick else Size())


if __name__ == "__main__":
    typer.run(main)
