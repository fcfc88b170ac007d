"""Fine-tune one model on one task, dense or in factors, and score it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mode
from typing import Any

from sklearn.metrics import accuracy_score, f1_score
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    EvalPrediction,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    logging,
    set_seed,
)

from shapeshifter_fairseq import hf
from shapeshifter_fairseq.matrices import matrices
from shapeshifter_fairseq.plan import Family
from shapeshifter_fairseq.sizing import largest_rank
from shapeshifter_fairseq.stages import block_of

from ..results import made_with
from .setting import BATCH, DENSE, TOKENS, Run, folder_of
from .tasks import TASKS, Examples, read


def fine_tune(run: Run, data: Sequence[Path], on_cpu: bool, folder: Path) -> dict[str, Any]:
    """Train on the first file, score on the second; returns the result, with losses in bits.

    Args:
        folder: a place for what `Trainer` may write.

    Raises:
        ShapeshifterError: if the family cannot hold a matrix in so few numbers.
        ValueError: if the model or a file cannot be used.
    """
    train, dev = (read(TASKS[run.task], file) for file in data)
    logging.set_verbosity_error()  # no warning that the classifier is new
    logging.disable_progress_bar()  # of the loading
    set_seed(run.seed)  # of the classifier, of dropout and of the order
    try:
        source = folder_of(run.model)
        # A classifier of another task may have more labels: it is drawn anew.
        model = AutoModelForSequenceClassification.from_pretrained(
            source, num_labels=2, ignore_mismatched_sizes=True
        )
        tokenizer = AutoTokenizer.from_pretrained(source)
    except OSError as error:
        raise ValueError(f"--model {run.model}: {' '.join(str(error).split())}") from error
    dense = in_blocks(model)
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=run.epochs,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=BATCH,
        learning_rate=run.lr,
        seed=run.seed,
        train_sampling_strategy="group_by_length",
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
        eval_strategy="epoch",
        logging_steps=20,
        save_strategy="no",
        report_to="none",
    )
    trainer = Trainer(
        model,
        arguments,
        data_collator=DataCollatorWithPadding(tokenizer),
        train_dataset=encoded(tokenizer, train),
        eval_dataset=encoded(tokenizer, dev),
        compute_metrics=scores,
        callbacks=in_factors(model, run, math.ceil(len(train.classes) / BATCH) * run.epochs),
    )
    seconds = trainer.train().metrics["train_runtime"]
    majority = accuracy_of_majority(train.classes, dev.classes)
    return {
        **result_of(run, trainer.state.log_history, majority),
        "parameters": sum(part.numel() for part in model.parameters()),
        "kept": 100 * in_blocks(model) / dense,
        "seconds": seconds,
        **made_with(),
    }


def in_factors(model: nn.Module, run: Run, updates: int) -> list[TrainerCallback]:
    """Turn a model's blocks into factors now, or give `Trainer` the callback that will.

    Embeddings, pooler and classifier stay dense, as in the paper.
    """
    if run.factorization == DENSE:
        return []
    family, rules = Family.parse(run.factorization, "--factorization"), {}
    options = "".join(f"/{name}={value}" for name, value in family.options.items())
    for matrix in matrices(model):
        name = next(iter(matrix.modules))
        if block_of(name) and not matrix.is_embedding:
            most = int(run.keep / 100 * matrix.weight.numel())
            rank = largest_rank({tuple(matrix.weight.shape): 1}, family, most)
            rules[name] = f"{name}={family.name}:{rank}{options}"
    if not rules:
        raise ValueError(
            f"--model {run.model} has no nn.Linear in a list of blocks named layer, layers, "
            "block, blocks or h"
        )
    plan = ",".join(rules.values())
    if not run.staged:
        hf.factorize(model, plan, init="project")
        return []
    # The last stage comes at half of the training. The paper has 500 updates a stage, so that six
    # blocks take longer than five epochs of MRPC.
    stages = len({block_of(name) for name in rules})
    every = max(1, updates // 2 // max(1, stages - 1))
    return [hf.StagedFactorization(plan, updates=every, order="last-first")]


def in_blocks(model: nn.Module) -> int:
    """How many numbers the matrices of the blocks hold, dense or in factors; no biases."""
    parts = model.named_parameters()
    return sum(part.numel() for name, part in parts if block_of(name) and part.dim() > 1)


def encoded(tokenizer: PreTrainedTokenizerBase, examples: Examples) -> list[dict[str, Any]]:
    """The inputs of the model for each example, not padded."""
    columns = tokenizer(*examples.texts, truncation=True, max_length=TOKENS)
    rows = zip(*columns.values(), examples.classes, strict=True)
    return [dict(zip([*columns, "label"], row)) for row in rows]


def scores(predicted: EvalPrediction) -> dict[str, float]:
    """Accuracy, and F1 of the class 1, in percent."""
    both = predicted.label_ids, predicted.predictions.argmax(-1)
    found = {"accuracy": accuracy_score(*both), "F1": f1_score(*both, zero_division=0)}
    return {name: 100 * value for name, value in found.items()}


def accuracy_of_majority(train: Sequence[int], dev: Sequence[int]) -> float:
    """The accuracy on `dev` of always giving the most frequent class of `train`, in percent."""
    # By the same function as in `scores`: 100 * 279 / 408 is a little less than 279 / 408 * 100.
    return 100 * accuracy_score(dev, [mode(train)] * len(dev))


def has_failed(accuracy: float, majority: float) -> bool:
    """Whether a run is no better than always giving one class: Gupta et al., section 3."""
    return accuracy <= majority


def result_of(run: Run, history: Sequence[dict[str, float]], majority: float) -> dict[str, Any]:
    """The result of a run, from what `Trainer` logged."""
    epochs = [
        {"updates": logged["step"], "nll_loss": _bits(logged["eval_loss"])}
        | {name: logged[f"eval_{name}"] for name in ("accuracy", "F1")}
        for logged in history
        if "eval_loss" in logged
    ]
    last = epochs[-1]
    return {
        **asdict(run),
        "updates": last["updates"],
        "training_nll": _bits(history[-1]["train_loss"]),  # the mean over all updates
        "validation": epochs,
        "accuracy": last["accuracy"],
        "F1": last["F1"],
        "majority": majority,
        "failed": has_failed(last["accuracy"], majority),
        "command": run.command,
    }


def _bits(nats: float) -> float | None:
    """A loss in bits; None if it is not finite, which JSON does not know."""
    return nats / math.log(2) if math.isfinite(nats) else None
