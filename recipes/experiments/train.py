"""Train one model with the papers' setting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .. import devices
from ..console import Parser, is_dry_run
from ..devices import Devices
from ..engine import Engine
from ..training import train

ABOUT = """\
Train on DATA (what fairseq-preprocess made) into SAVE_DIR with the setting of the papers: Adam
(0.9, 0.98), learning rate 5e-4 after 15,000 warm-up updates, then falling with the inverse square
root, dropout 0.3, weight decay 1e-4, label smoothing 0.1. You may add any option of
fairseq-train; it overrides these. A short training needs fewer --warmup-updates. Two options are
needed or this script's own:

  --max-update N          updates of the training
  --tokens-per-update N   tokens of an update, on all devices together, in place of --max-tokens and
                          --update-freq; then --max-tokens (default 4096) is the most that a device
                          holds at once

If interrupted, run the same command again: it resumes. The full log is SAVE_DIR/train.log, the
curves for TensorBoard are in SAVE_DIR/tensorboard."""

EPILOG = f"""\
environment:
{devices.HELP}
  DRY_RUN           if not empty: print the command and run nothing
  PYTHON            the Python that has fairseq (default: .venv's, else python3)

example:
  bash recipes/train.sh data-bin/my-corpus runs/my-model --arch shapeshifter_transformer_iwslt \\
    --max-update 50000 --tokens-per-update 32768"""


def main(arguments: Sequence[str]) -> None:
    usage = "DATA SAVE_DIR --arch ARCH --max-update N [options of fairseq-train]"
    parser = Parser(usage, ABOUT, EPILOG)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("save", type=Path, metavar="SAVE_DIR")
    args = parser.parse_args(arguments[:2])
    where = Devices.find(is_dry_run())
    engine = Engine(args.save, dry=is_dry_run())
    if where.node_rank:  # the first machine records the steps
        args.save.mkdir(parents=True, exist_ok=True)
        train(engine, args.data, arguments[2:], where)
        return
    with engine.alone():
        train(engine, args.data, arguments[2:], where)
