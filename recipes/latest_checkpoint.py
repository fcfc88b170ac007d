"""Print the newest whole checkpoint of a folder after its updates; nothing if there is none.

fairseq writes a checkpoint aside and renames it, but copies it to checkpoint_last.pt in place: a
run killed in that moment leaves a truncated checkpoint_last.pt beside a whole earlier one.
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


def updates_of(checkpoint: Path) -> int:
    """How many updates a checkpoint has seen; its tensors are not read."""
    import torch

    import shapeshifter_fairseq  # noqa: F401  (lets checkpoints load weights-only)

    state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    return state["optimizer_history"][-1]["num_updates"]


if __name__ == "__main__":
    found = latest_checkpoint(Path(sys.argv[1]))
    if found is not None:
        print(updates_of(found), found.resolve())
