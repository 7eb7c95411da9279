"""The stall tree: what a part costs is what the run saves when that part costs nothing."""

import pytest
from typer.testing import CliRunner

from azsim import simulate
from azsim.cli import app
from azsim.explain import explain
from azsim.timing import IDEAL_PARTS

DEMO = "models/demo/digits_1.wav"


@pytest.fixture(scope="module")
def run():
    return simulate("amnet", DEMO)


@pytest.fixture(scope="module")
def tree(run):
    return explain(run)


def test_an_ideal_part_never_costs_a_cycle(tree):
    assert list(tree.without) == list(IDEAL_PARTS)
    together = tree.saved_cycles(tree.without_all)
    for timeline in tree.without.values():
        assert 0 <= tree.saved_cycles(timeline) <= together


def test_ops_add_up_to_the_part(tree):
    parts, ops = tree.parts().set_index("part"), tree.ops()
    for part in IDEAL_PARTS:
        assert ops[f"{part}_cycles"].sum() == parts.saved_cycles[part]
    assert ops.span_cycles.sum() == tree.base.working_cycles


def test_the_demo_waits_for_dram_bandwidth(tree):
    assert tree.costs_most == "dram_bandwidth"


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (["codec.symbols_per_cycle=1"], "decoder"),
        (["weight_sram.bytes=2000000", "vector_unit.fill_cycles=5000"], "vector_unit"),
        (["weight_sram.bytes=2000000", "controller.branch_redirect_cycles=9000"], "branch_wait"),
        (["dram.latency_ns=100000", "stream.dma_outstanding=1"], "dram_latency"),
        (["weight_sram.bytes=2000000", "mac_array.lanes=1", "mac_array.queue_depth=1", "host.feature_us_per_frame=0",
          "mac_array.pes=300"], "load_balance"),
    ],
)  # fmt: skip
def test_the_part_that_was_made_slow_costs_most(overrides, part):
    assert explain(simulate("amnet", DEMO, "az1_like", overrides)).costs_most == part


def test_with_everything_ideal_only_arithmetic_and_set_up_are_left(run, tree):
    base, ideal = tree.base, tree.without_all
    assert ideal.accounts["dma"].busy_cycles == ideal.accounts["decoder"].busy_cycles == 0
    assert ideal.accounts["vector_unit"].busy_cycles == 0 and not ideal.counts.wasted_bytes
    assert "dma" not in ideal.accounts["mac_array"].stall_cycles
    assert ideal.counts.effectual_macs == base.counts.effectual_macs
    assert ideal.accounts["mac_array"].busy_cycles <= base.accounts["mac_array"].busy_cycles


def test_the_command_prints_parts_and_ops():
    result = CliRunner().invoke(app, ["explain", "--audio", DEMO, "--quiet"])
    assert result.exit_code == 0, result.output
    for text in ("dram_bandwidth", "branch_wait", "encoder/first", "all of them"):
        assert text in result.output


def test_a_run_checks_itself_against_the_reference_and_writes_a_trace(tmp_path):
    trace = tmp_path / "deep" / "trace.json"
    command = ["run", "--audio", DEMO, "--out", str(tmp_path), "--check", "--trace", str(trace), "--quiet"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "agree on every edge of the first" in result.output.replace("\n", " ")
    assert trace.exists()


def test_a_disagreement_is_an_error_that_shows_the_edge(tmp_path, monkeypatch):
    from azsim.timing import check

    whole = check.schedule

    def one_cycle_late(*arguments):
        timeline = whole(*arguments)
        timeline.out_end[3] += 1
        return timeline

    monkeypatch.setattr(check, "schedule", one_cycle_late)
    command = ["run", "--audio", DEMO, "--out", str(tmp_path), "--check", "--quiet"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2 and "output ends number 3" in result.output.replace("\n", " ")


def test_chips_show_prints_a_data_sheet():
    result = CliRunner().invoke(app, ["chips", "show", "az1_like", "--weight-density", "0.25"])
    assert result.exit_code == 0
    for text in ("TOPS", "TOPS/W", "mm2", "B of SRAM", "weight density 0.25"):
        assert text in result.output
