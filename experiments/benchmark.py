"""How fast is azsim, next to native dynamic-int8 torch inference of the same network on the same audio?

Expected: executing costs a few times native time on the small networks, where Python per op counts and
not the kernels; replaying a record on a chip costs a fraction of it, and pays off in sweeps.

Method: everything in one process, one thread each, CPU time, alternating rounds, medians. Native is
torch's dynamic quantization of the LSTM cells and linear layers, stepped frame by frame through the
same greedy search, the taken arm alone.

    python experiments/benchmark.py --network amnet --audio models/demo/digits_1.wav
    python experiments/benchmark.py --network lstm    a large encoder, see benchmark_lstm.py
"""

import statistics
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from benchmark_lstm import QUICK, Size, alternate, large_encoder, median_ratio
from safetensors.torch import load_file

from azsim.chip import load_chip
from azsim.execute import Interpreter
from azsim.graph import load_network, zoo_folder
from azsim.graph.search import greedy_search
from azsim.simulate import load_speech, replay
from azsim.weights import calibrate, encode, quantize
from models import amnet, rnnt


class Native:
    """The network in torch with dynamic-int8 layers, one frame at a time."""

    def __init__(self, name: str) -> None:
        network = amnet.AmNet() if name == "amnet" else rnnt.Rnnt()
        network.load_state_dict(load_file(zoo_folder() / name / "weights.safetensors"))
        self.sizes = network.sizes
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kinds = {torch.nn.LSTMCell, torch.nn.Linear}
            self.q = torch.ao.quantization.quantize_dynamic(network.eval(), kinds, dtype=torch.qint8)

    def start(self) -> None:
        s = self.sizes
        self.encoder_state = rnnt.zero_state(s.first, s.first, s.second, s.second)
        self.prediction_state = rnnt.zero_state(s.prediction, s.prediction)

    def step(self, role: str, inputs: tuple[Any, ...], _: int) -> Any:
        return getattr(self, role)(*inputs)

    def encoder(self, frame: np.ndarray) -> torch.Tensor:
        q, n = self.q, self.sizes.simple
        h1, c1, h, c = self.encoder_state
        h1, c1 = q.first(torch.from_numpy(frame)[None], (h1, c1))
        is_complex = not isinstance(q, amnet.AmNet) or float(q.arbitrator(torch.cat([h1, h], dim=1))) > 0
        if is_complex:
            h, c = q.second(h1, (h, c))
        else:
            new_h, new_c = q.simple(h1, (h[:, :n], c[:, :n]))
            h, c = torch.cat([new_h, h[:, n:]], dim=1), torch.cat([new_c, c[:, n:]], dim=1)
        self.encoder_state = (h1, c1, h, c)
        return h

    def prediction(self, token: np.ndarray) -> torch.Tensor:
        state = self.q.prediction(self.q.embedding(torch.from_numpy(token)), self.prediction_state)
        self.prediction_state = state
        return state[0]

    def joint(self, encoded: torch.Tensor, predicted: torch.Tensor) -> np.ndarray:
        q = self.q
        return q.to_vocabulary(torch.relu(q.from_encoder(encoded) + q.from_prediction(predicted))).numpy()[0]


def main(
    network: Annotated[str, typer.Option(help="amnet, rnnt or lstm")] = "amnet",
    audio: Annotated[Path, typer.Option(help="a recording")] = Path("models/demo/digits_1.wav"),
    chip: Annotated[str, typer.Option(help="preset or YAML")] = "az1_like",
    rounds: Annotated[int, typer.Option(help="alternating rounds; medians are printed")] = 15,
    quick: Annotated[bool, typer.Option("--quick", help="few rounds; a small lstm")] = False,
) -> None:
    """Print CPU times of native inference, execution and replay, and their ratios."""
    if network == "lstm":
        large_encoder(QUICK if quick else Size())
        return
    torch.set_num_threads(1)
    loaded = load_network(network)
    speech = load_speech(audio, loaded)
    quantized = quantize(loaded, calibrate(loaded, loaded.calibration or (speech.frames,)))
    target = load_chip(chip)
    image = encode(quantized.tensors.values(), quantized.tables, target)
    interpreter = Interpreter(quantized, image)
    native = Native(network)
    execution = interpreter.execute(speech.frames)

    def run_native() -> Any:
        native.start()
        with torch.inference_mode():
            return greedy_search(loaded, speech.frames, native.step, loaded.blank_penalty)

    jobs: dict[str, Callable[[], Any]] = {
        "native torch, dynamic int8": run_native,
        "azsim execute": lambda: interpreter.execute(speech.frames),
        "azsim replay": lambda: replay(quantized, execution, speech, target, image),
    }
    print(f"{network} on {audio.name}, {speech.seconds:.2f} s; native says {run_native().text(loaded.vocabulary)!r}")
    times = alternate(jobs, 3 if quick else rounds)
    base = times["native torch, dynamic int8"]
    for name, seconds in times.items():
        ratio = median_ratio(seconds, base)
        print(f"{name:<28} {1e3 * statistics.median(seconds):9.2f} ms CPU   {ratio:6.2f} x native")


if __name__ == "__main__":
    typer.run(main)
