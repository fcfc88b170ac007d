"""The parts' JSON files as one: results.json, table.md with a mark for each bar, and pictures."""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path

import torch
from figures import draw_bars, draw_growth
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
    if any("ratio" in row and row["at_most"] is not None for row in rows):
        _save(draw_bars(parts), folder / "bars.png")
    if growth:
        _save(draw_growth(growth), folder / "growth.png")
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


def _parts_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("[a-g]-*.json"))


def _save(figure: Figure, path: Path) -> None:
    part = path.with_suffix(".part")
    figure.savefig(part, format="png", dpi=160)
    part.replace(path)


def _write(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


if __name__ == "__main__":
    main()
