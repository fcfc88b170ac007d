"""`import shapeshifter_fairseq`: what it offers, and what it leaves alone until it is asked for."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from importlib.metadata import metadata, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import shapeshifter_fairseq

ROOT = Path(__file__).resolve().parents[1]


def run(script: str, *paths: Path) -> str:
    """What a Python process prints that finds modules in these folders first."""
    places = os.pathsep.join(map(str, [*paths, ROOT]))
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": places},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


UNTOUCHED = """
assert sys.excepthook is sys.__excepthook__
assert logging.root.manager.disable == 0
"""


def test_the_import_alone_imports_nothing_else():
    script = (
        "import logging, sys, shapeshifter_fairseq"
        + UNTOUCHED
        + "assert not logging.root.handlers\n"
        "print(sorted({'torch', 'fairseq', 'numpy'} & set(sys.modules)))"
    )
    assert run(script) == "[]"


def test_the_model_registers_its_architectures_and_leaves_the_session_alone():
    script = (
        "import logging, sys; from shapeshifter_fairseq import ShapeshifterTransformerModel"
        + UNTOUCHED
        + "from fairseq.models import ARCH_MODEL_REGISTRY as known\n"
        "print(known['shapeshifter_transformer_iwslt'] is ShapeshifterTransformerModel)\n"
        "print({'phm_transformer_tiny', 'word2ket_lstm_iwslt'} <= set(known))"
    )
    assert run(script) == "True\nTrue"


@pytest.mark.parametrize("what", ["factorize", "hf.factorize"])
def test_a_broken_fairseq_breaks_the_fairseq_model_alone(what, tmp_path):
    (tmp_path / "fairseq").mkdir()
    (tmp_path / "fairseq" / "__init__.py").write_text("raise RuntimeError('broken')\n")
    make = {
        "factorize": "model = factorize(torch.nn.Linear(8, 8), Plan.parse('*=2'))",
        "hf.factorize": (
            "from shapeshifter_fairseq import hf\n"
            "from transformers import BertConfig, BertModel\n"
            "sizes = dict(hidden_size=8, intermediate_size=8, num_attention_heads=2)\n"
            "model = BertModel(BertConfig(num_hidden_layers=1, vocab_size=50, **sizes))\n"
            "hf.factorize(model, '*=2')"
        ),
    }
    script = f"""
import torch
from shapeshifter_fairseq import *
{make[what]}
fold(model)
try:
    from shapeshifter_fairseq import ShapeshifterTransformerModel
except RuntimeError as error:
    print(error)
"""
    assert run(script, tmp_path) == "broken"


def test_type_checkers_see_what_there_is():
    tree = ast.parse((ROOT / "shapeshifter_fairseq" / "__init__.py").read_text("utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: f".{node.module}" for node in block.body for alias in node.names}
    assert seen == shapeshifter_fairseq._MODULES
    assert set(seen) <= set(dir(shapeshifter_fairseq))
    assert set(shapeshifter_fairseq.__all__) == set(seen) - {"ShapeshifterTransformerModel"}


def test_a_submodule_does_not_take_the_place_of_a_function():
    script = (
        "import shapeshifter_fairseq.factorizing, shapeshifter_fairseq as package; "
        "print(callable(package.factorize) and callable(package.fold))"
    )
    assert run(script) == "True"


def test_what_there_is_not_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'shapeshifter_fairseq' has no attribute 'fctorize'"):
        shapeshifter_fairseq.fctorize  # noqa: B018


def test_what_it_claims_to_run_with_is_what_was_tried():
    """omegaconf 2.4 refuses fairseq's --adam-betas; matplotlib of the recipes needs Python 3.11."""
    facts = metadata("shapeshifter-fairseq")
    wanted = map(Requirement, facts.get_all("Requires-Dist"))
    omegaconf = next(each for each in wanted if each.name == "omegaconf")
    assert "2.4.0" not in omegaconf.specifier and version("omegaconf") in omegaconf.specifier
    python = SpecifierSet(facts["Requires-Python"])
    assert "3.10" not in python and "3.11" in python and "3.12" in python


def test_translating_begins_without_torchs_compiler():
    """To import it takes two seconds, and folding a table did once."""
    script = (
        "import sys; from torch import nn; from shapeshifter_fairseq import Plan, factorize, fold\n"
        "fold(factorize(nn.Embedding(30, 8), Plan.parse('*=2')))\n"
        "print('torch._dynamo' in sys.modules)"
    )
    assert run(script) == "False"
