"""The parts' JSON files as one: results.json, table.md with a mark for each bar, growth.png."""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path

import torch
from matplotlib.figure import Figure
from pairs import Row, line
from tabulate import tabulate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the parts' JSON files are")
    folder = parser.parse_args().folder
    parts = {path.stem: json.loads(path.read_text("utf-8")) for path in _parts_in(folder)}
    rows = [row for found in parts.values() for row in found]
    text = f"{machine()}\n\n{table(rows)}\n"
    _write(folder / "results.json", json.dumps({"machine": machine(), **parts}, indent=1) + "\n")
    _write(folder / "table.md", text)
    growth = [row for row in rows if "growth" in row]
    if growth:
        part = folder / "growth.part"
        draw(growth).savefig(part, format="png", dpi=160)
        part.replace(folder / "growth.png")
        text += "\n".join(["", *map(line, growth), ""])
    print(text)


def machine() -> str:
    """What absolute times belong to."""
    processor = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [text.partition(":")[2].strip() for text in file if "model name" in text]
        processor = names[0]
    except (OSError, IndexError):
        pass  # no Linux, or a processor without a name
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    malloc = "" if "GLIBC_TUNABLES" in os.environ else "not "
    return (
        f"{platform.node()}: {processor}, {os.cpu_count()} cores, {gpu}; Python "
        f"{platform.python_version()}, torch {torch.__version__}, freed memory {malloc}kept"
    )


def table(rows: list[Row]) -> str:
    """Every row with a ratio or a bar, in Markdown."""
    cells = [_cells(row) for row in rows if "growth" not in row]
    head = ["what", "ratio to dense or peer", "range", "pairs", "ours", "theirs", "bar", ""]
    return tabulate(cells, head, tablefmt="github", disable_numparse=True)


def _cells(row: Row) -> list[str]:
    bar = row["at_most"]
    wanted = "" if bar is None else f"{bar:.3g}"
    if "not_measured" in row:
        return [row["what"], f"not measured: {row['not_measured']}", *[""] * 4, wanted, ""]
    mark = "" if bar is None else "✓" if row["ratio"] <= bar else "✗"
    return [
        row["what"],
        f"{row['ratio']:.3f}",
        f"{row['low']:.3f} to {row['high']:.3f}" if row["pairs"] > 1 else "",
        str(row["pairs"]),
        f"{row['ours']:.4g} {row['unit']}",
        f"{row['theirs']:.4g} {row['unit']}",
        wanted,
        mark,
    ]


def draw(growth: list[Row]) -> Figure:
    """Cost against each of the things that it grows with, with the fitted exponents."""
    figure = Figure(figsize=(3.2 * len(growth), 3.2), layout="constrained")
    for axes, row in zip(figure.subplots(1, len(growth), squeeze=False)[0], growth):
        for name, exponent, colour in zip(
            ("theirs", "ours"), reversed(row["exponents"]), ("#0072B2", "#D55E00")
        ):
            label = f"{'dense' if name == 'theirs' else 'ours'}, exponent {exponent:.2f}"
            axes.loglog(row["values"], row[name], "o-", color=colour, label=label)
        axes.set_xlabel(row["growth"])
        axes.legend(frameon=False, fontsize=8)
        axes.grid(color="#dddddd", linewidth=0.6)
    figure.axes[0].set_ylabel("seconds, forward and backward")
    return figure


def _parts_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("[a-g]-*.json"))


def _write(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


if __name__ == "__main__":
    main()
