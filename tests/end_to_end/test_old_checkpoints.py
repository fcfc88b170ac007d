"""Checkpoints of commit 349f4b2 load, translate and train on as they did then.

The files are in `tests/old_checkpoints`, with `make.py`, which wrote them, and `expected.json`,
which has the commands and what the code of that commit answered.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from transformers import T5ForConditionalGeneration

import shapeshifter_fairseq.hf  # noqa: F401  (lets transformers load factors)

from .conftest import ROOT, SMALL, call, losses, train
from .test_project_and_fold import generate

FOLDER = ROOT / "tests" / "old_checkpoints"
# The corpus that each was trained on.
CHECKPOINTS = {
    "kronecker": "joined",
    "families": "two",
    "half": "joined",
    "staged": "joined",
    "lstm": "two",
    "projected": "joined",
}
# A model with three stages, after 0, 100 and 200 updates; its checkpoint is of update 175.
STAGED = [
    *(*SMALL, "--encoder-layers", "1", "--decoder-layers", "1", "--dropout", "0"),
    *("--layer-rank", "16", "--embed-rank", "30", "--stage-updates", "100"),
    *("--max-update", "203", "--update-epoch-batch-itr", "True"),
    *("--no-epoch-checkpoints", "--disable-validation"),
]


@pytest.fixture(scope="session")
def data(corpus, two_dictionaries) -> dict[str, Path]:
    return {"joined": corpus, "two": two_dictionaries}


@pytest.fixture(scope="session")
def expected() -> dict[str, dict]:
    return json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))


def fingerprint(data: Path) -> str:
    """Of what a translation depends on beside the model: dictionaries and test sentences."""
    files = [*sorted(data.glob("dict.*.txt")), data.parent / "test.xx"]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def logits(folder: Path) -> list[float]:
    """Some of the T5's, for fixed tokens."""
    model, info = T5ForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info  # nothing was missing, and nothing left over
    tokens = torch.tensor([[5, 9, 7, 1]])
    with torch.no_grad():
        found = model.eval()(input_ids=tokens, decoder_input_ids=tokens).logits
    return found[0, :, ::10].flatten().tolist()


def same(found: list[tuple[float, str]], old: list[str]) -> None:
    """Whether scores and texts are those of `expected.json`."""
    scores, texts = zip(*(line.split(" ", 1) for line in old))
    assert [text for _, text in found] == [*texts]
    assert [score for score, _ in found] == pytest.approx([*map(float, scores)], abs=1e-3)


def test_the_corpora_are_those_of_then(data, expected):
    """Else the other tests fail for nothing: `make_corpus` has changed, not the models."""
    assert {name: fingerprint(folder) for name, folder in data.items()} == expected["corpora"]


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_it_translates_as_it_did(name, data, expected):
    found = generate(data[CHECKPOINTS[name]], FOLDER / f"{name}.pt", "--beam", "2")
    same(found, expected[name]["hypotheses"])


def test_folded_it_is_stock_fairseqs_and_translates_as_it_did(corpus, expected, tmp_path):
    call("shapeshifter", "fold", FOLDER / "kronecker.pt", tmp_path / "folded.pt")
    found = generate(corpus, tmp_path / "folded.pt", "--beam", "2", without_us=True)
    same(found, expected["kronecker"]["hypotheses"])


def test_training_goes_on_from_its_update_within_a_stage(corpus, expected, tmp_path):
    shutil.copy(FOLDER / "staged.pt", tmp_path / "checkpoint_last.pt")
    log = train(corpus, tmp_path, *STAGED)
    assert "@ 175 updates" in log
    found = losses(log)
    assert set(found) == set(range(176, 204)) and all(map(math.isfinite, found.values()))
    # Until the next stage, whose factors may be found in another way some day. So many updates
    # show whether Adam's averages are those of their parameters.
    old = expected["staged"]["losses_after_it"]
    for update in range(176, 201):
        assert found[update] == pytest.approx(old[str(update)], abs=2e-3), update


def test_hugging_faces_folder_loads_and_computes_what_it_did(expected):
    old = [float(number) for number in expected["t5"]["logits"].split()]
    assert logits(FOLDER / "t5") == pytest.approx(old, abs=1e-3)
