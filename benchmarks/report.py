"""Join the parts' JSON files: results.json, table.md with a mark for each bar, and plots."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from figures import draw_bars, draw_growth, with_bars
from pairs import Row, line
from tabulate import tabulate

from shapeshifter_fairseq.plots import write_figure
from shapeshifter_fairseq.writing import whole_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the parts' JSON files are")
    folder = parser.parse_args().folder
    found = {path.stem: json.loads(path.read_text("utf-8")) for path in _parts_in(folder)}
    parts = {name: part["rows"] for name, part in found.items()}
    rows = [row for part in parts.values() for row in part]
    by_machine: dict[str, list[Row]] = {}  # parts that were not run again may be of another one
    for part in found.values():
        by_machine.setdefault(part["machine"], []).extend(part["rows"])
    text = "\n".join(f"{machine}\n\n{table(of_it)}\n" for machine, of_it in by_machine.items())
    machines = {name: part["machine"] for name, part in found.items()}
    results = json.dumps({"machines": machines, **parts}, indent=1)
    for name, content in (("results.json", results + "\n"), ("table.md", text)):
        with whole_file(folder / name) as part:
            part.write_text(content, encoding="utf-8")
    growth = [row for row in rows if "growth" in row]
    if groups := with_bars(parts):
        write_figure(draw_bars(groups), folder / "bars.png")
    if growth:
        write_figure(draw_growth(growth), folder / "growth.png")
        text += "\n".join(["", *map(line, growth), ""])
    print(text)


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
    return sorted(folder.glob("[a-i]-*.json"))


if __name__ == "__main__":
    main()
