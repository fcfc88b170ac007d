"""Write the checkpoints of this folder, and what the code of that day answers to them.

Commit 349f4b2 ran it, on a CPU, before the core of the package was rewritten:

    python -m tests.old_checkpoints.make

It is kept to show how the files came to be. They are not to be made again: those of a later commit
would be no old checkpoints. So it writes to `KEPT`, from where they were copied here, and stops if
that is there already.
"""

from __future__ import annotations

import json
import shlex
import shutil
from importlib.metadata import version
from pathlib import Path

from tests.end_to_end.conftest import DENSE, SMALL, TRAINING, call, losses, make_corpus
from tests.end_to_end.test_old_checkpoints import CHECKPOINTS, STAGED, fingerprint, logits
from tests.end_to_end.test_project_and_fold import SHAPESHIFTER, generate

# Relative to the root: fairseq keeps these paths in its checkpoints, and no machine's belong there.
WORK = Path("build/old_checkpoints")
KEPT = WORK / "kept"

LAST = ["--no-epoch-checkpoints", "--disable-validation"]
NO_STATE = [*LAST, "--no-save-optimizer-state"]
ONE_BLOCK = ["--encoder-layers", "1", "--decoder-layers", "1"]
OURS = ["--user-dir", "shapeshifter_fairseq", *SMALL]

# Every family but kronecker; most with options or sizes that do not divide the matrix.
FAMILIES = ",".join(
    """
    encoder.*.q_proj=low_rank:12
    encoder.*.k_proj=block_low_rank:2
    encoder.*.v_proj=monarch:3/blocks=5
    encoder.*.out_proj=phm:4
    encoder.*.fc1=tensor_train:8
    encoder.*.fc2=word2ketxs:16/order=3
    encoder.embed_tokens=word2ket:4/norm=1
    decoder.*.encoder_attn.*=phm:3
    decoder.*.self_attn.out_proj=dense
    decoder.*.fc1=tensor_train:12/cores=2
    decoder.*.fc2=word2ketxs:12
    decoder.embed_tokens=word2ket:4/order=3
    decoder.output_projection=tensor_train:16
    """.split()
)
LSTM_SIZES = (
    "--encoder-embed-dim 32 --encoder-hidden-size 32 --decoder-embed-dim 32 "
    "--decoder-hidden-size 32 --decoder-out-embed-dim 32"
).split()
# What fairseq-train is given beside the data, the training and the folder.
OPTIONS = {
    "dense": [*DENSE, *ONE_BLOCK, *NO_STATE, "--max-update", "1000"],
    "kronecker": [
        *(*OURS, "--layer-rank", "6", "--embed-rank", "20"),
        *("--layer-gain", "1.5", "--embed-gain", "4", *NO_STATE, "--max-update", "1000"),
    ],
    "families": [
        *(*OURS, *ONE_BLOCK, "--arch", "shapeshifter_transformer", "--layer-rank", "4"),
        *("--encoder-attention-heads", "4", "--decoder-attention-heads", "4"),
        *("--factorization", "block_low_rank/blocks=3", "--factor-plan", FAMILIES),
        *(*NO_STATE, "--max-update", "1500"),
    ],
    # Trained in half precision. fairseq writes its numbers in single precision all the same.
    "half": [
        *(*OURS, *ONE_BLOCK, "--arch", "phm_transformer_tiny", "--embed-rank", "4"),
        *("--memory-efficient-fp16", "--fp16-init-scale", "4", *NO_STATE, "--max-update", "1500"),
    ],
    # The only one with an optimizer's state. The table and the decoder's block are in factors; the
    # encoder's is due at update 200.
    "staged": [
        *("--user-dir", "shapeshifter_fairseq", *STAGED, "--save-interval-updates", "175"),
        *("--finetune-from-model", f"{WORK}/dense/checkpoint_last.pt"),
    ],
    "lstm": [
        *("--user-dir", "shapeshifter_fairseq", "--arch", "word2ket_lstm_iwslt", *LSTM_SIZES),
        *("--factorization", "word2ketxs/order=3", "--embed-rank", "8"),
        *("--factor-plan", "decoder.embed_tokens=word2ket:2/order=4/norm=1"),
        *(*NO_STATE, "--max-update", "600"),
    ],
}
PROJECT = ["--layer-rank", "24", "--factor-plan", "*embed_tokens=word2ket:5,*.fc?=low_rank:28"]
T5 = f"""
import torch
from transformers import T5Config, T5ForConditionalGeneration
from shapeshifter_fairseq import hf
torch.manual_seed(0)
sizes = dict(vocab_size=60, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
config = T5Config(**sizes, decoder_start_token_id=0, tie_word_embeddings=True)
plan = "*=4,shared=8,*relative*=dense,*.wo=monarch:2/blocks=4"
hf.factorize(T5ForConditionalGeneration(config), plan).save_pretrained("{KEPT}/t5")
"""


def make() -> None:
    """Write them all, and `expected.json` beside them."""
    KEPT.mkdir(parents=True)
    made_by: dict[str, list[str]] = {}

    def run(name: str, *command: str) -> str:
        made_by.setdefault(name, []).append(shlex.join(command))
        done = call(*command)
        return done.stdout + done.stderr

    data = {name: make_corpus(WORK / name, joined=name == "joined") for name in ("joined", "two")}
    for name, options in OPTIONS.items():
        place = [str(data[CHECKPOINTS.get(name, "joined")]), "--save-dir", f"{WORK}/{name}"]
        log = run(name, "fairseq-train", *place, *TRAINING, *options)
        if name == "staged":
            after = {update: loss for update, loss in losses(log).items() if update > 175}
    made_by["staged"] = made_by["dense"] + made_by["staged"]
    for name in ("kronecker", "families", "half", "lstm"):
        shutil.copy(WORK / name / "checkpoint_last.pt", KEPT / f"{name}.pt")
    (within,) = (WORK / "staged").glob("checkpoint_*_175.pt")
    shutil.copy(within, KEPT / "staged.pt")
    made_by["projected"] = made_by["dense"].copy()
    dense = f"{WORK}/dense/checkpoint_last.pt"
    run("projected", *SHAPESHIFTER, "project", dense, f"{KEPT}/projected.pt", *PROJECT)
    run("t5", "python", "-c", T5)

    expected: dict[str, dict] = {
        "made_with": {name: version(name) for name in ("torch", "ve-fairseq", "transformers")},
        "corpora": {name: fingerprint(folder) for name, folder in data.items()},
    }
    for name, corpus in CHECKPOINTS.items():
        found = generate(data[corpus], KEPT / f"{name}.pt", "--beam", "2")
        hypotheses = [f"{score:.5f} {text}" for score, text in found]
        expected[name] = {"commands": made_by[name], "hypotheses": hypotheses}
    expected["staged"]["losses_after_it"] = after
    numbers = " ".join(f"{number:.5f}" for number in logits(KEPT / "t5"))
    expected["t5"] = {"commands": made_by["t5"], "logits": numbers}
    (KEPT / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    make()
