"""The tables of docs/word2ket.md: what word2ket saves by our formulas, beside the dissertation.

python docs/word2ket.py
"""

from __future__ import annotations

from tabulate import tabulate

import shapeshifter_fairseq.models  # noqa: F401  (registers the architectures)
from shapeshifter_fairseq.factorizations import FAMILIES
from shapeshifter_fairseq.fairseq_side.counting import count

# Table, family, order, rank, types, width, width of the dense table that it is compared with, and
# what the dissertation says.
CLAIMS = [
    ("1, Gigaword", "word2ket", 4, 1, 30428, 256, 256, "16-fold"),
    ("1, Gigaword", "word2ketxs", 2, 10, 30428, 400, 256, "over 100-fold"),
    ("1, Gigaword", "word2ketxs", 4, 1, 30428, 256, 256, "34,000-fold"),
    ("2, IWSLT'14", "word2ketxs", 2, 30, 32011, 400, 256, "lower than 100-fold"),
    ("2, IWSLT'14", "word2ketxs", 2, 10, 32011, 400, 256, "100-fold"),
    ("2, IWSLT'14", "word2ketxs", 3, 10, 32011, 1000, 256, "higher than 100-fold"),
    ("3, SQuAD", "word2ketxs", 2, 2, 118655, 300, 300, "1,000-fold; 99.93% less"),
    ("3, SQuAD", "word2ketxs", 4, 1, 118655, 300, 300, "almost 10^5-fold; 380 parameters"),
]

# Of the whole LSTM, with Gigaword's 30,428 types: options on top of the architecture's.
WHOLE = [
    "--factorization word2ket/order=4 --embed-rank 1",
    "--factorization word2ketxs/order=2 --embed-rank 10",
    "--factorization word2ketxs/order=4 --embed-rank 1",
    "--factorization word2ketxs/order=4 --embed-rank 1 --share-all-embeddings",
]


def claims() -> str:
    """The savings of single tables, in Markdown."""
    rows = []
    for table, family, order, rank, types, width, dense_width, said in CLAIMS:
        numbers = FAMILIES[family].parameter_count(types, width, rank, order=order)
        folds = (f"{types * columns / numbers:,.1f}" for columns in (dense_width, width))
        setting = [table, family, f"{order}/{rank}", f"{types:,} x {width:,}"]
        rows.append([*setting, f"{numbers:,}", dense_width, *folds, said])
    head = ["table", "family", "order/rank", "types x width", "parameters", "dense width"]
    head += ["fold", "fold, equal width", "dissertation"]
    return tabulate(rows, head, tablefmt="github", disable_numparse=True)


def whole_models() -> str:
    """The savings of the whole model, in Markdown."""
    rows = []
    for options in WHOLE:
        counts = count("word2ket_lstm_gigaword", 30428, 30428, True, options.split())
        totals = (f"{counts[name]:,}" for name in ("dense_total", "total"))
        rows.append([f"`{options}`", *totals, f"{counts['fold']:.1f}"])
    head = ["`--arch word2ket_lstm_gigaword`", "dense LSTM", "with factors", "fold"]
    return tabulate(rows, head, tablefmt="github", disable_numparse=True)


if __name__ == "__main__":
    print(claims(), whole_models(), sep="\n\n")
