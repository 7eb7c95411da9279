"""Every experiment has a question, says what it expects, and runs with --quick."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
AS_A_SCRIPT = "chips"  # one question is enough here: test_questions asks them all
EXPERIMENTS = [
    path
    for path in sorted((ROOT / "experiments").glob("*.py"))
    if "QUESTION = " not in path.read_text() or path.stem == AS_A_SCRIPT
]


def run_quickly(path, *options):
    """What an experiment prints with --quick."""
    command = [sys.executable, str(path), *options, "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_an_experiment_asks_a_question_and_runs(path):
    docstring = path.read_text().split('"""')[1]
    assert "?" in docstring.splitlines()[0] and "Expected:" in docstring
    figures = [line for line in run_quickly(path).splitlines() if any(c.isdigit() for c in line)]
    assert len(figures) >= 2


def test_the_benchmark_reaches_the_large_encoder():
    printed = run_quickly(ROOT / "experiments" / "benchmark.py", "--network", "lstm")
    # 2 layers of 128 on 192 features: 4 x 128 x (192 + 128) + 4 x 128 x (128 + 128) weights
    assert "294,912 weights" in printed
    for line in ("native, whole sequence", "native, frame by frame", "execute"):
        assert f"\n{line} " in printed
    for dataflow in ("column_broadcast", "row_dot"):
        assert f"\nreplay, {dataflow} " in printed and f"\nreplay, {dataflow}, tables cached " in printed
    for stage in ("tabulate_chip", "replay_cells", "order", "build_program", "solve", "accounts", "tally"):
        assert f" {stage} " in printed
