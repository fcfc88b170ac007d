"""The arrows between the package's rooms point one way, and few of them know fairseq."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "shapeshifter_fairseq"
# From the bottom up: a room imports itself and what stands above it here.
ROOMS = (
    "errors writing corpus translating factorizations layers together undrawn plan sizing "
    "beside_weights matrices factorizing adapters packing projection stages testing fairseq_side "
    "models hf theory runs plots commands cli"
).split()
FAIRSEQS_OWN = {"fairseq", "omegaconf"}
KNOW_FAIRSEQ = {"fairseq_side", "models", "commands"}


def imports_of(file: Path) -> Iterator[str]:
    """The modules that a file imports anywhere in it: ours with a dot before the room's name."""
    folders = file.relative_to(PACKAGE).parts[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            at = folders[: len(folders) - node.level + 1]
            path = [*at, *(node.module or "").split(".")]
            names = [path[0]] if path[0] else [alias.name for alias in node.names]
            yield from (f".{name}" for name in names)


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent != PACKAGE] + [
    PACKAGE / f"{room}.py" for room in ROOMS if (PACKAGE / f"{room}.py").exists()
]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_room_imports_only_what_is_below_it(file):
    room = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    below = {f".{name}" for name in ROOMS[: ROOMS.index(room) + 1]}
    found = set(imports_of(file))
    assert {name for name in found if name.startswith(".")} <= below
    if room not in KNOW_FAIRSEQ:
        assert not found & FAIRSEQS_OWN
    if room != "hf":
        assert "transformers" not in found


def test_every_file_is_in_a_room():
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES}
    assert rooms == set(ROOMS)
    others = {path.name for path in PACKAGE.glob("*.py")} - {f"{room}.py" for room in ROOMS}
    assert others == {"__init__.py", "__main__.py"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_file_can_be_read_in_one_sitting(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 300
