"""Learn joint BPE subwords with SentencePiece, or cut a text file into them."""

import argparse
import io
import sys
from pathlib import Path

import sentencepiece


def read_lines(file: Path) -> list[str]:
    """Read lines as fairseq does: splitlines() would also cut at rarer separators."""
    return file.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def train(files: list[Path], model: Path, vocab_size: int, workers: int) -> None:
    """Learn one model for both languages, so that names and numbers share their pieces."""
    lines = [line for file in files for line in read_lines(file)]
    # Given files, SentencePiece would write their paths on this machine into the model.
    trained = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=trained,
            model_type="bpe",
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


def encode(source: Path, out: Path, model: Path, workers: int) -> None:
    """Write the pieces of each line, separated by spaces, as fairseq-preprocess reads them."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    pieces = processor.encode(read_lines(source), out_type=str, num_threads=workers)
    out.write_text("".join(" ".join(line) + "\n" for line in pieces), encoding="utf-8")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--model", type=Path, required=True, help="model file, *.model")
    common.add_argument("--workers", type=int, default=1, help="threads (default 1)")
    learn = commands.add_parser("train", parents=[common], help="learn a model from text files")
    learn.add_argument("--vocab-size", type=int, required=True, help="number of pieces")
    learn.add_argument("text", type=Path, nargs="+", help="one sentence per line")
    cut = commands.add_parser("encode", parents=[common], help="cut a text file into pieces")
    cut.add_argument("text", type=Path, help="one sentence per line")
    cut.add_argument("out", type=Path, help="file to write")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.command == "train":
        train(args.text, args.model, args.vocab_size, args.workers)
    else:
        encode(args.text, args.out, args.model, args.workers)


if __name__ == "__main__":
    main()
