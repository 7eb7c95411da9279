"""Every experiment has a question, says what it expects, and runs with --quick."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.py"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_an_experiment_asks_a_question_and_runs(path):
    docstring = path.read_text().split('"""')[1]
    assert "?" in docstring.splitlines()[0] and "Expected:" in docstring
    done = subprocess.run([sys.executable, str(path), "--quick"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    figures = [line for line in done.stdout.splitlines() if any(c.isdigit() for c in line)]
    assert len(figures) >= 2, done.stdout
