"""docs/adding-a-family.md: its very code, registered, conforms and trains."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest
import torch

import shapeshifter_fairseq.models  # noqa: F401  (registers the architectures)
from shapeshifter_fairseq import ShapeshifterError, factorizations
from shapeshifter_fairseq.factorizations import FAMILIES
from shapeshifter_fairseq.fairseq_side.counting import build_models, count

pytestmark = pytest.mark.slow

COUNTING = count.__module__
PAGE = Path(__file__).parents[1] / "docs" / "adding-a-family.md"
FILE, LINES, TEST, OWN = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)


def run(name: str, code: str) -> ModuleType:
    """Run a file of the page as the module that it would be."""
    module = module_from_spec(spec_from_loader(name, loader=None))
    exec(compile(code, f"{PAGE.name}: {name}", "exec"), module.__dict__)
    return module


Tucker = run("shapeshifter_fairseq.factorizations.tucker", FILE).Tucker
with pytest.MonkeyPatch.context() as patch:
    patch.setitem(FAMILIES, "tucker", Tucker)
    TestTucker = run("tests.factorizations.test_tucker", TEST).TestTucker


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """Only for the tests of this file: others know the families by number."""
    module = ModuleType(Tucker.__module__)
    module.Tucker = Tucker
    monkeypatch.setitem(sys.modules, Tucker.__module__, module)  # where pickles look for it
    monkeypatch.setitem(FAMILIES, "tucker", Tucker)


def test_the_example_is_short():
    assert len(FILE.splitlines()) <= 40


def test_families_are_registered_as_the_page_says():
    source = Path(factorizations.__file__).read_text("utf-8")
    for line in LINES.splitlines():
        as_another = line.replace("tucker", "low_rank").replace("Tucker", "LowRank")
        assert as_another in source.splitlines()


def test_the_tiny_architecture_trains_with_it():
    torch.manual_seed(0)
    options = ["--factorization", "tucker", "--layer-rank", "8", "--embed-rank", "40"]
    options += ["--dropout", "0"]
    _, model, _ = build_models("shapeshifter_transformer_tiny", 100, 100, True, options)
    assert type(model.decoder.layers[0].fc1.factors) is Tucker
    counts = count("shapeshifter_transformer_tiny", 100, 100, True, options)
    assert counts["embedding"] == Tucker.parameter_count(100, 128, 40)
    tokens = torch.randint(4, 100, (2, 7))

    def loss() -> torch.Tensor:
        logits, _ = model(tokens, torch.tensor([7, 7]), tokens)
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    before = loss()
    before.backward()
    optimizer.step()
    assert loss() < before


def test_it_cannot_be_projected():
    with pytest.raises(ShapeshifterError, match="Tucker cannot approximate"):
        Tucker(8, 6, 2).project_(torch.ones(8, 6), gain=1.0)


def test_a_user_dir_of_ones_own_trains_it(tmp_path):
    """In a process of its own: the page's user-dir, and fairseq's way of importing one."""
    folder = tmp_path / "families of mine" / "own"
    folder.mkdir(parents=True)
    absolute = FILE.replace("from .factorization ", "from shapeshifter_fairseq.factorizations ")
    (folder / "tucker.py").write_text(absolute, encoding="utf-8")
    (folder / "__init__.py").write_text(OWN, encoding="utf-8")
    program = f"""
from argparse import Namespace
from fairseq.utils import import_user_module
import_user_module(Namespace(user_dir={str(folder)!r}))
from {COUNTING} import count
options = ["--factorization", "tucker", "--layer-rank", "8", "--embed-rank", "40"]
print(count("shapeshifter_transformer_tiny", 100, 100, True, options)["embedding"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split()[-1:] == [str(Tucker.parameter_count(100, 128, 40))], done.stderr
