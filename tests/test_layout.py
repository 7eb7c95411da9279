"""The folders show the flow of data; these tests keep it true."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1] / "azsim"
STAGES = ["graph", "weights", "execute", "timing", "stream", "energy", "sweep", "report"]
READS_THE_RUN = {"sweep", "report"}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: write absolute imports"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_a_stage_imports_only_earlier_stages():
    for number, stage in enumerate(STAGES):
        later = {f"azsim.{name}" for name in STAGES[number + 1 :]}
        if stage not in READS_THE_RUN:
            later.add("azsim.simulate")
        files = list((ROOT / stage).glob("*.py"))
        assert files, f"{stage}/ is empty, so this test would prove nothing"
        for path in files:
            wrong = [m for m in imports(path) if ".".join(m.split(".")[:2]) in later]
            assert not wrong, f"{stage}/{path.name} may not import {wrong}: a later stage"


def test_the_chip_imports_no_stage():
    for path in (ROOT / "chip").glob("*.py"):
        wrong = [m for m in imports(path) if m.startswith("azsim.") and m.split(".")[1] not in ("chip", "errors")]
        assert not wrong, f"chip/{path.name} may not import {wrong}"


def test_azsim_never_imports_models():
    for path in ROOT.rglob("*.py"):
        assert not [m for m in imports(path) if m.split(".")[0] == "models"], path


def test_the_reference_machine_shares_no_code_with_what_it_checks():
    assert not [m for m in imports(ROOT / "timing" / "reference.py") if m.startswith("azsim")]


def test_files_stay_short_and_are_named_by_a_noun():
    paths = [p for folder in ("azsim", "models", "tests", "experiments") for p in (ROOT.parent / folder).rglob("*.py")]
    lengths = {str(path): len(path.read_text().splitlines()) for path in paths}
    assert not {name: n for name, n in lengths.items() if n > 400}
    assert not [p for p in paths if p.stem in ("utils", "helpers", "common", "core", "misc")]
