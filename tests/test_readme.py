"""The README does what it says: its commands run, its Python runs, its files and presets exist."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from azsim.chip import load_chip
from azsim.cli import app

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.S)


COMMANDS = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Instead of the README's ``out``; one for all of it, because later commands read what earlier ones write."""
    return tmp_path_factory.mktemp("readme")


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("azsim")])
def test_the_commands_run(command, folder, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = [str(folder / w) if w.startswith("out/") else w for w in shlex.split(command)[1:]]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("source", blocks("python"), ids=["api", "own network", "sweep"])
def test_the_python_runs(source, folder, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    exec(compile(source.replace("out/", f"{folder}/"), "README.md", "exec"), {"__name__": "readme"})
    assert capsys.readouterr().out


def test_the_yaml_is_a_chip(tmp_path):
    (source,) = blocks("yaml")
    assert yaml.safe_load(source)["name"] == "mine"
    path = tmp_path / "mine.yaml"
    path.write_text(source)
    assert load_chip(path).mac_array.pes == 128


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    targets = [c.split()[1] for c in COMMANDS if c.startswith("make")]
    assert targets == ["demo", "test"]
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.M)


def test_every_file_that_is_named_exists():
    linked = re.findall(r"\]\(((?!https?:)[^)]+)\)", TEXT)
    named = linked + re.findall(r"`((?:azsim|models|tests|experiments)/[\w./]*)`", TEXT)
    assert len(named) > 8
    for name in named:
        assert (ROOT / name).exists(), name
