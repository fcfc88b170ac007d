"""Size, speed and BLEU of a model in fairseq and in CTranslate2; recipes/deploy.sh calls it.

python recipes/deploy.py data CHECKPOINT     the folder of data that it was trained on
python recipes/deploy.py table OUT --data DATA --checkpoint CHECKPOINT --split valid
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from pathlib import Path

import ctranslate2
from corpus import read_corpus
from sacrebleu.metrics import BLEU
from tabulate import tabulate
from translate import MAX_LENGTH, Text, translate

from shapeshifter_fairseq import ShapeshifterError
from shapeshifter_fairseq.fairseq_side.checkpoints import read_checkpoint

PRECISIONS = ("float32", "int8")
FEW = 0.01  # of the translations: rounding may exchange two of nearly the same score


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, dest="command")
    data = commands.add_parser("data")
    data.add_argument("checkpoint", type=Path)
    table = commands.add_parser("table")
    table.add_argument("out", type=Path, help="with fairseq/, float32/ and int8/")
    table.add_argument("--data", type=Path, required=True)
    table.add_argument("--checkpoint", type=Path, required=True)
    table.add_argument("--split", required=True)
    table.add_argument("--beam", type=int, default=5)
    args = parser.parse_args()
    if args.command == "table":
        report(args.out, args.data, args.checkpoint, args.split, args.beam)
        return
    try:
        print(read_checkpoint(args.checkpoint)["cfg"]["task"]["data"])
    except ShapeshifterError as error:
        sys.exit(f"deploy.py: error: {error}")
    except (KeyError, TypeError):
        sys.exit(f"deploy.py: error: {args.checkpoint} does not say its data: set DATA")


def report(out: Path, data: Path, checkpoint: Path, split: str, beam: int) -> None:
    """Translate with both precisions, compare with fairseq's translations, write the table."""
    corpus = read_corpus(data)
    references = _lines(data / "raw" / f"{split}.{corpus['target']}")
    bleu = BLEU(lowercase=corpus["lowercased"])
    fairseq = _lines(out / "fairseq" / "hypotheses.txt")
    log = (out / "fairseq" / "generate.log").read_text(encoding="utf-8")
    rows = {
        "fairseq, factors": {
            "bytes": _bytes_of(checkpoint),
            "seconds": float(re.search(r"Translated .* in ([\d.]+)s", log)[1]),
            "BLEU": bleu.corpus_score(fairseq, [references]).score,
            "same": len(fairseq),
        }
    }
    for precision in PRECISIONS:
        translations, whole, seconds = _translate(out / precision, data, corpus, split, beam)
        equal = [a == b for a, b in zip(translations, fairseq)]
        rows[f"CTranslate2, {precision}"] = {
            "bytes": (out / precision / "model.bin").stat().st_size,
            "seconds": seconds,
            "BLEU": bleu.corpus_score(translations, [references]).score,
            "same": sum(equal),
            # Where a translation reaches the longest, the two end it in ways of their own.
            "other": sum(not same for same, ended in zip(equal, whole) if ended),
        }
    threads = os.environ["OMP_NUM_THREADS"]
    text = "\n\n".join(
        [
            tabulate(
                [
                    [
                        name,
                        f"{row['bytes'] / 1e6:.1f} MB",
                        f"{len(fairseq) / row['seconds']:.1f}",
                        f"{row['BLEU']:.2f}",
                        f"{row['same']} of {len(fairseq)}",
                    ]
                    for name, row in rows.items()
                ],
                ["model", "weights", "sentences a second", "BLEU", "translated as by fairseq"],
                tablefmt="github",
                disable_numparse=True,
            ),
            f"{split} set, beam {beam}, CPU, {threads} threads, CTranslate2 "
            f"{ctranslate2.__version__}. sacreBLEU {bleu.get_signature()}",
        ]
    )
    for name, content in (("deploy.json", json.dumps(rows, indent=2)), ("deploy.md", text)):
        part = out / f"{name}.part"
        part.write_text(content + "\n", encoding="utf-8")
        part.replace(out / name)
    print("\n" + text)
    other = rows["CTranslate2, float32"]["other"]
    if other > FEW * len(fairseq):
        sys.exit(
            f"deploy.py: error: CTranslate2 in float32 translates {other} of {len(fairseq)} "
            f"sentences otherwise than fairseq; compare {out}/float32.txt with "
            f"{out}/fairseq/hypotheses.txt"
        )


def _translate(
    model: Path, data: Path, corpus: dict, split: str, beam: int
) -> tuple[list[str], list[bool], float]:
    """Plain translations of a set, whether each came to its end, the seconds without loading."""
    text = Text(model)
    words = data / "tokenised" / f"{split}.{corpus['source']}"
    if not text.moses:
        words = data / "raw" / words.name
    lines = [text.cut(line) for line in _lines(words)]
    threads = int(os.environ["OMP_NUM_THREADS"])
    translator = ctranslate2.Translator(str(model), device="cpu", intra_threads=threads)
    began = time.perf_counter()
    pieces = list(translate(translator, lines, beam))
    seconds = time.perf_counter() - began
    translations = [text.plain(line) for line in pieces]
    lines = "".join(f"{line}\n" for line in translations)
    model.with_name(f"{model.name}.txt").write_text(lines, encoding="utf-8")
    return translations, [len(line) < MAX_LENGTH for line in pieces], seconds


def _bytes_of(checkpoint: Path) -> int:
    """What the weights take in a file; tied ones stand there once."""
    weights = {t.data_ptr(): t for t in read_checkpoint(checkpoint)["model"].values()}
    return sum(tensor.numel() * tensor.element_size() for tensor in weights.values())


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


if __name__ == "__main__":
    main()
