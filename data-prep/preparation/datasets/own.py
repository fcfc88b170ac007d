"""A language pair of one's own, from text files."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from recipes.console import Failed

from ..archives import read_lines
from ..dataset import Dataset, Facts, Filter, Moses, Split, Text, need_plain_codes

ABOUT = """\
Prepare your own text: sentences in SRC and TGT, any two language codes, one sentence a line.
Duplicates, pairs with an empty side, and pairs that are too long or too uneven are dropped from the
training text. The script prints how many. Byte order marks and odd line ends are removed from all.
Two sides of different lengths are an error. So are bytes that are not UTF-8, unless --drop-bad is
given."""

EXAMPLES = """\
examples:
  bash data-prep/prepare-own.sh de en --tsv pairs.tsv --valid 1000 --test 1000
  bash data-prep/prepare-own.sh de en --train text/train --valid text/dev --test text/test \\
    --subwords subword_nmt --moses --lowercase --vocab-size 10000"""

FEWEST = 8  # sentences of a validation set; fairseq drops a batch of fewer
KINDS = {"sentencepiece": "sentencepiece_bpe", "subword_nmt": "subword_nmt"}


def main(arguments: Sequence[str]) -> None:
    """Run the script."""
    without = ["--from", "--mirror", "--checksums"]
    own = Dataset("own", ABOUT, vocab_size=8000, subwords="sentencepiece_bpe", without=without)
    parser = own.parser()
    parser.usage = (
        "%(prog)s SRC TGT (--train PREFIX | --tsv FILE) --valid PREFIX|N --test PREFIX|N [options]"
    )
    parser.epilog = parser.epilog.partition("example:")[0] + EXAMPLES
    add = parser.add_argument
    add("--train", metavar="PREFIX", help="the files PREFIX.SRC and PREFIX.TGT, plain or .gz")
    add("--tsv", type=Path, metavar="FILE", help="in place of --train: source, tab, target")
    add("--valid", required=True, metavar="PREFIX|N", help="the validation set: files, as for "
        "--train, or a number of pairs. These are taken out of the training text by a hash of the "
        "source sentence, so none of its sentences stays in it")  # fmt: skip
    add("--test", required=True, metavar="PREFIX|N", help="the test set, as for --valid")
    add("--drop-bad", action="store_true", help="drop pairs that are not UTF-8")
    add("--max-length", type=int, default=250, metavar="N",
        help="drop training pairs with more than N subwords on a side (default 250)")  # fmt: skip
    add("--max-ratio", type=float, default=3, metavar="R",
        help="drop training pairs with a side more than R times the other (default 3)")  # fmt: skip
    add("--subwords", choices=KINDS, default="sentencepiece", help="default sentencepiece")
    add("--moses", action="store_true", help="tokenise as the Moses scripts do")
    add("--lowercase", action="store_true", help="with --moses: train in lower case")
    add("--dictionaries", choices=("one", "two"), default="one",
        help="one for both languages (default), or one for each")  # fmt: skip
    options = parser.parse_intermixed_args(arguments)
    pair = own.languages(parser, options.languages)
    if bool(options.train) == bool(options.tsv):
        parser.error("give --train PREFIX or --tsv FILE")
    if options.moses:
        need_plain_codes(parser, pair)
    if options.lowercase and not options.moses:
        parser.error("--lowercase needs --moses")
    if options.valid.isdecimal() != options.test.isdecimal():
        parser.error("--valid and --test are both a PREFIX, or both a number of pairs")
    train = {"crawled": options.drop_bad, "unique": True}
    if options.tsv:
        text = Text([(str(options.tsv), str(options.tsv))], markup=("tab 1", "tab 2"), **train)
    else:
        text = Text([_files(options.train, pair)], **train)
    if options.valid.isdecimal():
        rest = {"split": Split(pair[0], int(options.valid), int(options.test))}
        to_validate = int(options.valid)
    else:
        sets = {name: _files(getattr(options, name), pair) for name in ("valid", "test")}
        rest = {name: Text([files]) for name, files in sets.items()}
        try:
            to_validate = sum(1 for _ in islice(read_lines(sets["valid"][0]), FEWEST))
        except ValueError as error:  # a damaged .gz
            raise Failed(str(error)) from error
    if to_validate < FEWEST:
        parser.error(f"--valid {options.valid}: fairseq needs {FEWEST} sentences to validate")
    by_length = Filter(subwords=True, max_length=options.max_length, ratio=options.max_ratio)
    dataset = replace(
        own,
        subwords=KINDS[options.subwords],
        facts=Facts(text, filters=[by_length], **rest),
        moses=Moses(normalise=True, lowercase=options.lowercase) if options.moses else None,
        joined=options.dictionaries == "one",
        says_counts=True,
    )
    dataset.prepare(dataset.corpus(*pair), options)


def _files(prefix: str, pair: Sequence[str]) -> tuple[str, str]:
    """Both sides of a text, as they are there."""
    found = []
    for language in pair:
        spelled = dict.fromkeys([language, language.replace("_", "-")])  # pt_BR, pt-BR
        names = [f"{prefix}.{code}{end}" for code in spelled for end in ("", ".gz")]
        there = [name for name in names if Path(name).is_file()]
        if not there:
            raise Failed(f"there is no {', nor '.join(names)}")
        found.append(there[0])
    return found[0], found[1]
