"""The figures in docs/ that a script can make are those that it makes."""

import subprocess
import sys
from pathlib import Path

from shapeshifter_fairseq.factorizations import Word2KetXS

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_the_tables_of_word2ket():
    command = [sys.executable, DOCS / "word2ket.py"]
    environment = {"PYTHONPATH": str(DOCS.parent), "PATH": ""}
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment, timeout=300
    )
    tables = done.stdout.strip().split("\n\n")
    text = (DOCS / "word2ket.md").read_text(encoding="utf-8")
    assert len(tables) == 2 and all(table in text for table in tables)


def test_word2ketxs_holds_118655_embeddings_in_380_parameters():
    """Dissertation, figure 5: four matrices of 19 x 5."""
    assert Word2KetXS.parameter_count(118655, 300, 1, order=4) == 380
    table = Word2KetXS(118655, 300, rank=1, order=4)
    assert sum(parameter.numel() for parameter in table.parameters()) == 380
    assert table.F.shape == (4, 1, 19, 5)
