"""Learn joint subwords of two languages, or cut text files into them.

`subword_nmt` is the byte-pair encoding of most papers, for tokenised text; the kinds of
SentencePiece take text as it is written.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import sentencepiece
from lines import map_batches, map_files, open_text, run
from subword_nmt.apply_bpe import BPE
from subword_nmt.learn_bpe import learn_bpe


def count_words(lines: list[str]) -> Counter[str]:
    return Counter(word for line in lines for word in line.split(" ") if word)


def learn_merges(files: list[Path], model: Path, vocab_size: int, workers: int) -> None:
    """Learn from the words of all files together, so that names and numbers share their pieces."""
    words: Counter[str] = Counter()
    for file in files:
        for _, counts in map_batches(count_words, file, workers):
            words.update(counts)
    with open_text(model, "w") as out:
        learn_bpe((f"{word} {n}" for word, n in words.items()), out, vocab_size, is_dict=True)


def apply_merges(lines: list[str], model: Path) -> list[str]:
    # subword-nmt's own parallel mode would lose the errors of its processes, and lines with them.
    with open_text(model) as file:
        bpe = BPE(file)
    return [bpe.process_line(line) for line in lines]


def read_lines(files: list[Path]) -> Iterator[str]:
    for file in files:
        with open_text(file) as lines:
            yield from (line.rstrip("\n") for line in lines)


def train_pieces(
    files: list[Path], model: Path, vocab_size: int, workers: int, model_type: str
) -> None:
    """Train SentencePiece on all files together, for the same reason."""
    # Given files, SentencePiece would write their paths on this machine into the model.
    trained = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=read_lines(files),
            model_writer=trained,
            model_type=model_type,
            vocab_size=vocab_size,
            # The characters are few and clean; an unknown one could never be translated.
            character_coverage=1.0,
            # The text is normalised already; more would spell the output unlike the references.
            normalization_rule_name="identity",
            num_threads=workers,
        )
    except RuntimeError as error:
        # The advice comes after a place in the C++ source: "INTERNAL: file.cc(1) [test] Advice."
        advice = str(error).rpartition("] ")[2]
        sys.exit(f"--vocab-size {vocab_size} does not suit this text: {advice}")
    model.write_bytes(trained.getvalue())


def encode_pieces(lines: list[str], model: Path) -> list[str]:
    """Write the pieces of each line separated by spaces, as fairseq-preprocess reads them."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    return [" ".join(line) for line in processor.encode(lines, out_type=str)]


KINDS = {
    "subword_nmt": (learn_merges, apply_merges),
    "sentencepiece_bpe": (partial(train_pieces, model_type="bpe"), encode_pieces),
    "sentencepiece_unigram": (partial(train_pieces, model_type="unigram"), encode_pieces),
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--kind", choices=KINDS, required=True)
    common.add_argument("--model", type=Path, required=True, help="file of merges or pieces")
    common.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    common.add_argument("text", type=Path, nargs="+", help="one sentence per line")
    learn = commands.add_parser("learn", parents=[common], help="make the model from text files")
    learn.add_argument("--vocab-size", type=int, required=True, help="number of merges or pieces")
    cut = commands.add_parser("apply", parents=[common], help="cut text files with the model")
    cut.add_argument("--out", type=Path, required=True, help="folder for files of the same names")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    learn, segment = KINDS[args.kind]
    if args.command == "learn":
        learn(args.text, args.model, args.vocab_size, args.workers)
    else:
        map_files(partial(segment, model=args.model), args.text, args.out, args.workers)


if __name__ == "__main__":
    run(main)
