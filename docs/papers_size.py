"""Draws docs/results/papers-size.png: loss against parameters, Shapeshifter beside dense models.

python docs/papers_size.py
"""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib.figure import Figure

from shapeshifter_fairseq.plots import COLOURS, write_figure

RESULTS = Path(__file__).parent / "results"
UPDATES = 11_000  # the last that all models reached
KINDS = {  # a label, and what to write at the dot of each model
    "Shapeshifter (Kronecker factors)": {
        "shapeshifter": "ranks 64 and 256",
        "small": "ranks 24 and 128",
    },
    "dense Transformer": {"dense": "512 wide", "narrow": "228 wide"},
}


def plot() -> Figure:
    figure = Figure(figsize=(7, 3.8), layout="constrained")
    axes = figure.subplots()
    for marker, colour, (label, models) in zip("os", COLOURS, KINDS.items()):
        dots = [_size_and_loss(model) for model in models]
        axes.plot(*zip(*dots), marker, color=colour, label=label, ms=8)
        for (size, loss), text in zip(dots, models.values()):
            place = {"xytext": (10, -4), "textcoords": "offset points"}
            axes.annotate(f"{text}: {size:.1f} M, {loss:.3f}", (size, loss), **place)
    axes.set_xlabel("parameters, millions")
    axes.set_ylabel(
        f"validation loss after {UPDATES:,} updates,\nbits per subword (lower is better)"
    )
    axes.set_xlim(0, 56)
    axes.margins(y=0.12)
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("Tatoeba German-English, 6+6 layers, one seed", loc="left", fontsize=11)
    axes.legend(frameon=False)
    return figure


def _size_and_loss(model: str) -> tuple[float, float]:
    file = RESULTS / "papers-size" / "tatoeba.de-en" / f"{model}.seed1.json"
    run = json.loads(file.read_text(encoding="utf-8"))
    loss = {point["updates"]: point["nll_loss"] for point in run["validation"]}
    return run["parameters"] / 1e6, loss[UPDATES]


if __name__ == "__main__":
    write_figure(plot(), RESULTS / "papers-size.png")
