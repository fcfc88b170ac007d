"""What the hook under fairseq's commands says of an error while a checkpoint is loaded."""

from __future__ import annotations

import pytest
import torch
from fairseq.checkpoint_utils import load_checkpoint_to_cpu

from shapeshifter_fairseq.fairseq_side.one_line_errors import one_line


@pytest.mark.parametrize(
    "error, words",
    [
        (RuntimeError("PytorchStreamReader failed"), "truncated or damaged"),
        (OSError(5, "Input/output error"), "cannot be read: Input/output error"),
        (MemoryError(), None),
        (KeyboardInterrupt(), None),
    ],
    ids=repr,
)
def test_only_what_the_file_is_to_blame_for_is_its_damage(error, words, tmp_path, monkeypatch):
    path = str(tmp_path / "sound.pt")
    torch.save({"model": {}}, path)

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(torch.serialization, "_load", fail)
    with pytest.raises(type(error)) as raised:
        load_checkpoint_to_cpu(path)
    line = one_line(raised.value)
    assert line is None if words is None else line.startswith(path) and words in line
