"""Run by test_hf_staging under torchrun: `-m tests.two_processes FOLDER`."""

import sys
from pathlib import Path

import torch

from .test_hf_staging import bert, staged, trainer_of

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    options = {"per_device_train_batch_size": 2}
    whole = trainer_of(folder, staged(), model=bert(dropout=0).double(), **options)
    whole.train()
    again = trainer_of(
        folder, staged(), model=bert(dropout=0).double(), save_strategy="no", **options
    )
    again.train(resume_from_checkpoint=str(folder / "checkpoint-5"))
    for name, trainer in (("whole", whole), ("again", again)):
        torch.save(trainer.model.state_dict(), folder / f"{name}{trainer.args.process_index}.pt")
