"""From a trained checkpoint to a CTranslate2 model that translates standard input."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from shapeshifter_fairseq.corpus import Corpus

from ..commands import USER_DIR, python
from ..console import Failed, Parser, need_modules, say
from ..engine import Engine, Step
from ..evaluation import RESULT, Evaluation, need_checkpoint, read_evaluation
from ..files import fingerprint, lines_of, write
from ..parallel import share_threads

PRECISIONS = ("float32", "int8")
FEW = 0.01  # of the translations may differ: rounding may swap two with nearly the same score

ABOUT = """\
Fold the factors of a trained model into ordinary matrices, and convert it for CTranslate2 in
float32 and in int8. Translate a set on the CPU with fairseq and with both CTranslate2 models, and
print a table of size, speed and BLEU. Stop with an error if float32 does not translate as fairseq
does. The files in OUT_DIR (default: deployed/ beside the checkpoint):

  folded.pt               a checkpoint of fairseq's own --arch transformer
  float32/, int8/         folders for CTranslate2, with all that `shapeshifter translate` needs
  deploy.md, deploy.json  the table
  fairseq/                fairseq's translations, as recipes/evaluate.sh writes them
  float32.txt, int8.txt   CTranslate2's translations

A file is made again only if the checkpoint or the corpus has changed."""

EPILOG = """\
environment:
  DATA              the prepared corpus (default: the one that the checkpoint was trained on)
  SPLIT             the set to score: test or valid (default test)
  BEAM              beam size (default 5)
  OMP_NUM_THREADS   threads of a translation (default: one for each core)
  PYTHON            the Python that has fairseq and CTranslate2 (default: .venv's, else python3)

example:
  bash recipes/install.sh fairseq recipes deploy
  bash recipes/deploy.sh runs/quickstart/shapeshifter/checkpoint_best.pt"""


def main(arguments: Sequence[str]) -> None:
    parser = Parser("CHECKPOINT [OUT_DIR]", ABOUT, EPILOG)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    parser.add_argument("out", type=Path, metavar="OUT_DIR", nargs="?")
    args = parser.parse_args(arguments)
    need_modules("ctranslate2", way_out="run: bash recipes/install.sh fairseq recipes deploy")
    need_checkpoint(args.checkpoint)
    share_threads()
    data = Path(os.environ.get("DATA") or _data_of(args.checkpoint))
    out = args.out or args.checkpoint.parent / "deployed"
    split, beam = os.environ.get("SPLIT") or "test", os.environ.get("BEAM") or "5"
    evaluation = Evaluation(split, options=["--beam", beam], cpu=True)
    corpus = evaluation.need(data, args.checkpoint)
    with Engine(out).alone() as engine:
        Deployment(engine, data, corpus, args.checkpoint, evaluation).make()
    say(f"""
Translate standard input, plain text, one sentence a line:
  {shlex.join(python("shapeshifter_fairseq", "translate", out / "int8"))} <input.txt >output.txt""")


def _data_of(checkpoint: Path) -> str:
    """The folder of data that a checkpoint was trained on."""
    from shapeshifter_fairseq.fairseq_side.checkpoints import read_checkpoint

    try:
        data = read_checkpoint(checkpoint)["cfg"]["task"]["data"]
    except (KeyError, TypeError) as error:
        raise Failed(f"{checkpoint} does not name its data: set DATA") from error
    if not Path(data).is_dir():
        raise Failed(f"{checkpoint} was trained on {data}, which is not there now: set DATA")
    return data


@dataclass(frozen=True)
class Deployment:
    """One checkpoint on its way to CTranslate2."""

    engine: Engine
    data: Path
    corpus: Corpus
    checkpoint: Path
    evaluation: Evaluation

    def make(self) -> None:
        """Fold, convert, translate with fairseq, compare.

        Raises:
            Failed: if CTranslate2 in float32 does not translate as fairseq does.
        """
        out, do = self.engine.folder, self.engine.do
        # The content of all that the models hold: a corpus may be moved, or replaced.
        held = [self.data / f"dict.{side}.txt" for side in (self.corpus.source, self.corpus.target)]
        held += [self.checkpoint, self.data / self.corpus.subword_file]
        made_from = [fingerprint(*held), vars(self.corpus)]
        do(Step("fold", out / "folded.pt", self._fold, made_from))
        for kind in PRECISIONS:
            make, way_out = partial(self._convert, kind), "look at the end of the log"
            name = f"convert to {kind}"
            do(Step(name, out / kind, make, made_from, folder=True, way_out=way_out))
        with Engine(out / "fairseq").alone() as fairseq:
            self.evaluation.run(fairseq, self.data, self.corpus, self.checkpoint)
        # Changes with the set and the search.
        searched = (out / "fairseq" / RESULT).stat().st_mtime_ns
        code = fingerprint(USER_DIR / "translating.py")
        do(Step("compare", out / "deploy.json", self._compare, [made_from, searched, code]))
        say("\n" + (out / "deploy.md").read_text(encoding="utf-8"))
        rows = json.loads((out / "deploy.json").read_text(encoding="utf-8"))
        other, fairseq = rows["CTranslate2, float32"]["other"], rows["fairseq, factors"]["same"]
        if other > FEW * fairseq:
            raise Failed(
                f"CTranslate2 in float32 translates {other} of {fairseq} sentences differently "
                f"from fairseq; compare {out}/float32.txt with {out}/fairseq/hypotheses.txt"
            )

    def _fold(self, folded: Path) -> None:
        fold = python("shapeshifter_fairseq", "fold", self.checkpoint, folded, "--force")
        self.engine.run(fold, "fold")

    def _convert(self, precision: str, part: Path) -> None:
        command = [
            *python("ctranslate2.converters.fairseq", "--data_dir", self.data),
            *("--model_path", self.engine.folder / "folded.pt", "--quantization", precision),
            *("--source_lang", self.corpus.source, "--target_lang", self.corpus.target),
            *("--output_dir", part, "--force"),
        ]
        self.engine.run(command, "convert")
        self.corpus.write(part)
        shutil.copyfile(self.data / self.corpus.subword_file, part / self.corpus.subword_file)

    def _compare(self, result: Path) -> None:
        """Write deploy.json and deploy.md."""
        import ctranslate2
        from sacrebleu.metrics import BLEU
        from tabulate import tabulate

        out, split = self.engine.folder, self.evaluation.split
        references = lines_of(self.data / "raw" / f"{split}.{self.corpus.target}")
        fairseq = lines_of(out / "fairseq" / "hypotheses.txt")
        bleu, searched = BLEU(lowercase=self.corpus.lowercased), read_evaluation(out / "fairseq")
        rows: dict[str, dict[str, Any]] = {
            "fairseq, factors": {
                "bytes": _bytes_of(self.checkpoint),
                "seconds": searched["seconds"],
                "BLEU": bleu.corpus_score(fairseq, [references]).score,
                "same": len(fairseq),
            }
        }
        for precision in PRECISIONS:
            found, alike, seconds = self._translate(out / precision, searched["beam"])
            equal = [a == b for a, b in zip(found, fairseq)]
            rows[f"CTranslate2, {precision}"] = {
                "bytes": (out / precision / "model.bin").stat().st_size,
                "seconds": seconds,
                "BLEU": bleu.corpus_score(found, [references]).score,
                "same": sum(equal),
                "expected": sum(alike),
                "other": sum(not same for same, expected in zip(equal, alike) if expected),
            }
        table = [
            [
                name,
                f"{row['bytes'] / 1e6:.1f} MB",
                f"{len(fairseq) / row['seconds']:.1f}",
                f"{row['BLEU']:.2f}",
                f"{row['same']} of {len(fairseq)}",
            ]
            for name, row in rows.items()
        ]
        head = ["model", "weights", "sentences a second", "BLEU", "translated as by fairseq"]
        below = (
            f"{split} set, beam {searched['beam']}, CPU, {os.environ['OMP_NUM_THREADS']} threads, "
            f"CTranslate2 {ctranslate2.__version__}. sacreBLEU {bleu.get_signature()}"
        )
        if left := len(fairseq) - rows["CTranslate2, float32"]["expected"]:
            below += (
                f"\n\n{left} sentences need not be the same: fairseq makes up a sentence for an "
                "empty line and cuts long translations; CTranslate2 translates long lines in parts."
            )
        text = tabulate(table, head, tablefmt="github", disable_numparse=True)
        write(out / "deploy.md", f"{text}\n\n{below}")
        write(result, json.dumps(rows, indent=2))

    def _translate(self, model: Path, beam: int) -> tuple[list[str], list[bool], float]:
        """Plain translations of a set, whether each should equal fairseq's, and the seconds.

        Some differ: fairseq makes up a sentence for an empty line. Here a long line is translated
        in parts, and a translation that reaches the longest length ends in another way.
        """
        from shapeshifter_fairseq.translating import Translator

        translator = Translator(model, threads=int(os.environ["OMP_NUM_THREADS"]))
        text, name = translator.text, f"{self.evaluation.split}.{self.corpus.source}"
        folder = "tokenised" if self.corpus.tokenizer else "raw"
        lines = [text.cut(line) for line in lines_of(self.data / folder / name)]
        began = time.perf_counter()
        found = list(translator.translate_pieces(lines, beam))
        seconds = time.perf_counter() - began
        plain = [text.plain(each.pieces) for each in found]
        write(model.with_name(f"{model.name}.txt"), "\n".join(plain))
        alike = [bool(line) and one.parts == 1 and not one.cut for line, one in zip(lines, found)]
        return plain, alike, seconds


def _bytes_of(checkpoint: Path) -> int:
    """Bytes of the weights in a file; tied ones are there once."""
    from shapeshifter_fairseq.fairseq_side.weights import read_weights

    weights = {t.data_ptr(): t for t in read_weights(checkpoint)["model"].values()}
    return sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
