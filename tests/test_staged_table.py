"""What recipes/staged.sh makes of its runs: the table, what counts as failed, the plot."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipes.staged_report import Run, compare
from tests.test_runs import cells, write

MODEL = "low_rank-50"
DENSE, BEFORE = Run("dense"), Run("before", MODEL)
SEEDS = {
    way: [Run(way, MODEL, seed) for seed in (1, 2)] for way in ("at-once", "staged", "scratch")
}
RUNS = [DENSE, BEFORE, *(run for runs in SEEDS.values() for run in runs)]


def scored(out: Path, run: Run, nll: float, bleu: float, updates: int = 200) -> None:
    more = {
        "recipe": "staged, 200 updates",
        "updates": updates,
        "validation": [{"updates": 9, "nll_loss": 20.0}, {"updates": updates, "nll_loss": nll}],
        "scores": {"BLEU": {"value": bleu, "signature": "S"}},
    }
    write(out / run.folder, run.name, 505 if run.model else 1000, run.seed, **more)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """One size of one family, two seeds; at once one of them is worse than before, one diverged."""
    scored(tmp_path, DENSE, 1.5, 31.0)
    scored(tmp_path, BEFORE, 3.0, 10.0, updates=0)
    for run in SEEDS["staged"]:
        scored(tmp_path, run, 2.0 + run.seed / 10, 20.0 + run.seed)
    for run in SEEDS["scratch"]:
        scored(tmp_path, run, 9.0, 5.0, updates=1000)
    scored(tmp_path, SEEDS["at-once"][0], 3.5, 8.0)
    (tmp_path / "low_rank-50-at-once.seed2").mkdir()
    (tmp_path / "low_rank-50-at-once.seed2" / "diverged").touch()
    return tmp_path


def test_the_table_and_the_plot(out):
    said = compare(out, RUNS)
    head, *rows = cells("\n".join(line for line in said.splitlines() if line.startswith("|")))
    nll, bleu = head.index("best valid nll"), head.index("BLEU")
    assert [(row[0], row[nll], row[bleu]) for row in rows] == [
        ("dense", "1.500", "31.00"),
        ("low_rank, 50%, before", "3.000", "10.00"),
        ("low_rank, 50%, at once", "3.500", "8.00"),
        ("low_rank, 50%, staged", "2.150 ± 0.071", "21.50 ± 0.71"),
        ("low_rank, 50%, from scratch", "9.000 ± 0.000", "5.00 ± 0.00"),
    ]
    assert "became NaN: low_rank-50-at-once.seed2." in said
    # A model from scratch has nothing behind it that it could be worse than.
    assert "before fine-tuning: low_rank-50-at-once.seed1.\n" in said
    assert (out / "staged.md").read_text() == f"{said}\n"
    assert (out / "staged.png").read_bytes().startswith(b"\x89PNG")


def test_the_runs_of_another_call_are_not_looked_at(out):
    (out / "low_rank-50-staged.seed3").mkdir()  # killed
    assert "3" not in [row[3] for row in cells(compare(out, RUNS).split("\n\n")[1])]


def test_a_loss_that_is_no_number_is_no_better(out):
    third = Run("staged", MODEL, 3)
    scored(out, third, float("nan"), 0.0)
    assert "low_rank-50-at-once.seed1, low_rank-50-staged.seed3." in compare(out, [*RUNS, third])
