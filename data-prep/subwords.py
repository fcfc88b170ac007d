"""Learn joint subwords with SentencePiece, or cut text files into them."""

import argparse
import io
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import sentencepiece
from lines import map_files, open_text, run


def read_lines(files: list[Path]) -> Iterator[str]:
    for file in files:
        with open_text(file) as lines:
            yield from (line.rstrip("\n") for line in lines)


def train(files: list[Path], model: Path, model_type: str, vocab_size: int, workers: int) -> None:
    """Learn one model for both languages, so that names and numbers share their pieces."""
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


def pieces(lines: list[str], model: Path) -> list[str]:
    """Write the pieces of each line separated by spaces, as fairseq-preprocess reads them."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    return [" ".join(line) for line in processor.encode(lines, out_type=str)]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--model", type=Path, required=True, help="model file, *.model")
    common.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    learn = commands.add_parser("train", parents=[common], help="learn a model from text files")
    learn.add_argument("--vocab-size", type=int, required=True, help="number of pieces")
    learn.add_argument("--model-type", choices=("bpe", "unigram"), default="bpe")
    learn.add_argument("text", type=Path, nargs="+", help="one sentence per line")
    cut = commands.add_parser("encode", parents=[common], help="cut text files into pieces")
    cut.add_argument("--out", type=Path, required=True, help="folder for files of the same names")
    cut.add_argument("text", type=Path, nargs="+", help="one sentence per line")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.command == "train":
        train(args.text, args.model, args.model_type, args.vocab_size, args.workers)
    else:
        map_files(partial(pieces, model=args.model), args.text, args.out, args.workers)


if __name__ == "__main__":
    run(main)
