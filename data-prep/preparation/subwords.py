"""Learn joint subwords of two languages, and cut text into them.

`subword_nmt` is the byte-pair encoding of most papers, for tokenised text; the kinds of
SentencePiece take text as it is written.
"""

import io
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path

from sentencepiece import SentencePieceTrainer
from subword_nmt.learn_bpe import learn_bpe

from shapeshifter_fairseq.corpus import load_subwords

from .lines import map_batches, open_text


def _count_words(lines: list[str]) -> Counter[str]:
    return Counter(word for line in lines for word in line.split(" ") if word)


def _learn_merges(files: Sequence[Path], model: Path, vocab_size: int, workers: int) -> None:
    words: Counter[str] = Counter()
    for file in files:
        for counts in map_batches(_count_words, file, workers):
            words.update(counts)
    bar = sys.stderr if sys.stderr.isatty() else io.StringIO()  # of learn_bpe
    with redirect_stderr(bar), open_text(model, "w") as out:
        learn_bpe((f"{word} {n}" for word, n in words.items()), out, vocab_size, is_dict=True)


def _train_pieces(
    files: Sequence[Path], model: Path, vocab_size: int, workers: int, model_type: str
) -> None:
    # Given files, SentencePiece would write their paths on this machine into the model.
    trained = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=(line.rstrip("\n") for file in files for line in open_text(file)),
            model_writer=trained,
            model_type=model_type,
            vocab_size=vocab_size,
            character_coverage=1.0,  # they are few and clean; an unknown one is never translated
            normalization_rule_name="identity",  # more would spell unlike the references
            num_threads=workers,
            minloglevel=2,  # errors, which are raised as well
        )
    except RuntimeError as error:
        advice = str(error).rpartition("] ")[2]  # after a place in the C++ source
        raise ValueError(f"--vocab-size {vocab_size} does not suit this text: {advice}") from error
    model.write_bytes(trained.getvalue())


# What learns the subwords of all files together, so that names and numbers share their pieces.
KINDS = {
    "subword_nmt": _learn_merges,
    "sentencepiece_bpe": partial(_train_pieces, model_type="bpe"),
    "sentencepiece_unigram": partial(_train_pieces, model_type="unigram"),
}


def cut(lines: list[str], kind: str, model: Path) -> list[str]:
    """Lines with a space between their subwords, as fairseq-preprocess reads them."""
    # subword-nmt's own parallel mode would lose the errors of its processes, and lines with them.
    pieces, _ = load_subwords(kind, model)
    return [" ".join(pieces(line)) for line in lines]
