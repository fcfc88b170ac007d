"""Figures in docs/ are those that a script makes, where one can, and say where they come from."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shapeshifter_fairseq.factorizations import FAMILIES, Word2KetXS

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]
FIGURE = re.compile(r"\**(\d+\.\d|\d{1,3},\d{3})")
COMMIT = re.compile(r"\b(?=\w*\d)[0-9a-f]{7}\b")
COMMAND = re.compile(
    r"^```bash|`([A-Z]+=\S+ )?(bash|python|shapeshifter)\s|in\sPython|by\shand|not\skept",
    re.MULTILINE,
)
COMPUTED = "computed, not measured"


def tables_of_figures(page: str) -> Iterator[tuple[str, str]]:
    """Each table with two or more figures, and the text that speaks of it.

    That is the text of its section, of the sections around that, and of the top of the page.
    """
    around: list[str] = []
    for section in re.split(r"^(?=##+ )", page, flags=re.MULTILINE):
        level = len(section) - len(section.lstrip("#"))
        del around[max(level - 1, 0) :]
        around.append(section)
        for table in re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE):
            cells = [cell.strip() for cell in table.split("|")]
            if len([cell for cell in cells if FIGURE.match(cell)]) > 1:
                yield table, "".join(around).replace(table, "")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_table_of_figures_has_its_command_and_its_commit(path):
    """Or it says that the command is not kept, or that a formula gives the figures."""
    for table, text in tables_of_figures(path.read_text(encoding="utf-8")):
        assert COMMIT.search(text) or COMMIT.search(table) or COMPUTED in text, table
        assert COMMAND.search(text) or COMPUTED in text, table


def test_a_table_without_command_or_commit_is_found():
    table = "| model | nll |\n| --- | --- |\n| a | 1.50 |\n| b | 2.25 |\n"
    one = f"## One\n\nCommit 0a1b2c3.\n\n### In it\n\n{table}\n"
    page = f"# Page\n\nBy `bash x.sh`.\n\n{one}## Two\n\n{table}"
    (_, first), (_, second) = tables_of_figures(page)
    assert COMMIT.search(first) and COMMAND.search(first)
    assert not COMMIT.search(second) and COMMAND.search(second)


def test_the_tables_of_the_papers_size_are_those_of_its_files():
    files = sorted((DOCS / "results" / "papers-size" / "tatoeba.de-en").glob("*.json"))
    assert len(files) == 4
    readme, results = (page.read_text(encoding="utf-8") for page in (PAGES[0], DOCS / "results.md"))
    for file in files:
        run = json.loads(file.read_text(encoding="utf-8"))
        loss = {point["updates"]: f"{point['nll_loss']:.3f}" for point in run["validation"]}
        size = run["parameters"]
        (row,) = re.findall(rf"^\|.*\| \**{size / 1e6:.1f} M .*$", readme, re.MULTILINE)
        assert row.strip(" |*").endswith(loss[11_000])
        (row,) = re.findall(rf"^\| .* \| {size:,}.*$", results, re.MULTILINE)
        in_table = (2000, 4000, 6000, 8000, 10_000, 11_000, 12_000)
        assert row.split(" | ")[2:9] == [loss.get(at, "not measured") for at in in_table]


def runs_in_files() -> dict[Path, list[float]]:
    """The losses and scores of each training in docs/results.

    The folders last/ and test/ beside a training have the scores of other checkpoints and sets.
    """
    found: dict[Path, list[float]] = {}
    for file in (DOCS / "results").rglob("*.json"):
        run = json.loads(file.read_text(encoding="utf-8"))
        if "scores" in run:
            folder = file.parent.parent if file.parent.name in ("last", "test") else file.parent
            figures = [point["nll_loss"] for point in run.get("validation", [])]
            figures += [run.get("last_training_nll") or 0.0]
            figures += [score["value"] for score in run["scores"].values()]
            found.setdefault(folder / file.stem, []).extend(figures)
    return found


def test_each_row_of_the_notebook_is_a_training_in_a_file():
    runs, head, checked = runs_in_files(), [], 0
    for line in (DOCS / "tries.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip(" *") for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            head = []
        elif not head:
            head = cells
        wanted = [
            cell
            for name, cell in zip(head, cells)
            if re.search(r"nll|BLEU|chrF2|^\d+$", name) and re.fullmatch(r"\d+\.\d+", cell)
        ]
        if wanted:  # sacreBLEU rounds too, so the last digit may be one off at a 5
            near = [(float(cell), 0.501 * 10 ** -len(cell.partition(".")[2])) for cell in wanted]
            assert any(
                all(any(abs(figure - value) <= by for figure in run) for value, by in near)
                for run in runs.values()
            ), line
            checked += 1
    assert checked > 50


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)", path.read_text("utf-8"))
    for target, anchor in links:
        page = path.parent / target if target else path
        assert page.exists(), target
        assert not anchor or anchor in headings(page), f"{target}#{anchor}"


def test_the_tables_of_word2ket():
    command = [sys.executable, DOCS / "word2ket.py"]
    environment = {"PYTHONPATH": str(DOCS.parent), "PATH": ""}
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment, timeout=300
    )
    tables = done.stdout.strip().split("\n\n")
    text = (DOCS / "word2ket.md").read_text(encoding="utf-8")
    assert len(tables) == 2 and all(table in text for table in tables)


def test_every_family_is_in_both_tables():
    for page in (DOCS.parent / "README.md", DOCS / "options.md"):
        assert set(FAMILIES) <= set(re.findall(r"^\| `(\w+)` \|", page.read_text("utf-8"), re.M))


def test_word2ketxs_holds_118655_embeddings_in_380_parameters():
    """Dissertation, figure 5: four matrices of 19 x 5."""
    assert Word2KetXS.parameter_count(118655, 300, 1, order=4) == 380
    table = Word2KetXS(118655, 300, rank=1, order=4)
    assert sum(parameter.numel() for parameter in table.parameters()) == 380
    assert table.F.shape == (4, 1, 19, 5)
