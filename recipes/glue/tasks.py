"""Tasks of GLUE, from the tab-separated files of its archives or from the Hugging Face hub."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import IO

# The archives do not quote: a quotation mark is a part of its sentence.
FORM = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
SPLITS = {"train": "train", "dev": "validation"}  # the archives' names, and the hub's


@dataclass(frozen=True)
class Task:
    """A task, with the columns and labels of its files."""

    folder: str
    texts: tuple[str, ...]  # one column, or two for pairs of sentences
    label: str
    labels: tuple[str, str]  # those of the classes 0 and 1
    on_hub: str


TASKS = {
    "mrpc": Task("MRPC", ("#1 String", "#2 String"), "Quality", ("0", "1"), "mrpc"),
    "rte": Task(
        "RTE", ("sentence1", "sentence2"), "label", ("entailment", "not_entailment"), "rte"
    ),
    "sst-2": Task("SST-2", ("sentence",), "label", ("0", "1"), "sst2"),
}


@dataclass(frozen=True)
class Examples:
    """Sentences and their classes."""

    texts: list[list[str]]  # for each column of the task, a text for each example
    classes: list[int]


def files(task: Task, source: Path) -> list[Path]:
    """The files to train and to score on, packed or not; raises a ValueError if one is missing."""
    found = []
    for split in SPLITS:
        plain = source / task.folder / f"{split}.tsv"
        packed = plain.with_name(f"{plain.name}.gz")
        if not (plain.exists() or packed.exists()):
            raise ValueError(f"--from {source} holds no {task.folder}/{split}.tsv or .tsv.gz")
        found.append(plain if plain.exists() else packed)
    return found


def read(task: Task, file: Path) -> Examples:
    """The examples of a file; raises a ValueError that names it if it is of another form."""
    texts: list[list[str]] = [[] for _ in task.texts]
    classes = []
    try:
        with _opened(file) as lines:
            rows = csv.DictReader(lines, **FORM)
            for row in rows:
                line, label = f"line {rows.line_num}", row[task.label]
                if None in row or None in row.values():
                    raise ValueError(f"{line} does not have as many columns as the first line")
                if label not in task.labels:
                    choices = " or ".join(task.labels)
                    raise ValueError(f"{line} has {label!r} where {choices} belongs")
                for column, found in zip(task.texts, texts):
                    found.append(row[column])
                classes.append(task.labels.index(label))
        if not classes:
            raise ValueError("it holds no example")
    except (csv.Error, EOFError, gzip.BadGzipFile, KeyError, ValueError) as error:
        why = f"there is no column {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{file} is not of the form of {task.folder}'s files: {why}") from None
    return Examples(texts, classes)


def _opened(file: Path) -> IO[str]:
    open_ = gzip.open if file.suffix == ".gz" else open
    return open_(
        file, "rt", encoding="utf-8-sig", newline=""
    )  # MRPC's files begin with a byte order mark


def write_from_hub(task: Task, folder: Path) -> None:
    """Fetch a task from the hub, and write the files that `read` reads."""
    from datasets import load_dataset

    columns = ("sentence",) if len(task.texts) == 1 else ("sentence1", "sentence2")
    for split, theirs in SPLITS.items():
        with (folder / f"{split}.tsv").open("w", encoding="utf-8") as file:
            print(*task.texts, task.label, sep="\t", file=file)
            for row in load_dataset("nyu-mll/glue", task.on_hub, split=theirs):
                texts = (" ".join(row[column].split()) for column in columns)
                print(*texts, task.labels[row["label"]], sep="\t", file=file)
