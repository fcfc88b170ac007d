"""SQuAD's reader: its files, its scores, its size, and made-up files of the same form to F1."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

from recipes.squad.questions import Text, read, vocabulary
from recipes.squad.reader import LONGEST, Reader, best_spans
from recipes.squad.score import score
from recipes.squad.train import inputs
from shapeshifter_fairseq import Plan, factorize

from .end_to_end.test_experiment_runs import kill_when, result_of
from .end_to_end.test_experiments import dry_run, options, script

RECIPE = "word2ket-squad.sh"
TINY = "--width 32 --hidden 32 --layers 1 --dropout 0 --lr 1e-2".split()


def write_questions(file: Path, paragraphs: int) -> None:
    """Where somebody lives; names are drawn at random, so an answer has to be copied."""
    draw = random.Random(file.name)

    def name(words: int) -> str:
        return " ".join("".join(draw.choices("abcdefg", k=6)).title() for _ in range(words))

    found = []
    for number in range(paragraphs):
        lives = [(name(1), name(draw.randint(1, 3))) for _ in range(4)]
        each = {"context": "".join(f"{one} lives in {place}. " for one, place in lives)}
        each["qas"] = [
            {
                "id": f"{number}.{one}",
                "question": f"Where does {one} live?",
                "answers": [{"text": place, "answer_start": each["context"].index(f"{place}. ")}],
            }
            for one, place in lives
        ]
        found.append(each)
    file.write_text(json.dumps({"data": [{"title": "homes", "paragraphs": found}]}), "utf-8")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("the questions")
    write_questions(folder / "train-v1.1.json", 150)
    write_questions(folder / "dev-v1.1.json", 20)
    return folder


def words(files: Path, run: Path, epochs: int) -> list[str]:
    own = ["--order", "4", "--rank", "1", "--from", str(files), "--out", str(run)]
    return [*own, "--epochs", str(epochs), "--", *TINY]


def test_from_json_to_f1_killed_and_resumed(files, tmp_path):
    run, whole = tmp_path / "a run", tmp_path / "whole"
    kill_when(run, "checkpoint.pt", words(files, run, 2), RECIPE)
    said = script(RECIPE, *words(files, run, 2), DEVICE="cpu")
    assert "| F1 " in said and (run / "train.log").read_text().count("=== train") == 2
    script(RECIPE, *words(files, whole, 2), DEVICE="cpu")
    result, uncut = result_of(run), result_of(whole)
    for each in (*result["validation"], *uncut["validation"]):
        each.pop("seconds")
    assert result["validation"] == uncut["validation"] and len(uncut["validation"]) == 2
    assert result["embeddings"] == 4 * 7 * 3  # 7^4 reaches the words, 3^4 the 32 columns
    asked = read(files / "dev-v1.1.json")
    answers = json.loads((run / "predictions.json").read_text("utf-8"))
    right = sum(answers[one.id] == one.answers[0] for one in asked)
    assert result["scores"]["exact match"]["value"] == pytest.approx(100 * right / len(asked))
    assert result["scores"]["F1"]["value"] > 80
    assert "already there, skipped" in script(RECIPE, *words(files, run, 2), DEVICE="cpu")
    fewer = script(RECIPE, *words(files, run, 1), DEVICE="cpu", fails=True)
    assert "checkpoint.pt has 2 epochs; give --epochs 2 or more, or another --out" in fewer
    other = [*words(files, run, 2), "--lr", "1"]
    assert "now --lr 1;" in script(RECIPE, *other, DEVICE="cpu", fails=True)


def test_the_command():
    (command,) = dry_run(RECIPE, "--model", "word2ket", "--order", "3").values()
    found = options(command)
    assert (found["--factorization"], found["--embed-rank"]) == ("word2ket/norm=1/order=3", "1")


@pytest.mark.parametrize(
    "own, said",
    [
        ("--from /nowhere", "--from /nowhere holds no train-v1.1.json (it comes from https:"),
        ("--model dense --rank 2", "do not go with --model dense"),
        ("-- --lr 1 --epochs 3", "--epochs after --: the script sets it; see --help"),
        ("--lr 1", "unrecognized arguments: --lr 1 (options of the reader come after --)"),
    ],
)
def test_mistakes_are_one_line(own, said):
    error = script(RECIPE, *own.split(), fails=True, DEVICE="cpu")
    assert len(error.splitlines()) == 1 and said in error


@pytest.mark.parametrize(
    "plan, size",
    [("dense", 118655 * 300), ("word2ketxs:2/order=2", 24840), ("word2ketxs:1/order=4", 380)],
)
def test_table_3(plan, size):
    with torch.device("meta"):
        reader = factorize(Reader(118655, 300, 128, 3, 0.4), Plan.parse(f"embed={plan}"))
    assert sum(each.numel() for each in reader.embed.parameters()) == size
    assert sum(each.numel() for each in reader.parameters()) == size + 4043197


def test_padding_changes_nothing_and_gradients_reach_all(files):
    asked = read(files / "dev-v1.1.json")[:8]
    numbers = vocabulary(asked)
    reader = Reader(len(numbers) + 1, 12, 4, 2, 0.0)
    together = reader(*inputs(asked, numbers))
    for row, one in zip(together, asked):
        length = len(one.paragraph.words)
        torch.testing.assert_close(row[:, :length], reader(*inputs([one], numbers))[0])
        assert (row[:, length:] == -torch.inf).all()
    together[:, :, 0].sum().backward()
    # Neither bias that is the same for all words changes a softmax over them.
    assert [x for x, y in reader.named_parameters() if not y.grad.any()] in ([], ["weigh.bias"])


def test_the_best_span_is_the_best_of_all_that_are_short_enough():
    torch.manual_seed(1)
    for scores, found in zip(rows := torch.randn(20, 2, 40), best_spans(rows).tolist()):
        spans = [(i, j) for i in range(40) for j in range(i, min(40, i + LONGEST))]
        assert tuple(found) == max(spans, key=lambda span: scores[0, span[0]] + scores[1, span[1]])


@pytest.mark.parametrize(
    "answer, references, f1, exact",
    [
        ("The  Cat!", ["dogs", "a cat"], 100, 100),
        ("cat sat sat", ["cat sat", "dog"], 80, 0),
        ("the", ["a"], 0, 100),  # no word is left: nothing in common, and still the same
        ("cat", ["dog"], 0, 0),
    ],
)
def test_scores_of_an_answer(answer, references, f1, exact):
    assert score([answer], [references]) == {"F1": pytest.approx(f1), "exact match": exact}


@pytest.mark.parametrize("piece, words", [("1990", "1990s"), ("(in Par", "(in Paris"), (" a", "a")])
def test_an_answer_is_the_words_that_it_touches(piece, words):
    text = Text("It was a song of the 1990s (in Paris).")
    assert text.between(*text.span(text.text.index(piece), len(piece))) == words


NO_ANSWER = {"context": "a", "qas": [{"id": "7", "question": "b", "answers": []}]}


@pytest.mark.parametrize(
    "paragraphs, said",
    [([], "holds no question"), ([{}], "no 'context'"), ([NO_ANSWER], "as some")],
)
def test_a_file_of_another_form_is_named(paragraphs, said, tmp_path):
    file = tmp_path / "dev.json"
    file.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    with pytest.raises(ValueError, match=f"^{file} is not of SQuAD 1.1's form: .*{said}"):
        read(file)
