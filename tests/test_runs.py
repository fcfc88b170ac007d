"""Runs side by side, `shapeshifter compare`: names and groups of runs, the table, the plots."""

from __future__ import annotations

import json
import resource
import struct
from pathlib import Path

import pytest

from recipes.results import report
from shapeshifter_fairseq import ShapeshifterError, cli
from shapeshifter_fairseq.plots import plot
from shapeshifter_fairseq.runs import read_runs, table


def write(folder: Path, model: str, parameters: int, seed: int = 1, bleu: float = 30.0, **more):
    """A result.json as recipes/results.py writes it; returns its folder."""
    folder.mkdir(parents=True)
    curve = [{"updates": u, "loss": 2.0, "nll_loss": 1 + 100 / u} for u in (10, 50, 100)]
    result = {
        "recipe": "multi30k.en-de",
        "model": model,
        "seed": seed,
        "updates": 100,
        "parameters": parameters,
        "split": "test",
        "scores": {"BLEU": {"value": bleu}, "tokenised BLEU": {"value": bleu + 1}},
        "validation": curve,
        "last_training_nll": None,
        "seconds": {"training": 120.0, "translation": 1.0},
        **more,
    }
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return str(folder)


def cells(text: str) -> list[list[str]]:
    rows = [line.strip("|").split("|") for line in text.splitlines()]
    return [[cell.strip() for cell in row] for row in rows[:1] + rows[2:]]


def test_a_report_names_the_code_of_all_its_models(tmp_path):
    more = {"beam": 5, "checkpoint": "best.pt", "averaged": [], "machine": "A computer"}
    more["scores"] = {"BLEU": {"value": 30.0, "signature": "S"}}
    commits = {"dense": "0a1b2c3", "narrow": "4d5e6f7+", "small": "0a1b2c3"}
    runs = [write(tmp_path / m, m, 9, git=git, **more) for m, git in commits.items()]
    results = {m: json.loads(Path(run, "result.json").read_text()) for m, run in zip(commits, runs)}
    text = report(results, [{"source": "a", "small": "aber " * 200}])
    assert "A computer. Code: 0a1b2c3, 4d5e6f7+.\n" in text
    assert f"| small  | {'aber ' * 40} ... |" in text  # hypotheses.txt has all of it


def test_the_table(tmp_path):
    dense = write(tmp_path / "dense", "dense", 2000, bleu=31)
    ours = write(tmp_path / "ours", "shapeshifter", 380, bleu=30.5)
    head, *rows = cells(table(read_runs([dense, f"{ours}/result.json"])))
    assert head == [
        *("model", "parameters", "updates", "seeds", "best valid nll"),
        *("BLEU", "tokenised BLEU", "training, min"),
    ]
    assert rows == [
        ["dense", "2,000 (100.0%)", "100", "1", "2.000", "31.00", "32.00", "2.0"],
        ["shapeshifter", "380 (19.0%)", "100", "1", "2.000", "30.50", "31.50", "2.0"],
    ]


def test_percents_are_of_the_dense_model_or_the_head_says_of_which(tmp_path):
    small = write(tmp_path / "small", "small", 200)
    ours = write(tmp_path / "ours", "shapeshifter", 500)
    dense = write(tmp_path / "dense", "dense", 2000)
    rows = cells(table(read_runs([small, ours, dense])))
    assert [row[1] for row in rows] == [
        *("parameters", "200 (10.0%)", "500 (25.0%)", "2,000 (100.0%)")
    ]
    rows = cells(table(read_runs([small, ours])))
    assert [row[1] for row in rows] == [
        *("parameters (% of shapeshifter)", "200 (40.0%)", "500 (100.0%)")
    ]


def test_training_loss_is_a_column_where_all_have_it(tmp_path):
    runs = [write(tmp_path / str(i), "dense", 9, i, last_training_nll=2.0 + i) for i in (1, 2)]
    head, row = cells(table(read_runs(runs)))
    assert row[head.index("last train nll")] == "3.500 ± 0.707"
    short = write(tmp_path / "short", "low_rank", 9, last_training_nll=None)
    assert "last train nll" not in cells(table(read_runs([*runs, short])))[0]


def test_seeds_are_one_row_with_mean_and_standard_deviation(tmp_path):
    seeds = [write(tmp_path / str(i), "dense", 2000, i, 30.0 + i) for i in (1, 2, 3)]
    (row,) = cells(table(read_runs(seeds)))[1:]
    assert row[3] == "3" and row[5] == "32.00 ± 1.00"


def test_the_machine_makes_no_other_training(tmp_path):
    options = {"--lr": "1e-3", "--max-tokens": "1024", "--update-freq": "2", "--seed": "1"}
    one = write(tmp_path / "one", "dense", 9, 1, options=options)
    options |= {"--max-tokens": "256", "--cpu": "", "--seed": "2", "--save-interval-updates": "9"}
    other = write(tmp_path / "other", "dense", 9, 2, options=options, processes=4)
    older = write(tmp_path / "older", "dense", 9, 3)  # a release that did not note them
    assert len(read_runs([one, other, older])["dense"]) == 3


def test_names(tmp_path):
    small = write(tmp_path / "small", "shapeshifter", 300_000)
    large = write(tmp_path / "large=r64", "shapeshifter", 2_500_000)
    assert list(read_runs([small])) == ["shapeshifter"]
    assert list(read_runs([small, large])) == ["shapeshifter 0.30M", "shapeshifter 2.50M"]
    assert list(read_runs([f"Rank 7={small}", large])) == ["Rank 7", "shapeshifter 2.50M"]
    assert "\n| rank\\|7 " in table(read_runs([f"rank|7={small}"]))  # else a cell would end there


def test_runs_of_other_updates_are_other_rows(tmp_path):
    runs = [
        write(tmp_path / f"{u}.{s}", "dense", 2000, s, updates=u)
        for u in (1000, 2000)
        for s in (1, 2)
    ]
    runs.append(write(tmp_path / "ours", "shapeshifter", 380, updates=1000))
    rows = cells(table(read_runs(runs)))[1:]
    assert [(row[0], row[2], row[3]) for row in rows] == [
        ("dense, 1,000 updates", "1,000", "2"),
        ("dense, 2,000 updates", "2,000", "2"),
        ("shapeshifter", "1,000", "1"),
    ]


@pytest.mark.parametrize("measured", [False, True], ids=["bars", "curve"])
def test_the_plots(measured, tmp_path, capsys):
    bleu = {"bleu": 12.5} if measured else {}
    curve = [{"updates": u, "nll_loss": 1 + 100 / u, **bleu} for u in (10, 50, 100)]
    runs = [write(tmp_path / str(i), "dense", 2000, i, validation=curve) for i in (1, 2)]
    runs.append(write(tmp_path / "ours", "shapeshifter", 300, validation=curve))
    out = tmp_path / "plots here"
    assert cli.main(["compare", *runs, "--out", str(out)]) == 0
    assert "shapeshifter" in capsys.readouterr().out
    written = {path.name for path in out.iterdir()}
    assert written == {"compare.md", "validation.png", "bleu.png", "parameters.png"}
    text = (out / "compare.md").read_text(encoding="utf-8")
    assert all(f"]({name})" in text for name in written - {"compare.md"})
    for name in written - {"compare.md"}:
        head = (out / name).read_bytes()[:24]
        width, height = struct.unpack(">II", head[16:])
        assert head.startswith(b"\x89PNG") and width > 900 and height > 500


def test_what_the_plots_show(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        "matplotlib.figure.Figure.savefig",
        lambda figure, path, **_: (Path(path).touch(), drawn.update({Path(path).stem: figure})),
    )
    runs = [write(tmp_path / str(i), "dense", 2000, i, 30.0 + i) for i in (1, 2)]
    runs.append(write(tmp_path / "ours", "shapeshifter", 300, bleu=29))
    plot(read_runs(runs), tmp_path)
    (curves,), (bars,), (points,) = (
        drawn[f"{name}.png"].axes for name in ("validation", "bleu", "parameters")
    )
    assert [list(line.get_ydata()) for line in curves.lines] == [[11, 3, 2]] * 3
    assert [text.get_text() for text in curves.get_legend().get_texts()] == [
        *("dense", "shapeshifter"),
    ]
    assert [bar.get_width() for bar in bars.patches] == [31.5, 29]
    assert {text.get_text() for text in bars.texts} == {"31.50 ± 0.71", "29.00"}
    assert [line.get_xydata().tolist() for line in points.lines] == [[[2000, 31.5]], [[300, 29]]]
    assert points.get_xscale() == "log"


def test_trainings_of_less_than_a_second_have_their_plots(tmp_path):
    curve = [{"updates": u, "seconds": 0.0, "loss": 2.0, "nll_loss": 1.0} for u in (1, 2)]
    run = write(tmp_path / "dense", "dense", 9, validation=curve)
    assert "seconds.png" in [path.name for path in plot(read_runs([run]), tmp_path)]


def test_a_benchmark_without_bleu_shows_its_first_score(tmp_path):
    scores = {"ROUGE-1": {"value": 35.2}, "ROUGE-L": {"value": 33.1}}
    runs = read_runs([write(tmp_path / "run", "dense", 2000, scores=scores)])
    assert cells(table(runs))[0][5:7] == ["ROUGE-1", "ROUGE-L"]
    assert [path.name for path in plot(runs, tmp_path)] == [
        *("validation.png", "rouge-1.png", "parameters.png")
    ]


@pytest.mark.parametrize(
    "case, words",
    [
        ("nothing there", "has the recipe finished"),
        ("no JSON", "not the result of a recipe"),
        ("other JSON", "not the result of a recipe"),
        ("two benchmarks", "iwslt14.de-en (OTHER) and multi30k.en-de (GOOD)"),
        ("no nll", "has no nll_loss"),
        ("two sets", "several sets, test (GOOD) and valid (OTHER)"),
        ("two beams", "several beams, 1 (OTHER) and 5 (GOOD)"),
        ("other scores", "lists of scores, BLEU (OTHER) and BLEU, tokenised BLEU (GOOD)"),
        ("a seed twice", "NAME=RUN"),
        ("a name for two trainings", "1,000 and 2,000 updates"),
        ("a name for two models", "2,000 and 2,001 parameters"),
        ("a name for two rates", "runs of dense differ in --lr (1e-3 and not given), so"),
        ("a name for two batches", "differ in tokens an update (1024 and 2048), so they do"),
        ("other case", "several signatures of scores, case:lc|tok:13a (OTHER) and case:mixed"),
    ],
)
def test_mistakes_are_one_line(case, words, tmp_path, capsys):
    good, odd = write(tmp_path / "good", "dense", 2000), tmp_path / "odd"
    odd.mkdir()
    if case == "no JSON":
        (odd / "result.json").write_text("{")
    elif case == "other JSON":
        (odd / "result.json").write_text("[]")
    elif case == "two benchmarks":
        odd = write(tmp_path / "other", "dense", 2000, recipe="iwslt14.de-en")
    elif case == "no nll":
        odd = write(tmp_path / "other", "dense", 2000, validation=[{"updates": 1, "loss": 2.0}])
    elif case == "two sets":
        odd = write(tmp_path / "other", "dense", 2000, split="valid")
    elif case == "two beams":
        odd = write(tmp_path / "other", "dense", 2000, beam=1)
    elif case == "other scores":
        odd = write(tmp_path / "other", "dense", 2000, scores={"BLEU": {"value": 1.0}})
    elif case == "a seed twice":
        odd = good
    elif case == "a name for two trainings":
        good = write(tmp_path / "short", "dense", 2000, updates=1000)
        odd = write(tmp_path / "long", "dense", 2000, seed=2, updates=2000)
        good, odd = f"X={good}", f"X={odd}"
    elif case == "a name for two models":  # both of 0.00M
        odd = write(tmp_path / "other", "dense", 2001, seed=2)
    elif case.startswith("a name for two"):
        first, second = {"--max-tokens": "1024"}, {"--max-tokens": "1024"}
        first |= {"--lr": "1e-3"} if case.endswith("rates") else {}
        second |= {"--update-freq": "2"} if case.endswith("batches") else {}
        good = write(tmp_path / "first", "dense", 2000, options=first)
        odd = write(tmp_path / "other", "dense", 2000, seed=2, options=second)
    elif case == "other case":
        scores = [
            {"BLEU": {"value": 1.0, "signature": f"case:{form}|tok:13a|version:{version}"}}
            for form, version in (("mixed", "2.5"), ("lc", "2.6"))
        ]
        good = write(tmp_path / "first", "dense", 2000, scores=scores[0])
        odd = write(tmp_path / "other", "dense", 2000, scores=scores[1])
    assert cli.main(["compare", good, str(odd), "--out", str(tmp_path / "out")]) == 2
    lines = capsys.readouterr().err.splitlines()
    words = words.replace("GOOD", good).replace("OTHER", str(odd))
    assert len(lines) == 1 and words in lines[0]
    assert not (tmp_path / "out").exists()


def test_without_room_it_is_one_line_and_goes_on_later(tmp_path, capsys):
    """A limit of the shell stands in for the disk."""
    out = tmp_path / "out"
    call = ["compare", write(tmp_path / "run", "dense", 2000), "--out", str(out)]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        assert cli.main(call) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    line = f"shapeshifter: error: {out / 'validation.png'} cannot be written: File too large\n"
    assert capsys.readouterr().err == line and not list(out.iterdir())
    assert cli.main(call) == 0 and (out / "compare.md").exists()


def test_debug_raises(tmp_path, monkeypatch):
    monkeypatch.setenv("SHAPESHIFTER_DEBUG", "1")
    with pytest.raises(ShapeshifterError):
        cli.main(["compare", str(tmp_path)])
