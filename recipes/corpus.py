"""What scoring has to know about a corpus, from the corpus.json that data-prep/ writes with it.

python recipes/corpus.py DATA options     options of fairseq-generate, one a line
python recipes/corpus.py DATA lowercased  one value of corpus.json
python recipes/corpus.py DATA json        all of it
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

# The subword models that data-prep/ makes: fairseq's option for the model, and its file in DATA.
SUBWORDS = {
    "subword_nmt": ("--bpe-codes", "bpecodes"),
    "sentencepiece": ("--sentencepiece-model", "sentencepiece.bpe.model"),
}


def read_corpus(data: Path) -> dict:
    """corpus.json of a folder.

    A dry run without data takes what its recipe says in that place. A folder that was not made by
    data-prep/ is taken for text without a tokeniser.
    """
    path = data / "corpus.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    if os.environ.get("DRY_RUN") and (said := os.environ.get("CORPUS")):
        return json.loads(said)
    models = [name for name, (_, file) in SUBWORDS.items() if (data / file).exists()]
    pairs = [path.name.split(".")[1] for path in data.glob("test.*-*.*.idx")]
    if not models or not pairs:
        sys.exit(f"there is no {path}, and no subword model or test set beside it")
    source, _, target = pairs[0].partition("-")
    corpus = {"source": source, "target": target, "subwords": models[0]}
    return {**corpus, "tokenizer": None, "lowercased": False}


def generate_options(data: Path, corpus: dict) -> list[str]:
    """fairseq's options to translate this corpus, and to print plain text in lines D-N.

    Lines H-N then hold words as the tokeniser made them, where there was one.
    """
    option, file = SUBWORDS[corpus["subwords"]]
    options = ["--source-lang", corpus["source"], "--target-lang", corpus["target"]]
    options += ["--bpe", corpus["subwords"], option, str(data / file)]
    if corpus["tokenizer"]:
        options += ["--tokenizer", corpus["tokenizer"], "--post-process", corpus["subwords"]]
    return options


def main() -> None:
    data, wanted = Path(sys.argv[1]), sys.argv[2]
    corpus = read_corpus(data)
    if wanted == "options":
        print("\n".join(generate_options(data, corpus)))
    elif wanted == "json":
        print(json.dumps(corpus, indent=2))
    else:
        print(corpus[wanted])


if __name__ == "__main__":
    main()
