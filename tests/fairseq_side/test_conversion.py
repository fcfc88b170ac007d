"""`shapeshifter project` and `shapeshifter fold`: what they write, print and refuse."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from fairseq import options
from fairseq.models import ARCH_MODEL_REGISTRY
from fairseq.models.transformer import TransformerModel

import shapeshifter_fairseq.models  # noqa: F401  (registers the architectures)
from shapeshifter_fairseq import cli
from shapeshifter_fairseq.fairseq_side.conversion import load_model
from shapeshifter_fairseq.fairseq_side.counting import task_with
from tests.fairseq_side.test_averaging import broken

SMALL = (
    "--encoder-layers 1 --decoder-layers 1 --encoder-embed-dim 32 --encoder-ffn-embed-dim 64 "
    "--encoder-attention-heads 2 --decoder-attention-heads 2"
).split()
MERGED = "--merge-src-tgt-embed"  # ties two dictionaries
TYPES = 45
TOKENS = torch.tensor([[5, 6, 7, 2], [9, 8, 2, 1]])


def parsed(*arguments: str) -> argparse.Namespace:
    tie = [] if MERGED in arguments else ["--share-all-embeddings"]
    return options.parse_args_and_arch(
        options.get_training_parser(), ["DATA", *tie, *SMALL, *arguments]
    )


def built(args: argparse.Namespace) -> TransformerModel:
    task = task_with(TYPES, TYPES, joined=args.share_all_embeddings)
    return ARCH_MODEL_REGISTRY[args.arch].build_model(args, task).eval()


def logits(model: TransformerModel) -> torch.Tensor:
    with torch.no_grad():
        return model(TOKENS, torch.tensor([4, 3]), TOKENS)[0]


def trained(path: Path, *arguments: str, seed: int = 0, old: bool = False) -> TransformerModel:
    """A checkpoint as fairseq writes them, of the given architecture; returns its model."""
    torch.manual_seed(seed)
    args = parsed(*arguments)
    model = built(args)
    args._name = args.arch
    cfg = {"model": args, "task": {"_name": "translation", "data": "DATA", "source_lang": "xx"}}
    history = {"criterion_name": "C", "optimizer_name": "Adam", "num_updates": 7}
    state = {
        "args": args if old else None,
        "cfg": None if old else cfg,
        "model": model.state_dict(),
        "optimizer_history": [history | {"lr_scheduler_state": {"best": 1.5}}],
        "last_optimizer_state": {"exp_avg": torch.ones(9)},
        "extra_state": {"train_iterator": {"epoch": 5}, "best": 1.5},
        "task_state": {},
    }
    torch.save(state, path)
    return model


def load(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def run(*arguments: str | Path) -> int:
    return cli.main([str(argument) for argument in arguments])


RANKS = ["--layer-rank", "12", "--embed-rank", "20", "--factor-plan", "decoder.*.fc1=dense"]


@pytest.mark.parametrize(
    "arguments", [["--arch", "transformer"], ["--arch", "shapeshifter_transformer"]]
)
@pytest.mark.parametrize("old", [False, True])
def test_project_writes_the_nearest_factors(arguments, old, tmp_path, capsys):
    if arguments[1].startswith("shape"):
        arguments = [*arguments, "--factor-plan", "*=dense"]  # dense, and of our architecture
    dense = trained(tmp_path / "dense.pt", *arguments, old=old)
    assert run("project", tmp_path / "dense.pt", tmp_path / "out.pt", *RANKS) == 0
    said = capsys.readouterr().out
    state = load(tmp_path / "out.pt")
    args = state["args"] if old else state["cfg"]["model"]
    assert args.arch == "shapeshifter_transformer"
    ours = built(args)
    ours.load_state_dict(state["model"])
    assert type(ours.decoder.layers[0].fc1) is torch.nn.Linear
    rows = re.findall(r"^ +([\d.]+) +([\d,]+) +([\d,]+)  (.*)$", said, re.M)
    *rows, total = [
        (float(e), int(a.replace(",", "")), int(b.replace(",", "")), name) for e, a, b, name in rows
    ]
    assert [row[0] for row in rows] == sorted((row[0] for row in rows), reverse=True)
    squares = norms = 0.0
    for error, before, after, names in rows:
        weight, layer = dense, ours
        for name in names.split(" = ")[0].split("."):
            weight, layer = getattr(weight, name), getattr(layer, name)
        weight = weight.weight.detach()
        difference = (layer.weight.detach() - weight).norm().item()
        assert error == pytest.approx(difference / weight.norm().item(), abs=1e-4)
        assert before == weight.numel()
        assert after == sum(factor.numel() for factor in layer.factors.parameters())
        squares, norms = squares + difference**2, norms + weight.norm().item() ** 2
    assert total[0] == pytest.approx((squares / norms) ** 0.5, abs=1e-4)
    assert total[1:3] == tuple(sum(p.numel() for p in m.parameters()) for m in (dense, ours))
    assert "embed_tokens = decoder.embed_tokens = decoder.output_projection" in said


def test_at_full_rank_nothing_is_lost(tmp_path):
    dense = trained(tmp_path / "dense.pt", "--arch", "transformer")
    full = ["--layer-rank", "32", "--embed-rank", "32", "--factorization", "low_rank"]
    assert run("project", tmp_path / "dense.pt", tmp_path / "out.pt", *full) == 0
    state = load(tmp_path / "out.pt")
    ours = built(state["cfg"]["model"])
    ours.load_state_dict(state["model"])
    torch.testing.assert_close(logits(ours), logits(dense), rtol=1e-4, atol=1e-5)


def test_what_trained_in_shards_is_projected(tmp_path):
    """What was made of it then trains in another way, and loads whatever its file says."""
    trained(tmp_path / "dense.pt", "--arch", "transformer", "--ddp-backend", "fully_sharded")
    assert run("project", tmp_path / "dense.pt", tmp_path / "out.pt", *RANKS) == 0
    state = load(tmp_path / "out.pt")
    built(state["cfg"]["model"]).load_state_dict(state["model"])


@pytest.mark.parametrize(
    "shape",
    [
        "--encoder-normalize-before",
        "--decoder-normalize-before --no-decoder-final-norm",
        "--encoder-learned-pos --max-source-positions 256",
        "--decoder-learned-pos --max-target-positions 256",
    ],
)
def test_the_options_that_are_printed_build_the_model(shape, tmp_path, capsys):
    trained(tmp_path / "dense.pt", "--arch", "transformer", *shape.split())
    run("project", tmp_path / "dense.pt", tmp_path / "out.pt", *RANKS)
    said = capsys.readouterr().out
    line = shlex.split(re.search(r'user-dir\)" (.*) \\$', said, re.M)[1])
    args = options.parse_args_and_arch(options.get_training_parser(), ["DATA", *line])
    built(args).load_state_dict(load(tmp_path / "out.pt")["model"])


def test_a_training_that_restores_a_projection_begins_anew(tmp_path):
    trained(tmp_path / "dense.pt", "--arch", "transformer")
    run("project", tmp_path / "dense.pt", tmp_path / "out.pt", *RANKS)
    state = load(tmp_path / "out.pt")
    assert state["last_optimizer_state"] is None
    assert state["optimizer_history"][-1]["num_updates"] == 0
    assert "best" not in state["extra_state"]
    assert state["extra_state"]["train_iterator"] == {"epoch": 1, "iterations_in_epoch": 0}


def test_default_ranks_that_do_not_fit_are_lowered(tmp_path, caplog):
    """Also where the checkpoint that was made so is loaded, in factors and folded."""
    caplog.set_level("INFO", "shapeshifter_fairseq")
    trained(tmp_path / "dense.pt", "--arch", "transformer")
    assert run("project", tmp_path / "dense.pt", tmp_path / "out.pt") == 0
    said = [line for line in caplog.messages if "lowered" in line]
    assert len(said) == 2
    assert "--embed-rank <=256 does not fit" in said[0] and "--layer-rank <=64" in said[1]
    state = load(tmp_path / "out.pt")
    args = state["cfg"]["model"]
    assert (args.layer_rank, args.embed_rank) == ("<=64", "<=256")
    built(args).load_state_dict(state["model"])
    assert run("fold", tmp_path / "out.pt", tmp_path / "folded.pt") == 0
    typed = ["--layer-rank", "64"]
    assert run("project", tmp_path / "dense.pt", tmp_path / "x.pt", *typed) == 2


def test_ranks_as_numbers_load_as_they_are(tmp_path):
    """As checkpoints hold them from before default ranks were lowered."""
    args = parsed("--arch", "shapeshifter_transformer", "--layer-rank", "12", "--embed-rank", "20")
    assert {args.layer_rank, args.embed_rank} == {12, 20}
    assert built(args).encoder.layers[0].fc1.factors.rank == 12


OURS = ["--arch", "shapeshifter_transformer", *RANKS]


@pytest.mark.parametrize("half", [False, True])
def test_fold_gives_stock_fairseqs_model(half, tmp_path):
    model = trained(tmp_path / "ours.pt", *OURS)
    if half:
        state = load(tmp_path / "ours.pt")
        state["model"] = model.half().state_dict()
        torch.save(state, tmp_path / "ours.pt")
        model = built(state["cfg"]["model"])  # in single precision, with the rounded numbers
        model.load_state_dict(state["model"])
    assert run("fold", tmp_path / "ours.pt", tmp_path / "folded.pt") == 0
    state = load(tmp_path / "folded.pt")
    args = state["args"]
    assert type(args) is OrderedDict and vars(args) == dict(args)
    assert (args.arch, args.task, args.source_lang) == ("transformer", "translation", "xx")
    assert not {"layer_rank", "factor_plan", "user_dir", "_name"} & set(args)
    assert state["optimizer_history"][-1]["num_updates"] == 7
    stock = TransformerModel.build_model(args, task_with(TYPES, TYPES, joined=True)).eval()
    stock.load_state_dict(state["model"])
    torch.testing.assert_close(logits(stock), logits(model), rtol=1e-5, atol=1e-6)


def test_fold_keeps_a_task_that_has_no_dataclass(tmp_path):
    """fairseq keeps its settings as a Namespace of all options."""
    trained(tmp_path / "ours.pt", *OURS)
    state = load(tmp_path / "ours.pt")
    name = "translation_multi_simple_epoch"
    more = {"_name": name, "task": name, "source_lang": "xx"}
    state["cfg"]["task"] = argparse.Namespace(**vars(state["cfg"]["model"]) | more)
    torch.save(state, tmp_path / "ours.pt")
    assert run("fold", tmp_path / "ours.pt", tmp_path / "folded.pt") == 0
    args = load(tmp_path / "folded.pt")["args"]
    assert (args.arch, args.task, args.source_lang) == ("transformer", name, "xx")
    assert not {"layer_rank", "factor_plan", "user_dir", "_name"} & set(args)


def test_merged_dictionaries_are_not_merged_twice(tmp_path):
    model = trained(tmp_path / "ours.pt", *OURS, MERGED)
    assert run("fold", tmp_path / "ours.pt", tmp_path / "folded.pt") == 0
    state = load(tmp_path / "folded.pt")
    stock = TransformerModel.build_model(state["args"], task_with(TYPES, TYPES, joined=False))
    stock.load_state_dict(state["model"])
    torch.testing.assert_close(logits(stock.eval()), logits(model), rtol=1e-5, atol=1e-6)
    assert run("project", tmp_path / "folded.pt", tmp_path / "again.pt", *RANKS) == 0


def test_of_several_checkpoints_the_factors_are_averaged(tmp_path):
    first = trained(tmp_path / "checkpoint1.pt", *OURS)
    trained(tmp_path / "checkpoint2.pt", *OURS)
    state = load(tmp_path / "checkpoint2.pt")
    for name, tensor in state["model"].items():
        if name.endswith(("factors.A", "factors.B")):
            tensor.mul_(2)
    torch.save(state, tmp_path / "checkpoint2.pt")
    out = tmp_path / "folded.pt"
    assert run("fold", "--last", "2", tmp_path, out) == 0
    state = load(out)
    assert state["extra_state"]["averaged"] == ["checkpoint1.pt", "checkpoint2.pt"]
    # The mean of the factors is 1.5 times the first.
    name = "encoder.layers.0.fc1"
    expected = 1.5**2 * first.encoder.layers[0].fc1.weight.detach()
    torch.testing.assert_close(state["model"][f"{name}.weight"], expected)
    tied = [state["model"][f"{side}.embed_tokens.weight"] for side in ("encoder", "decoder")]
    assert tied[0].data_ptr() == tied[1].data_ptr()


@pytest.mark.parametrize("ema", [False, True])
@pytest.mark.parametrize("command", ["fold", "project", "pack"])
def test_of_weights_and_ema_it_takes_what_is_wanted(command, ema, tmp_path, capsys, caplog):
    """And says which."""
    kind = ["--arch", "transformer"] if command == "project" else OURS
    models = {
        "ema": trained(tmp_path / "ema.pt", *kind, seed=1),
        "model": trained(tmp_path / "t.pt", *kind),
    }
    state = load(tmp_path / "t.pt")
    state["extra_state"]["ema"] = models["ema"].state_dict()
    torch.save(state, tmp_path / "t.pt")
    wanted, option = models["ema" if ema else "model"], ["--ema"] if ema else []
    if command == "pack":
        model, _ = load_model(tmp_path / "t.pt", ema)
        found = model.encoder.layers[0].fc1.bias
    else:
        rest = RANKS if command == "project" else []
        assert run(command, tmp_path / "t.pt", tmp_path / "out.pt", *rest, *option) == 0
        assert ("EMA" in capsys.readouterr().out) == ema
        state = load(tmp_path / "out.pt")
        assert "ema" not in state["extra_state"]
        found = state["model"]["encoder.layers.0.fc1.bias"]
    assert torch.equal(found, wanted.encoder.layers[0].fc1.bias)
    assert ["--ema" in line for line in caplog.messages] == ([] if ema else [True])


def test_what_was_folded_is_projected_again(tmp_path, capsys):
    trained(tmp_path / "ours.pt", *OURS)
    run("fold", tmp_path / "ours.pt", tmp_path / "folded.pt")
    assert run("project", tmp_path / "folded.pt", tmp_path / "again.pt", *RANKS) == 0
    total = re.search(r"^ +(\S+) .* in all", capsys.readouterr().out, re.M)[1]
    assert float(total) < 0.01  # the table's padding row and the rows cut off take the rest


@pytest.mark.parametrize(
    "command, kind, words",
    [
        *((c, "missing", "there is no checkpoint") for c in ("project", "fold")),
        *((c, "truncated", "truncated") for c in ("project", "fold")),
        *((c, "hostile", "refused") for c in ("project", "fold")),
        *((c, "no model", "not a checkpoint of fairseq") for c in ("project", "fold")),
        *((c, "lstm", "of --arch lstm") for c in ("project", "fold")),
        ("project", "ours", "factorized already"),
        ("fold", "dense", "dense already"),
        ("fold", "other weights", "of another model"),
        ("project", "other sizes", "do not fit its settings"),
    ],
)
def test_what_cannot_be_converted_is_one_line(command, kind, words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"{kind}.pt"
    if kind in ("lstm", "other weights", "other sizes"):
        trained(path, *(["--arch", "transformer"] if command == "project" else OURS))
        state = load(path)
        if kind == "lstm":
            state["cfg"]["model"].arch = "lstm"
        else:
            state["model"]["encoder.layers.0.fc1.bias"] = torch.zeros(3)
        torch.save(state, path)
    elif kind in ("ours", "dense"):
        trained(path, *(OURS if kind == "ours" else ["--arch", "transformer"]))
    else:
        broken(tmp_path, kind)
    before = sorted(os.listdir(tmp_path))
    assert run(command, path, tmp_path / "out.pt", *(RANKS if command == "project" else [])) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and words in lines[0] and str(path) in lines[0]
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--layer-rank", "5000"], "--layer-rank 5000"),
        (["--factor-plan", "nothing.*=3"], "matches no matrix"),
        (["--layer-rank", "dense", "--embed-rank", "dense"], "every matrix"),
        (["--factorization", "monrch"], "--factorization monrch"),
    ],
)
def test_a_plan_that_does_not_fit_is_one_line(arguments, words, tmp_path, capsys):
    trained(tmp_path / "dense.pt", "--arch", "transformer")
    ranks = ["--layer-rank", "4", "--embed-rank", "4"]
    assert run("project", tmp_path / "dense.pt", tmp_path / "out.pt", *ranks, *arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and words in lines[0]
    assert not (tmp_path / "out.pt").exists()


@pytest.mark.parametrize("command", ["project", "fold"])
def test_an_output_is_replaced_only_by_force_and_when_whole(command, tmp_path, capsys, monkeypatch):
    source, out = tmp_path / "source.pt", tmp_path / "out.pt"
    trained(source, *(["--arch", "transformer"] if command == "project" else OURS))
    ranks = RANKS if command == "project" else []
    out.write_bytes(b"precious")
    assert run(command, source, out, *ranks) == 2
    assert "--force" in capsys.readouterr().err and out.read_bytes() == b"precious"

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        assert run(command, source, out, *ranks, "--force") == 2
    assert "No space left" in capsys.readouterr().err and out.read_bytes() == b"precious"
    assert run(command, source, tmp_path / "nowhere" / "out.pt", *ranks) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert run(command, source, out, *ranks, "--force") == 0
    assert load(out)["model"] and sorted(os.listdir(tmp_path)) == ["out.pt", "source.pt"]
