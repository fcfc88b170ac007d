"""recipes/staged.py: what it reads, counts as failed, prints and draws."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from tests.test_runs import cells, write

RECIPES = Path(__file__).resolve().parents[1] / "recipes"


def checkpoint(folder: Path, nll: float, bleu: float) -> None:
    folder.mkdir(parents=True)
    log = f'... | INFO | valid | {{"valid_loss": "9", "valid_nll_loss": "{nll}"}}\n'
    (folder / "validate.log").write_text("x\n" + log)
    scores = [{"name": "BLEU", "score": bleu}, {"name": "chrF2", "score": 50.0}]
    (folder / "scores.json").write_text(json.dumps(scores))


def trained(folder: Path, seed: int, nll: float, bleu: float, updates: int = 400) -> None:
    model, _, way = folder.name.rpartition(".")[0].partition("-")
    more = {
        "recipe": "staged, 400 updates",
        "updates": updates,
        "validation": [{"updates": 9, "nll_loss": 1.0}, {"updates": updates, "nll_loss": nll}],
        "scores": {"BLEU": {"value": bleu, "signature": "S"}},
        "machine": "two cores",
        "git": None,
    }
    write(folder, f"{model} {way}", 500, seed, **more)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """One size of one family, two seeds; at once one of them is worse than before, one diverged."""
    for seed in (1, 2):
        checkpoint(tmp_path / f"dense.seed{seed}", 1.5 + seed / 10, 30.0 + seed)
        before = tmp_path / f"low_rank-50-before.seed{seed}"
        checkpoint(before, 3.0 * seed, 10.0)
        total = "  0.4100           1,000           505  in all (50.5% are left)\n"
        (before / "project.txt").write_text("  0.5  9  4  decoder.x\n" + total)
        trained(tmp_path / f"low_rank-50-staged.seed{seed}", seed, 2.0 + seed / 10, 20.0 + seed)
        trained(tmp_path / f"low_rank-50-scratch.seed{seed}", seed, 9.0, 5.0, updates=3200)
    trained(tmp_path / "low_rank-50-at-once.seed1", 1, 3.5, 8.0)
    (tmp_path / "low_rank-50-at-once.seed2").mkdir()
    (tmp_path / "low_rank-50-at-once.seed2" / "diverged").touch()
    return tmp_path


@pytest.fixture
def run(monkeypatch, capsys):
    """The script; recipes/ is a folder of scripts and no package."""
    monkeypatch.syspath_prepend(str(RECIPES))

    def call(out: Path, *runs: str) -> str:
        monkeypatch.setattr(sys, "argv", ["staged.py", str(out), *runs])
        importlib.import_module("staged").main()
        return capsys.readouterr().out

    return call


def test_the_table_and_the_plot(out, run):
    said = run(out)
    table = "\n".join(line for line in said.splitlines() if line.startswith("|"))
    head, row = cells(table)
    assert head == [
        *("model", "parameters", "before: nll", "BLEU", "at once: nll", "BLEU", "failed"),
        *("staged: nll", "BLEU", "failed", "from scratch: nll", "BLEU", "failed"),
    ]
    assert row == [
        *("low_rank, 50%", "505 (50.5%)", "4.500 ± 2.121", "10.00 ± 0.00"),
        *("3.500", "8.00", "2 of 2"),  # one is not below its start, one has diverged
        *("2.150 ± 0.071", "21.50 ± 0.71", "0 of 2"),
        *("9.000 ± 0.000", "5.00 ± 0.00", "0 of 2"),
    ]
    assert "1,000 parameters, nll 1.650 ± 0.071, BLEU 31.50 ± 0.71" in said
    assert "Updates: at once 400, staged 400, from scratch 3,200." in said
    assert (out / "staged.png").read_bytes().startswith(b"\x89PNG")
    assert not list(out.glob("*.part"))


def test_the_runs_of_another_call_are_not_looked_at(out, run):
    runs = [path.name for path in out.iterdir()]
    (out / "monarch-50-before.seed1").mkdir()  # killed
    (out / "low_rank-50-staged.seed3").mkdir()
    assert run(out, *runs).count("\n| low_rank, 50%") == 1


def test_a_loss_that_is_no_number_has_failed(out, run):
    trained(out / "low_rank-50-staged.seed3", 3, float("nan"), 0.0)
    assert "1 of 3" in run(out)


def test_one_projection_serves_all_seeds_of_a_given_checkpoint(out, run):
    for path in (out / "low_rank-50-before.seed2").iterdir():
        path.unlink()
    (out / "low_rank-50-before.seed2").rmdir()
    assert cells(run(out).partition("\n\n")[2])[1][2] == "3.000"


def test_models_are_of_the_size_that_they_are_named_by(out, run):
    text = "  0.4           1,000           530  in all (53.0% are left)\n"
    (out / "low_rank-50-before.seed2" / "project.txt").write_text(text)
    with pytest.raises(SystemExit, match="low_rank-50 has 53.0% of the dense model's parameters"):
        run(out)


def test_an_empty_folder_is_explained(tmp_path, run):
    with pytest.raises(SystemExit, match="run recipes/staged.sh"):
        run(tmp_path)
