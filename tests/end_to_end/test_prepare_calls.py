"""Call the prepare-*.sh of the benchmarks for help, wrongly, or where a tool is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.data_prep.scripts import bare_python, prepare, refused

NAMES = ["multi30k", "iwslt14", "wmt14", "wmt16", "wmt18", "gigaword"]


@pytest.mark.parametrize("name", NAMES)
def test_help_teaches(name: str) -> None:
    result = prepare(name, "--help")
    assert result.status == 0
    assert any(line.startswith(f"  bash data-prep/prepare-{name}.sh") for line in result.out)
    assert all(len(line) <= 104 for line in result.out)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["de", "ro"], 2, "'de ro' is none of its language pairs SRC TGT: en de, en fr, en cs"),
        (["--workers", "many"], 2, "--workers"),
        (["--vocab-size", "0"], 2, "--vocab-size '0'"),
        (["--mirror"], 2, "--mirror needs a value"),
        (["--form", "x"], 2, "unknown option --form"),
        (["--from", "/no/such"], 1, "no folder --from /no/such"),
        (["--from", "/tmp", "--mirror", "x"], 2, "exclude each other"),
        (["--checksums", "/no/such"], 1, "no file --checksums"),
    ],
)
def test_wrong_call_is_one_line(arguments: list[str], status: int, words: str) -> None:
    assert words in refused(prepare("multi30k", *arguments), status)


def test_missing_tools_are_one_line(tmp_path: Path) -> None:
    where = ["--from", tmp_path, "--work", tmp_path / "w", "--dest", tmp_path / "d"]
    no_python = prepare("multi30k", *where, environment={"PYTHON": "no-such-python"})
    assert "set PYTHON" in refused(no_python)
    no_modules = prepare("multi30k", *where, environment={"PYTHON": bare_python(tmp_path)})
    message = refused(no_modules)
    assert "run: bash recipes/install.sh" in message
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("bash", "dirname", "basename", "getconf", "cat", "mkdir", "ls"):
        (tools / tool).symlink_to(shutil.which(tool) or tool)
    message = refused(prepare("multi30k", *where, environment={"PATH": str(tools)}))
    assert "flock not found; install util-linux" in message
