"""What fairseq's commands say of an error while a checkpoint is loaded."""

from __future__ import annotations

import resource

import pytest
import torch
from fairseq import checkpoint_utils

import shapeshifter_fairseq.models  # noqa: F401  (lets fairseq name the file)
from shapeshifter_fairseq import ShapeshifterError
from shapeshifter_fairseq.fairseq_side.one_line_errors import one_line


def raised_by_loading(path: str) -> BaseException:
    with pytest.raises(BaseException) as raised:
        checkpoint_utils.load_checkpoint_to_cpu(path)
    return raised.value


@pytest.mark.parametrize(
    "error, words",
    [
        (RuntimeError("PytorchStreamReader failed"), "truncated or damaged"),
        (IndexError("pop from empty list"), "truncated or damaged"),
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
    raised = raised_by_loading(path)
    line = one_line(raised)
    if words is None:
        assert raised is error and line is None
    else:
        assert isinstance(raised, ShapeshifterError) and raised.__cause__ is error
        assert line.startswith(path) and words in line


def test_a_file_that_is_missing_or_no_checkpoint_of_fairseqs_is_named(tmp_path):
    missing, other = str(tmp_path / "missing.pt"), str(tmp_path / "other.pt")
    assert one_line(raised_by_loading(missing)) == f"there is no checkpoint {missing}"
    torch.save({"weights": torch.ones(1)}, other)
    line = one_line(raised_by_loading(other))
    assert line.startswith(other) and "not a checkpoint of fairseq's" in line


def test_what_fairseq_wraps_is_found_and_what_interrupts_is_not_explained():
    def while_handling(new: BaseException) -> BaseException:
        with pytest.raises(type(new)) as raised:
            try:
                raise ShapeshifterError("x.pt is of another model")
            except ShapeshifterError:
                raise new  # noqa: B904  (as fairseq's trainer does)
        return raised.value

    assert one_line(while_handling(Exception("Cannot load"))) == "x.pt is of another model"
    assert one_line(while_handling(KeyboardInterrupt())) is None
    assert one_line(while_handling(MemoryError())) is None
    assert one_line(RuntimeError("another's")) is None


def test_what_was_read_is_saved_as_it_was(tmp_path):
    """The name that errors need does no harm in a file: it loads weights-only, without us."""
    state = {"model": {"w": torch.ones(2)}, "args": None, "cfg": None, "extra_state": {}}
    history = {"criterion_name": "C", "lr_scheduler_state": {}, "num_updates": 7}
    state |= {"optimizer_history": [history], "last_optimizer_state": None}
    state["extra_state"] = {"train_iterator": {"epoch": 1}}
    torch.save(state, tmp_path / "a.pt")
    read = checkpoint_utils.load_checkpoint_to_cpu(str(tmp_path / "a.pt"))
    assert read["model"].file == str(tmp_path / "a.pt")
    torch.save(read, tmp_path / "b.pt")
    again = torch.load(tmp_path / "b.pt", weights_only=True)
    assert dict(again["model"]).keys() == {"w"}


def test_no_room_for_a_checkpoint_is_named_and_leaves_no_half(tmp_path):
    """A limit of the shell stands in for the disk; torch hides both behind words of its own."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    path = tmp_path / "checkpoint1.pt"
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, limits[1]))
    try:
        with pytest.raises(Exception) as raised:
            checkpoint_utils.torch_persistent_save({"w": torch.zeros(9000)}, str(path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    why = "File too large; make room, then run the same command again"
    assert one_line(raised.value) == f"{path} cannot be written: {why}"
    assert not list(tmp_path.iterdir())
    copied = OSError(28, "No space left on device", "checkpoint1.pt", None, "checkpoint_last.pt")
    assert one_line(copied).startswith("checkpoint_last.pt cannot be written: No space left")
    checkpoint_utils.torch_persistent_save({"w": torch.zeros(9000)}, str(path))
    assert path.exists()


def test_bf16_without_a_tpu_is_told_the_way():
    line = one_line(AttributeError("'NoneType' object has no attribute 'xla_device'"))
    assert line.startswith("--bf16") and "fairseq-hydra-train common.bf16=true" in line
