"""The whole flow on a small network, its report, and what a user's mistakes look like."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from azsim import baselines, load_chip, simulate
from azsim.chip import describe_chip
from azsim.cli import app
from azsim.errors import CodecError, OutputError
from azsim.explain import explain
from azsim.report import tabulate, write_report
from azsim.simulate import execute

TINY = "conftest:tiny_transducer"
SMALL_SRAM = ("weight_sram.bytes=2048", "weight_sram.tile_bytes=512", "weight_sram.tile_slots=2")


@pytest.fixture(scope="module")
def run(recording):
    return simulate(TINY, recording, "az1_like", SMALL_SRAM)


@pytest.fixture(scope="module")
def tables(run):
    return tabulate(run, baselines(run), explain(run))


def invoke(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_frames_arrive_every_hop_after_the_first_window(run):
    timeline = run.replay.timeline
    # 25 ms + 2 x 10 ms until the first stacked frame is complete, then one every 30 ms; 1 s holds 32
    seconds = timeline.frame_end / timeline.clock_hz
    np.testing.assert_allclose(seconds[:2], [0.045, 0.075], rtol=1e-6)
    assert run.execution.record.n_frames == 32 == len(run.speech.frames)
    assert (timeline.frame_latency_cycles > run.chip.cycles(run.chip.host.feature_us_per_frame * 1e-6)).all()


def test_a_wrong_bit_in_dram_stops_the_execution(run):
    image = run.replay.image
    at = int(next(iter(image.tensors.values())).offset_bytes[0]) + 7
    image.data[at] ^= 1
    try:
        with pytest.raises(CodecError):
            execute(run.quantized, image, run.speech.frames)
    finally:
        image.data[at] ^= 1


def test_the_dense_baseline_is_the_preset(run, recording):
    dense = baselines(run)["dense"].timeline
    preset = simulate(TINY, recording, "dense_baseline", SMALL_SRAM).replay.timeline
    np.testing.assert_array_equal(dense.out_end, preset.out_end)
    assert dense.counts == preset.counts


def test_skipping_and_compression_each_help(tables):
    savings = tables.savings.set_index("variant")
    assert savings.dram_read_bytes["compression alone"] < savings.dram_read_bytes["dense"]
    assert savings.mac_array_cycles["skipping alone"] <= savings.mac_array_cycles["dense"]
    assert savings.speedup_over_dense["dense"] == 1
    assert tables.headline["speedup_over_dense"] == savings.speedup_over_dense["both (this chip)"]


def test_tables_add_up(run, tables):
    counts = run.replay.timeline.counts
    assert tables.bandwidth.dram_bytes.iloc[:-1].sum() == tables.bandwidth.dram_bytes.iloc[-1] == counts.dram_read_bytes
    assert tables.energy.whole_utterance_uj.sum() == pytest.approx(tables.headline["energy_whole_utterance_uj"])
    assert tables.energy_lines.energy_uj.sum() == pytest.approx(tables.headline["energy_whole_utterance_uj"])
    assert tables.ops.dense_macs.sum() == counts.dense_macs
    assert tables.latency.frames.iloc[1:].sum() == 32 == tables.latency.frames.iloc[0]
    assert set(tables.latency.frames_of) > {"all frames"}
    assert tables.coverage.packed_bytes.sum() == tables.tensors.packed_bytes.sum()
    assert set(tables.tensors["where"]) == {"pinned", "streamed"}


def test_the_same_run_twice_writes_identical_files(recording, tmp_path):
    for name in ("one", "two"):
        result = invoke("run", "-q", "-m", TINY, "-a", recording, "-o", tmp_path / name)
        assert result.exit_code == 0, result.output
    for file in ("run.json", "ops.csv", "report.html"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


def test_the_command_writes_three_files_and_says_where(recording, tmp_path):
    result = invoke("run", "-q", "-m", TINY, "-a", recording, "-o", tmp_path / "out", "--set", "mac_array.pes=16")
    assert result.exit_code == 0, result.output
    for words in ("real-time factor", "DRAM traffic", "energy per utterance", "over the dense baseline", "report.html"):
        assert words in result.output
    content = json.loads((tmp_path / "out" / "run.json").read_text())
    assert content["chip_fields"]["mac_array"]["pes"] == 16
    assert {"field", "mark"} - {"field"} <= set(content["chip_sources"][0])
    assert content["counts"]["dense_macs"] == pd.read_csv(tmp_path / "out" / "ops.csv").dense_macs.sum()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["ops.csv", "report.html", "run.json"]


def test_the_page_needs_nothing_from_outside(recording, tmp_path):
    invoke("run", "-q", "-m", TINY, "-a", recording, "-o", tmp_path)
    page = (tmp_path / "report.html").read_text()
    without_plotly = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", without_plotly)
    for name in ("latency", "cycles", "roofline", "codecs", "energy"):
        assert f'id="plot-{name}"' in page
    assert 'class="assumed"' in page and 'class="published"' in page


@pytest.mark.parametrize("bits", [4, 8])
def test_narrower_weights_move_fewer_bytes(recording, bits):
    image = simulate(TINY, recording, bits=bits).replay.image
    tensor = image.tensors["encoder/complex.weight_hh"]
    assert tensor.bits == bits and tensor.bits_per_weight < bits + 2.5


def test_inspect_prints_ops_and_coverage():
    result = invoke("inspect", TINY)
    assert result.exit_code == 0, result.output
    for words in ("arbitrator", "MAC array", "vector unit", "controller", "all covered"):
        assert words in result.output


def test_chips_are_listed_and_shown():
    listed = invoke("chips")
    assert listed.exit_code == 0 and "az1_like" in listed.output and "dense_baseline" in listed.output
    shown = invoke("chips", "show", "az1_like", "--set", "mac_array.pes=32")
    assert shown.exit_code == 0 and "override" in shown.output and "borrowed" in shown.output


def bad_audio(kind, folder):
    path = folder / "bad.wav"
    if kind == "empty":
        soundfile.write(path, np.zeros(0), 16_000)
    elif kind == "short":
        soundfile.write(path, np.zeros(100), 16_000)
    elif kind == "not audio":
        path.write_text("hello")
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such audio file"),
        ("empty", "no samples"),
        ("short", "too short"),
        ("not audio", "cannot be read"),
    ],
)
def test_bad_audio_is_one_paragraph(kind, message, tmp_path):
    result = invoke("run", "-q", "-m", TINY, "-a", bad_audio(kind, tmp_path), "-o", tmp_path / "out")
    assert result.exit_code == 2 and message in result.output.replace("\n", " ")
    assert "Traceback" not in result.output and not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "amnett"], "unknown network 'amnett'"),
        (["-m", "missing.pt2"], "no such file"),
        (["-m", "nowhere:build"], "cannot import"),
        (["-c", "az3"], "unknown chip 'az3'"),
        (["-s", "mac_array.pse=3"], "did you mean mac_array.pes"),
        (["-s", "dram.bandwidth_bytes_per_s=-5"], "greater than 0"),
        (["-s", "activation_sram_bytes=100"], "activation_sram_bytes >="),
        (["-s", "weight_sram.tile_bytes=40"], "tile_bytes >="),
        (["--bits", "9"], "2 <= bits <= 8"),
    ],
)
def test_a_users_mistake_is_one_paragraph_and_exit_code_2(arguments, message, recording, tmp_path):
    result = invoke("run", "-q", "-m", TINY, "-a", recording, "-o", tmp_path / "out", *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output.replace("\n", " ") and "Traceback" not in result.output
    assert not list((tmp_path / "out").iterdir()), "no half-written report"


def test_an_unwritable_folder_is_refused_before_any_work(recording, tmp_path):
    (tmp_path / "file").write_text("in the way")
    result = invoke("run", "-q", "-m", TINY, "-a", recording, "-o", tmp_path / "file" / "out")
    assert result.exit_code == 2 and "cannot write a report there" in result.output.replace("\n", " ")


def test_a_report_that_cannot_be_written_is_an_output_error(run, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="choose another folder"):
        write_report(run, {}, describe_chip("az1_like"), tmp_path / "file")


def test_stereo_and_odd_rates_are_used_and_said(recording, tmp_path):
    sound, _ = soundfile.read(recording)
    soundfile.write(tmp_path / "stereo.wav", np.stack([sound, sound], axis=1), 22_050)
    result = invoke("run", "-q", "-m", TINY, "-a", tmp_path / "stereo.wav", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "mixed down" in result.output and "resampled" in result.output


def test_a_saved_step_runs_by_its_path(recording, tmp_path):
    class Step(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = torch.nn.LSTMCell(192, 8)

        def forward(self, frame, state):
            h, c = self.cell(frame, state)
            return h.clone(), (h, c)

    example = (torch.zeros(1, 192), (torch.zeros(1, 8), torch.zeros(1, 8)))
    torch.export.save(torch.export.export(Step().eval(), example), tmp_path / "step.pt2")
    run = simulate(tmp_path / "step.pt2", recording, load_chip("az2_like"))
    assert run.network.name == "step" and run.text == "" and len(run.execution.outputs) == 32
