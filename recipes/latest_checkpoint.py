"""Print updates, "best" or "other", and path of a folder's newest whole checkpoint, if any.

fairseq writes a checkpoint aside and renames it, but copies it to checkpoint_best.pt, if it is the
best so far, and to checkpoint_last.pt in place: a run killed in that moment leaves a truncated copy
beside the whole checkpoint, which says itself whether it is the best.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint with the latest time whose archive is complete."""
    files = folder.glob("checkpoint*.pt")
    for path in sorted(files, key=lambda path: path.stat().st_mtime, reverse=True):
        if zipfile.is_zipfile(path):  # the directory of a zip archive is its end
            return path
    return None


def facts_of(checkpoint: Path) -> tuple[int, str]:
    """How many updates a checkpoint has seen, and "best" or "other"; its tensors are not read."""
    from shapeshifter_fairseq.fairseq_side.checkpoints import read_checkpoint

    state = read_checkpoint(checkpoint)
    loss, best = (state["extra_state"].get(name) for name in ("val_loss", "best"))
    is_best = loss is not None and loss == best  # as fairseq decides; None: not validated
    return state["optimizer_history"][-1]["num_updates"], "best" if is_best else "other"


if __name__ == "__main__":
    found = latest_checkpoint(Path(sys.argv[1]))
    if found is not None:
        print(*facts_of(found), found.resolve())
