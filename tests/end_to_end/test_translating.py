"""`shapeshifter translate`: every word of what comes, and one line about what is wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import torch
from fairseq.modules import SinusoidalPositionalEmbedding

import shapeshifter_fairseq.models  # noqa: F401  (lets checkpoints load weights-only)
from recipes.engine import Engine
from recipes.evaluation import RESULT, Evaluation
from recipes.experiments.deploy import Deployment
from recipes.files import lines_of
from shapeshifter_fairseq import ShapeshifterError
from shapeshifter_fairseq.corpus import Corpus
from shapeshifter_fairseq.fairseq_side.packing import pack
from shapeshifter_fairseq.packing import unpack
from shapeshifter_fairseq.translating import Translator, halves

from .conftest import ROOT
from .test_old_checkpoints import FOLDER

CHECKPOINT = FOLDER / "kronecker.pt"
COMMAND = [sys.executable, "-m", "shapeshifter_fairseq", "translate"]


@pytest.fixture(scope="module")
def data(corpus, tmp_path_factory) -> Path:
    """The corpus of the old checkpoint, with a subword model that leaves its words whole."""
    folder = tmp_path_factory.mktemp("data") / "corpus"
    shutil.copytree(corpus, folder)
    facts = {"source": "xx", "target": "yy", "subwords": "subword_nmt"}
    (folder / "corpus.json").write_text(json.dumps(facts))
    tens = [f"s {ten}" for ten in range(1, 4)]
    units = [f"s {one}</w>" for one in range(10)]
    both = [f"s{ten} {one}</w>" for ten in range(1, 4) for one in range(10)]
    (folder / "bpecodes").write_text("\n".join(["#version: 0.2", *units, *tens, *both, ""]))
    return folder


def deployed(checkpoint: Path, data: Path, folder: Path, quantization: str = "float32") -> Path:
    pack(checkpoint, data, folder.with_suffix(".pack"), "fp32")
    unpack(folder.with_suffix(".pack"), folder, quantization)
    return folder


@pytest.fixture(scope="module")
def model(data, tmp_path_factory) -> Path:
    return deployed(CHECKPOINT, data, tmp_path_factory.mktemp("model") / "float32")


@pytest.fixture(scope="module")
def sentences(corpus) -> list[str]:
    return lines_of(corpus.parent / "test.xx")


def shell(model: Path, *options: str, stdin: bytes) -> tuple[int, str, str]:
    done = subprocess.run(
        [*COMMAND, model, *options], input=stdin, capture_output=True, timeout=300
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def one(translator: Translator, line: str) -> str:
    (found,) = translator.translate([line], beam=1)
    return found


# --- long lines ---------------------------------------------------------------------------------


def test_a_long_line_is_the_sum_of_its_halves(model, sentences):
    """1,600 words are 8 times 200; before, what was past 1,024 had no influence."""
    words = (" ".join(sentences).split() * 30)[:1600]
    translator, half = Translator(model), len(words) // 2
    parts = [one(translator, " ".join(part)) for part in (words[:half], words[half:])]
    assert one(translator, " ".join(words)) == " ".join(parts)
    assert parts[1]


def test_what_fits_is_translated_as_a_whole(model, sentences):
    """And what has more than --max-length subwords in parts."""
    left, right = (
        next(line for line in lines if len(line.split()) == 5)
        for lines in (sentences, sentences[::-1])
    )
    whole, short = Translator(model), Translator(model, max_length=9)
    (found,) = whole.translate_pieces([f"{left} {right}".split()], beam=1)
    assert found.parts == 1
    (found,) = short.translate_pieces([f"{left} {right}".split()], beam=1)
    assert found.parts >= 2
    assert one(short, f"{left} {right}") == f"{one(short, left)} {one(short, right)}"


def test_a_line_whose_translation_is_too_long_is_halved_too(model, sentences):
    """fairseq would cut it."""
    translator = Translator(model)
    line = max(sentences, key=lambda line: len(one(translator, line).split())).split()
    translator.longest_target = len(one(translator, " ".join(line)).split()) - 1
    (found,) = translator.translate_pieces([line], beam=1)
    parts = [one(translator, " ".join(part)) for part in halves(line, "subword_nmt")]
    assert " ".join(found.pieces) == " ".join(parts)
    assert found.parts > 1 and not found.cut


def test_who_loses_a_word_is_told(model):
    status, out, error = shell(model, "--max-length", "1", stdin=b"\n\ns1 s2\n")
    assert status == 0 and out.startswith("\n\n")
    cut = "line 3: a part of its translation is cut at 1 subwords"
    assert error == f"shapeshifter: {cut}\n"


@pytest.mark.parametrize("kind", ["learned", "sinusoidal"])
def test_a_model_of_few_positions(kind, model, data, sentences, tmp_path):
    """Of 12 and 10, with the same numbers: the same translations, and long lines in parts."""
    state = torch.load(CHECKPOINT, weights_only=True)
    settings = state["cfg"]["model"]
    settings.max_source_positions, settings.max_target_positions = 12, 10
    for side, rows in (("encoder", 12), ("decoder", 10)):
        if kind == "learned":
            setattr(settings, f"{side}_learned_pos", True)
            table = SinusoidalPositionalEmbedding.get_embedding(rows + 2, 32, 1)
            state["model"][f"{side}.embed_positions.weight"] = table
    torch.save(state, tmp_path / "few.pt")
    few, full = Translator(deployed(tmp_path / "few.pt", data, tmp_path / "few")), Translator(model)
    assert (few.longest_source, few.longest_target) == (11, 9)
    expected = list(full.translate(sentences, beam=1))
    whole = [len(text.split()) < 10 for text in expected]
    assert any(whole)
    found = list(few.translate(sentences, beam=1))
    for text, right, fits in zip(found, expected, whole):
        assert not fits or text == right
    words = " ".join(sentences).split()[:20]
    parts = [one(few, " ".join(part)) for part in (words[:10], words[10:])]
    assert one(few, " ".join(words)) == " ".join(parts)


# --- every end is a line or silence -------------------------------------------------------------


def test_a_byte_that_is_not_utf8_is_named_after_the_lines_before_it(model, sentences):
    lines = [sentences[0].encode()] * 320
    lines[299] = b"s1 \xff s2"
    status, out, error = shell(model, "--beam", "1", stdin=b"\n".join(lines))
    assert status == 2 and out == f"{one(Translator(model), sentences[0])}\n" * 299
    message = "line 300: byte 0xff is not UTF-8; convert it with iconv"
    assert error == f"shapeshifter: error: {message}\n"


def test_each_line_is_answered_when_it_comes_and_a_closed_pipe_is_silent(model, sentences):
    with subprocess.Popen(
        [*COMMAND, model, "--beam", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    ) as process:
        for sentence in sentences[:2]:
            process.stdin.write(f"{sentence}\n".encode())
            assert process.stdout.readline().decode().rstrip("\n")  # the input is still open
        process.stdout.close()
        process.stdin.write(f"{sentence}\n".encode() * 3)
        process.stdin.close()
        assert process.stderr.read() == b"" and process.wait() == 1


@pytest.mark.parametrize(
    "how, words",
    [
        ({"max_length": 0}, "--max-length 0: give a number from 1 to 10000"),
        ({"threads": -1}, "--threads -1: give a number from 0 to 10000"),
        ({"beam": 0}, "--beam 0: give a number from 1 to 10000"),
        ({"damage": "model.bin"}, "damaged: "),
        ({"damage": "bpecodes"}, "damaged: "),
        ({"damage": "corpus.json"}, "corpus.json does not describe a corpus"),
    ],
)
def test_mistakes_are_one_line(how, words, model, tmp_path):
    if name := how.pop("damage", None):
        model = shutil.copytree(model, tmp_path / "damaged")
        (model / name).write_bytes(b"\xff\xfe")
    beam = how.pop("beam", 1)
    with pytest.raises(ShapeshifterError, match=words) as error:
        list(Translator(model, **how).translate(["s1"], beam))
    assert len(str(error.value).splitlines()) == 1


def test_a_byte_order_mark_is_no_part_of_the_text(model, sentences):
    translator = Translator(model)
    assert one(translator, f"\ufeff{sentences[0]}") == one(translator, sentences[0])


# --- beside fairseq, and in a service -----------------------------------------------------------


def test_deploying_does_not_ask_for_what_fairseq_makes_of_empty_lines(
    model, data, sentences, tmp_path
):
    """fairseq makes a sentence up; every other line has to be as it has it."""
    out, data = tmp_path / "out", shutil.copytree(data, tmp_path / "data")
    texts = ["", *sentences, " "]
    expected = list(Translator(model).translate(texts, beam=1))
    assert expected[0] == expected[-1] == "" and all(expected[1:-1])
    for name, lines in (("xx", texts), ("yy", expected)):
        (data / "raw").mkdir(exist_ok=True)
        (data / "raw" / f"test.{name}").write_text("".join(f"{line}\n" for line in lines))
    shutil.copytree(model, out / "float32")
    shutil.copytree(model, out / "int8")
    (out / "fairseq").mkdir()
    facts = {"seconds": 1.0, "beam": 1}
    (out / "fairseq" / RESULT).write_text(json.dumps(facts))
    said = ["made up", *expected[1:-1], "made up"]
    deployment = Deployment(Engine(out), data, Corpus.read(data), CHECKPOINT, Evaluation(cpu=True))
    for wrong in (0, 1):
        said[1] += " wrong" * wrong
        (out / "fairseq" / "hypotheses.txt").write_text("".join(f"{line}\n" for line in said))
        deployment._compare(out / "deploy.json")
        row = json.loads((out / "deploy.json").read_text())["CTranslate2, float32"]
        same = len(sentences) - wrong
        assert (row["other"], row["same"], row["expected"]) == (wrong, same, len(sentences))
    assert "\n2 sentences need not be the same" in (out / "deploy.md").read_text()


def test_the_service_of_the_docs_runs(model, sentences, tmp_path):
    text = (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?serve_forever.*?)```", text, re.DOTALL)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "small").symlink_to(model)
    assert "8000" in code
    command = [sys.executable, "-c", code.replace("8000", str(port))]
    how = {"env": {**os.environ, "PYTHONPATH": str(ROOT)}, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=tmp_path, **how) as service:
        try:
            body = "".join(f"{line}\n" for line in sentences[:3])
            expected = "".join(f"{line}\n" for line in Translator(model).translate(sentences[:3]))
            assert _post(port, body) == expected
        finally:
            service.kill()


def _post(port: int, body: str) -> str:
    """What a service answers, once it has started."""
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}", body.encode()) as answer:
                return answer.read().decode()
        except urllib.error.URLError:
            time.sleep(0.1)
    raise AssertionError("the service does not answer")
