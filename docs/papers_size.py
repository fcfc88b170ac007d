"""Draws docs/results/papers-size.png: loss against parameters, Shapeshifter beside narrow models.

python docs/papers_size.py
"""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib.figure import Figure

from shapeshifter_fairseq.runs import COLOURS, write_figure

RESULTS = Path(__file__).parent / "results"


def plot(models: list[dict]) -> Figure:
    figure = Figure(figsize=(7, 3.8), layout="constrained")
    axes = figure.subplots()
    for kind, label, marker, colour in (
        ("Shapeshifter", "Shapeshifter (Kronecker factors)", "o", COLOURS[0]),
        ("dense", "dense Transformer", "s", COLOURS[1]),
    ):
        of_kind = [model for model in models if model["kind"] == kind]
        sizes = [model["parameters"] / 1e6 for model in of_kind]
        axes.plot(sizes, [m["nll"] for m in of_kind], marker, color=colour, label=label, ms=8)
        for size, model in zip(sizes, of_kind):
            text = f"{model['model']}: {size:.1f} M, {model['nll']:.3f}"
            axes.annotate(text, (size, model["nll"]), (10, -4), textcoords="offset points")
    axes.set_xlabel("parameters, millions")
    axes.set_ylabel("validation loss after 11,000 updates,\nbits per subword (lower is better)")
    axes.set_xlim(0, 56)
    axes.margins(y=0.12)
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("Tatoeba German-English, 6+6 layers, one seed", loc="left", fontsize=11)
    axes.legend(frameon=False)
    return figure


if __name__ == "__main__":
    models = json.loads((RESULTS / "papers-size.json").read_text(encoding="utf-8"))["models"]
    write_figure(plot(models), RESULTS / "papers-size.png")
