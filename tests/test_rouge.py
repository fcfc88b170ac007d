"""recipes/rouge.py: ROUGE of text that is tokenised."""

import json
import subprocess
import sys

import pytest

from recipes.rouge import rouge


@pytest.mark.parametrize(
    "reference, hypothesis, expected",
    [
        ("a b c d", "a b c d", (100, 100, 100)),
        ("a b c d", "x y", (0, 0, 0)),
        ("a b c d", "", (0, 0, 0)),
        # Of 4 and 4 words 3 in common, of 3 and 3 pairs 1; the longest common subsequence is a b d.
        ("a b c d", "a b d x", (75, 33.33, 75)),
        # In common in any order, but only one of them in order.
        ("a b", "b a", (100, 0, 50)),
        # Digits and unknown words are words, and case counts.
        ("## <unk> Fed", "## <unk> fed", (66.67, 50, 66.67)),
    ],
)
def test_scores_of_a_line(reference, hypothesis, expected):
    scores = rouge([reference], [hypothesis])
    assert [score["name"] for score in scores] == ["ROUGE-1", "ROUGE-2", "ROUGE-L"]
    assert tuple(score["score"] for score in scores) == expected
    assert all("version:0.1" in score["signature"] for score in scores)


def test_a_text_has_the_mean_of_its_lines():
    assert rouge(["a b", "a b c d"], ["a b", "x"])[0]["score"] == 50


def test_the_command(tmp_path):
    """Only the newline ends a line: U+2028 in a translation is a character."""
    texts = {"right": "a b\u2028c\nd e\n", "found": "a b c\nd e\n", "short": "a b\n"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "recipes.rouge", tmp_path / "right"]
    done = subprocess.run([*command, tmp_path / "found"], capture_output=True, text=True)
    assert [score["score"] for score in json.loads(done.stdout)] == [100, 100, 100]
    done = subprocess.run([*command, tmp_path / "short"], capture_output=True, text=True)
    assert done.returncode == 1 and "1 hypotheses for 2 references" in done.stderr
    assert len(done.stderr.splitlines()) == 1
