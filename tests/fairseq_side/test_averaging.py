"""`shapeshifter average`: what is averaged, what is kept, what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy
import pytest
import torch

from shapeshifter_fairseq import ShapeshifterError, cli
from shapeshifter_fairseq.fairseq_side.averaging import average, last_checkpoints


def write(path: Path, value: float, scale: float = 2.0, **more: torch.Tensor) -> Path:
    """A checkpoint as fairseq writes them, of a model with a tied factorized table."""
    table = torch.full((2, 3), float(value))
    model = {
        "encoder.embed_tokens.factors.A": table,
        "decoder.output_projection.factors.A": table,
        "encoder.embed_tokens.factors.scale": torch.tensor(scale),
        "encoder.embed_tokens.factors.size": torch.empty(4, 0, 3),
        "encoder.steps": torch.tensor([7]),
        "half": torch.full((2,), value, dtype=torch.float16),
        **more,
    }
    state = {
        "args": None,
        "cfg": {"model": Namespace(arch="shapeshifter_transformer")},
        "model": model,
        "optimizer_history": [{"num_updates": int(value)}],
        "extra_state": {"epoch": int(value)},
        "last_optimizer_state": {"exp_avg": table},
    }
    torch.save(state, path)
    return path


def load(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def test_the_mean_of_parameters_and_all_else_of_the_last(tmp_path):
    paths = [write(tmp_path / f"{i}.pt", value) for i, value in enumerate((1.0, 2.0, 6.0))]
    average(paths, tmp_path / "out.pt")
    state = load(tmp_path / "out.pt")
    model = state["model"]
    assert model["encoder.embed_tokens.factors.A"].tolist() == [[3.0] * 3] * 2
    assert model["half"].tolist() == [3.0] * 2 and model["half"].dtype == torch.float16
    assert model["encoder.steps"].tolist() == [7] and model["encoder.steps"].dtype == torch.int64
    assert model["encoder.embed_tokens.factors.scale"].item() == 2
    assert model["encoder.embed_tokens.factors.size"].shape == (4, 0, 3)
    assert list(model) == list(load(paths[-1])["model"])
    assert state["cfg"]["model"].arch == "shapeshifter_transformer"
    assert state["extra_state"] == {"epoch": 6, "averaged": ["0.pt", "1.pt", "2.pt"]}
    assert "last_optimizer_state" not in state
    assert sorted(os.listdir(tmp_path)) == ["0.pt", "1.pt", "2.pt", "out.pt"]


def test_tied_tensors_stay_tied(tmp_path):
    average([write(tmp_path / "a.pt", 1), write(tmp_path / "b.pt", 2)], tmp_path / "out.pt")
    model = load(tmp_path / "out.pt")["model"]
    tied = [
        model[f"{name}.factors.A"] for name in ("encoder.embed_tokens", "decoder.output_projection")
    ]
    assert tied[0].data_ptr() == tied[1].data_ptr() and tied[0][0, 0] == 1.5


def test_the_sum_is_taken_in_double_precision(tmp_path):
    big, small = torch.tensor([2.0**24]), torch.tensor([1.0])
    values = (big, small, small, -big)
    paths = [write(tmp_path / f"{i}.pt", 0, w=value) for i, value in enumerate(values)]
    average(paths, tmp_path / "out.pt")
    assert load(tmp_path / "out.pt")["model"]["w"].item() == 0.5


def test_the_last_checkpoints_by_updates_then_by_epochs(tmp_path):
    for name in ("checkpoint_best", "checkpoint_last", "checkpoint2", "checkpoint10", "averaged"):
        (tmp_path / f"{name}.pt").touch()
    by_epochs = [path.name for path in last_checkpoints(tmp_path, 5)]
    assert by_epochs == ["checkpoint2.pt", "checkpoint10.pt"]
    for name in ("checkpoint_1_90", "checkpoint_1_100", "checkpoint_2_1000"):
        (tmp_path / f"{name}.pt").touch()
    by_updates = [path.name for path in last_checkpoints(tmp_path, 2)]
    assert by_updates == ["checkpoint_1_100.pt", "checkpoint_2_1000.pt"]


def write_ema(path: Path, value: float, ema: float, **more: torch.Tensor) -> Path:
    """As `write`, after a training with --store-ema."""
    state = load(write(path, value))
    # As it really comes: the scale, by rounding, is not quite the same.
    average = load(write(path.with_name("ema"), ema, scale=2.0 - 2**-20))["model"]
    state["extra_state"] |= {"ema": average, **more}
    torch.save(state, path)
    path.with_name("ema").unlink()
    return path


def test_no_average_carries_the_ema_of_one(tmp_path, caplog):
    paths = [write_ema(tmp_path / f"{value}.pt", value, 10 * value) for value in (1.0, 3.0)]
    average(paths, tmp_path / "out.pt")
    state = load(tmp_path / "out.pt")
    assert state["model"]["half"].tolist() == [2.0] * 2 and "ema" not in state["extra_state"]
    (said,) = caplog.messages
    assert str(paths[-1]) in said and "--ema" in said


@pytest.mark.parametrize("fp32", [False, True])
def test_the_mean_of_the_ema(fp32, tmp_path, caplog, capsys):
    """In single precision where --ema-fp32 kept it so; the scale is the model's own."""
    paths = []
    for value in (1.0, 3.0):
        more = {}
        if fp32:  # each tied tensor by itself, as fairseq makes them of a model in half precision
            tensors = load(write(tmp_path / "more", 10 * value + 2**-12))["model"]
            more = {"ema_fp32_params": {name: t.float().clone() for name, t in tensors.items()}}
        paths.append(write_ema(tmp_path / f"{value}.pt", value, 10 * value, **more))
    arguments = ["average", tmp_path / "out.pt", *paths, "--ema"]
    assert cli.main([str(argument) for argument in arguments]) == 0
    assert "the mean of the EMA of 1.0.pt, 3.0.pt" in capsys.readouterr().out
    assert not caplog.messages
    state = load(tmp_path / "out.pt")
    model, extra = state["model"], state["extra_state"]
    assert not {"ema", "ema_fp32_params"} & extra.keys()
    tied = [
        model[f"{name}.factors.A"] for name in ("encoder.embed_tokens", "decoder.output_projection")
    ]
    assert tied[0][0, 0] == (20 + 2**-12 if fp32 else 20)
    assert tied[0].data_ptr() == tied[1].data_ptr()
    assert model["encoder.embed_tokens.factors.scale"] == 2
    assert model["encoder.steps"].tolist() == [7] and model["encoder.steps"].dtype == torch.int64


@pytest.mark.parametrize("kind, words", [("none", "holds no EMA"), ("other", "lacks half")])
def test_an_ema_that_there_is_not_is_one_line(kind, words, tmp_path, capsys):
    path = write(tmp_path / "odd.pt", 1) if kind == "none" else write_ema(tmp_path / "odd.pt", 1, 2)
    if kind == "other":
        state = load(path)
        del state["extra_state"]["ema"]["half"]
        torch.save(state, path)
    assert cli.main(["average", str(tmp_path / "out.pt"), str(path), "--ema"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line and str(path) in line and not (tmp_path / "out.pt").exists()


class Hostile:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def broken(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.pt"
    if kind == "truncated":
        path.write_bytes(write(folder / "whole.pt", 1).read_bytes()[:500])
    elif kind == "hostile":
        torch.save({"model": {}, "payload": Hostile()}, path)
    elif kind == "no model":
        torch.save({"weights": {}}, path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "another scale":
        write(path, 1, scale=4.0)
    elif kind == "another shape":
        write(path, 1, half=torch.zeros(3, dtype=torch.float16))
    elif kind == "another name":
        write(path, 1, surplus=torch.zeros(1))
    return path


@pytest.mark.parametrize(
    "kind, words",
    [
        ("missing", "there is no checkpoint"),
        ("truncated", "truncated"),
        ("hostile", "refused"),
        ("no model", "not a checkpoint of fairseq"),
        ("folder", "cannot be read: Is a directory"),
        ("another scale", "encoder.embed_tokens.factors.scale"),
        ("another shape", "half is (3,)"),
        ("another name", "surplus"),
    ],
)
def test_what_cannot_be_averaged_is_named_and_nothing_is_written(
    kind, words, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    odd, good = broken(tmp_path, kind), write(tmp_path / "good.pt", 1)
    with pytest.raises(ShapeshifterError, match="^[^\n]+$") as error:
        average([odd, good], tmp_path / "out.pt")
    assert words in str(error.value) and str(odd) in str(error.value)
    assert not (tmp_path / "out.pt").exists() and not (tmp_path / "pwned").exists()


def test_fairseq_is_not_needed(tmp_path):
    """Without it its checkpoints are averaged, with BLEU's counts too, and hostile ones refused."""
    script = (
        "import sys; sys.modules['fairseq'] = None; from shapeshifter_fairseq import cli; "
        "sys.exit(cli.main(sys.argv[1:]))"
    )

    def call(path: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", script, "average", "out.pt", path]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    done = call(broken(tmp_path, "hostile"))
    assert done.returncode == 2 and "refused" in done.stderr
    assert not list(tmp_path.glob("pwned"))
    good = write(tmp_path / "good.pt", 1)
    state = torch.load(good, weights_only=False)
    state["extra_state"]["counts"] = numpy.array([3, 2, 1])
    torch.save(state, good)
    done = call(good)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.pt").exists()


def test_a_result_that_was_there_survives_a_failure(tmp_path):
    good = write(tmp_path / "good.pt", 1)
    average([good], tmp_path / "out.pt")
    before = (tmp_path / "out.pt").read_bytes()
    with pytest.raises(ShapeshifterError):
        average([broken(tmp_path, "another scale"), good], tmp_path / "out.pt", force=True)
    assert (tmp_path / "out.pt").read_bytes() == before


def test_on_the_command_line(tmp_path, capsys):
    for epoch in (1, 2, 3):
        write(tmp_path / f"checkpoint{epoch}.pt", epoch)
    out = tmp_path / "out.pt"
    assert cli.main(["average", str(out), "--last", "2", str(tmp_path)]) == 0
    assert "checkpoint2.pt, checkpoint3.pt" in capsys.readouterr().out
    assert load(out)["model"]["half"][0] == 2.5
    assert cli.main(["average", str(out), str(tmp_path / "checkpoint1.pt"), "--force"]) == 0
    assert load(out)["model"]["half"][0] == 1


def test_a_checkpoint_is_replaced_only_by_force(tmp_path, capsys):
    """Where OUT is forgotten, the first checkpoint stands in its place."""
    paths = [write(tmp_path / f"checkpoint{epoch}.pt", epoch) for epoch in (8, 9)]
    before = paths[0].read_bytes()
    assert cli.main(["average", *map(str, paths)]) == 2
    assert f"{paths[0]} exists" in capsys.readouterr().err and paths[0].read_bytes() == before


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["OUT/x.pt"], "or --last N DIR"),
        (["OUT/x.pt", "a.pt", "--last", "2", "OUT"], "or --last N DIR"),
        (["OUT/x.pt", "--last", "two", "OUT"], "--last two"),
        (["OUT/x.pt", "--last", "0", "OUT"], "--last 0"),
        (["OUT/x.pt", "--last", "2", "OUT"], "--no-epoch-checkpoints"),
        (["OUT/nowhere/x.pt", "OUT/good.pt"], "nowhere/x.pt cannot be written"),
    ],
)
def test_mistakes_are_one_line(arguments, words, tmp_path, capsys):
    write(tmp_path / "good.pt", 1)
    arguments = [word.replace("OUT", str(tmp_path)) for word in arguments]
    assert cli.main(["average", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and words in lines[0]
