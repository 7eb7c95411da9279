"""Every question of the experiments, asked quickly, gets the answer that is kept in ``golden``.

GOLDEN=write python -m pytest tests/test_questions.py    keeps today's answers instead
"""

import importlib
import os
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).parent / "golden"
sys.path.insert(0, str(ROOT / "experiments"))
NAMES = sorted(p.stem for p in (ROOT / "experiments").glob("*.py") if "QUESTION = " in p.read_text())


@pytest.fixture(scope="module", autouse=True)
def _in_the_root_with_a_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setenv("AZSIM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_is_the_one_that_is_kept(name, tmp_path):
    question = importlib.import_module(name).QUESTION
    table = question.table(tmp_path / "results.db", is_quick=True, workers=0)
    path = GOLDEN / f"{name}.csv"
    if os.environ.get("GOLDEN") == "write":
        table.to_csv(path, index=False)
    pd.testing.assert_frame_equal(table, pd.read_csv(path), check_dtype=False, rtol=1e-9)
    assert len(table) > 1 and table[list(question.panels)].notna().all(axis=None)
    figure = question.figure(table, name)
    shown = [y for trace in figure.data for y in trace.y]
    assert len(shown) == len(table) * len(question.panels)


@pytest.mark.parametrize("name", NAMES)
def test_a_question_says_what_it_expects_and_what_it_saw(name):
    text = importlib.import_module(name).__doc__
    assert text.splitlines()[0].endswith("?") and "\nExpected: " in text and "\nSaw: " in text
