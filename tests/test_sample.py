"""A sample of frames says what the whole says, within the interval it gives."""

import itertools

import numpy as np
import pytest
import soundfile

from azsim import load_chip, load_network
from azsim.sweep import load_results, sweep
from azsim.sweep.figures import run_figures
from azsim.sweep.sample import BLOCKS, blocks, sampled_figures
from azsim.sweep.work import image_for, prepare, replay_on

CHIPS = [
    {"mac_array.pes": pes, "dram.bandwidth_bytes_per_s": bandwidth, **more}
    for pes, bandwidth, more in itertools.product(
        (16, 64),
        (0.4e9, 6.4e9),
        ({}, {"controller.branch_policy": "likely"}, {"controller.chunk_frames": 4}, {"weight_sram.pin": "none"}),
    )
]


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AZSIM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """The three demo sentences twice over, 26 s."""
    path = tmp_path_factory.mktemp("audio") / "long.wav"
    parts = [soundfile.read(f"models/demo/digits_{n}.wav") for n in (1, 2, 3, 2, 1, 3, 3)]
    soundfile.write(path, np.concatenate([samples for samples, _ in parts]), parts[0][1])
    return str(path)


@pytest.mark.parametrize("name", ["amnet", "rnnt"])
def test_intervals_hold_the_whole(name, recording):
    work = prepare(load_network(name), recording, None, None, f"sample-{name}")
    held, far = [], {}
    for changes in CHIPS:
        chip = load_chip("az1_like", changes)
        whole = run_figures(replay_on(work, chip), work.speech.seconds)
        sample = sampled_figures(work.quantized, work.execution, work.speech, chip, image_for(work, chip))
        assert 0.15 < sample["sampled_share"] < 0.25 and sample["bound"] == whole["bound"]
        for figure in (f.removesuffix("_margin") for f in sample if f.endswith("_margin")):
            error = abs(sample[figure] - whole[figure])
            held.append(error <= sample[f"{figure}_margin"] + 1e-9 * abs(whole[figure]))
            if figure in ("working_ms", "dram_read_bytes", "energy_working_uj", "latency_mean_ms"):
                far[figure] = max(far.get(figure, 0.0), error / whole[figure])
    assert np.mean(held) >= 0.9, "intervals of 95 % that hold far fewer are no intervals"
    assert max(far.values()) < 0.02, far


def test_blocks_are_inside_apart_and_whole_chunks():
    for n_frames, chunk, seed in itertools.product((300, 777), (1, 4), range(20)):
        found = blocks(n_frames, chunk, 0.2, seed)
        assert len(found) == BLOCKS and found[0][0] >= chunk and found[-1][1] <= n_frames
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(found))
        assert all(start % chunk == stop % chunk == 0 for start, stop in found)
    assert blocks(100, 1, 0.2, 0) == [], "two frames a block say nothing"


def test_a_short_recording_is_replayed_whole():
    work = prepare(load_network("rnnt"), "models/demo/digits_1.wav", None, None, "sample-short")
    chip = load_chip("az1_like")
    whole = run_figures(replay_on(work, chip), work.speech.seconds)
    sample = sampled_figures(work.quantized, work.execution, work.speech, chip, image_for(work, chip))
    assert sample["sampled_share"] == 1.0
    assert {name: sample[name] for name in whole if name in sample} == {n: v for n, v in whole.items() if n in sample}


def test_a_sampled_sweep_is_told_from_a_full_one(tmp_path, recording):
    space = {"name": "s", "audio": recording, "axes": {"mac_array.pes": [16, 64]}}
    store = tmp_path / "x.db"
    sweep(space, store, workers=0)
    full = load_results(store)
    sweep({**space, "fidelity": "sampled"}, store, workers=0)
    sampled = load_results(store)
    assert list(full.fidelity) == ["full"] * 2 and list(sampled.fidelity) == ["sampled"] * 2
    assert not set(full.key) & set(sampled.key) and (sampled.energy_working_uj_margin > 0).all()
    sweep(space, store, workers=0)
    assert list(load_results(store).fidelity) == ["full"] * 2
