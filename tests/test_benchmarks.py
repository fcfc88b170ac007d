"""The parts of benchmarks/: pairs, the table and its marks, the peers, and one part run whole."""

from __future__ import annotations

import importlib
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import a module of benchmarks, which is a folder of scripts and no package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def run(*options: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(BENCHMARKS / "run.sh"), *map(str, options)]
    environment = {**os.environ, "PYTHON": sys.executable}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_two_things_run_in_turn(part):
    calls = []
    ours, theirs = part("pairs").take_turns(
        lambda: calls.append("A"), lambda: calls.append("B"), pairs=4
    )
    assert "".join(calls) == "BA" * 6  # two rounds to warm up
    assert len(ours) == len(theirs) == 4


def test_ratio_is_the_median_of_pairs(part):
    row = part("pairs").compared("x", [2.0, 3.0, 40.0], [2.0, 2.0, 10.0], at_most=1.5)
    assert (row["ratio"], row["low"], row["high"], row["pairs"]) == (1.5, 1.0, 4.0, 3)


def test_table_marks_every_bar(part):
    compared, not_measured = part("pairs").compared, part("pairs").not_measured
    table = part("report").table(
        [
            compared("reached", [1.0], [1.0], 1.0),
            compared("missed", [1.1], [1.0], 1.0),
            compared("no bar", [1.0], [1.0]),
            not_measured("gpu", "no GPU at hand", 1.02),
        ]
    )
    marks = {
        line.split("|")[1].strip(): line.split("|")[-2].strip() for line in table.splitlines()[2:]
    }
    assert marks == {"reached": "✓", "missed": "✗", "no bar": "", "gpu": ""}
    assert "not measured: no GPU at hand" in table


def test_report_joins_the_parts(part, tmp_path, monkeypatch, capsys):
    rows = [part("pairs").compared("step", [1.0], [2.0], 1.0)]
    growth = {"growth": "rank", "values": [1, 2, 4], "exponents": [1.0, 0.0], "unit": "s"}
    growth |= {"what": "growth with rank", "ours": [1, 2, 4], "theirs": [1, 1, 1]}
    for name, machine, found in [("a-training", "one", rows), ("g-growth", "two", [growth])]:
        found = {"machine": machine, "rows": found}
        (tmp_path / f"{name}.json").write_text(json.dumps(found))
    monkeypatch.setattr(sys, "argv", ["report.py", str(tmp_path)])
    part("report").main()
    assert "exponent 1.00, dense 0.00" in capsys.readouterr().out
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["a-training"] == rows
    assert results["machines"] == {"a-training": "one", "g-growth": "two"}
    table = (tmp_path / "table.md").read_text()
    assert table.startswith("one\n\n| what") and table.index("| step") < table.index("\n\ntwo\n\n")
    for picture in ("bars.png", "growth.png"):
        assert (tmp_path / picture).stat().st_size > 1000


def test_a_part_names_its_machine(part, tmp_path, monkeypatch):
    pairs, out = part("pairs"), tmp_path / "a.json"
    monkeypatch.setattr(sys, "argv", ["part.py", "--out", str(out)])
    row = pairs.compared("step", [1.0], [2.0])
    pairs.write(lambda quick: [row], "about")
    assert json.loads(out.read_text()) == {"machine": pairs.machine(), "rows": [row]}


@pytest.mark.parametrize("name", ["exchange", "memory"])
def test_a_part_without_arguments_prints_its_usage(name, part, monkeypatch, capsys):
    part("models")  # with its folder on the path
    script = BENCHMARKS / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(script)])
    with pytest.raises(SystemExit):
        runpy.run_path(str(script), run_name="__main__")
    assert "required: --out" in capsys.readouterr().err


def test_peers_of_kronecker_products_agree(part):
    peers = part("peers")
    one, other = peers.TorchKron(12, 8, 3), peers.LinearOperator(12, 8, 3)
    other.load_state_dict(one.state_dict())
    if reason := peers.missing("linear_operator"):
        pytest.skip(reason)
    x = torch.randn(5, 8)
    torch.testing.assert_close(one(x), other(x), rtol=1e-4, atol=1e-5)


def test_a_missing_peer_is_one_line(part):
    reason = part("peers").missing("no_such_package")
    assert "no_such_package" in reason and ".[benchmarks]" in reason
    assert len(reason.splitlines()) == 1


def test_mistakes_are_explained(tmp_path):
    for options, message in [
        (["--only", "a,x"], "parts are the letters a to i"),
        (["--fast"], "there is no option --fast"),
        (["--out"], "--out needs a value"),
    ]:
        done = run(*options)
        assert done.returncode and message in done.stderr
    assert "bash benchmarks/run.sh --quick" in run("--help").stdout


def test_fairseqs_own_rate_is_read_from_its_log(part, tmp_path, monkeypatch):
    """On a CPU with a small model, for what the GPU's rows come from."""
    updates = part("updates")
    data = updates.corpus(tmp_path, 60, 50, False, sentences=40)
    monkeypatch.setattr(updates, "USER_DIR", BENCHMARKS.parent / "shapeshifter_fairseq")
    small = "--cpu --encoder-layers 1 --decoder-layers 1 --layer-rank 2 --embed-rank 4".split()
    row = updates.rates("iwslt", data, 200, 6, 1, *small)
    assert row["ours"] > 0 and row["theirs"] > 0 and row["at_most"] == pytest.approx(1 / 0.98)
