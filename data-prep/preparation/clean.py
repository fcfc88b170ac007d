"""Write parallel texts as two plain UTF-8 files of equally many lines.

The sentences stay as they were written. What goes: byte order marks, and pairs with an empty side,
unless they are held out: a validation or test set is never filtered. Words have one space between
them, because a no-break space would glue words where subwords are cut, and some programs take a
carriage return or U+2028 for the end of a line. Bytes that are not UTF-8 are an error that names
file and sentence; in crawled text the pair is dropped and counted.

The markup of IWSLT and WMT is no good XML (an & may stand alone): it is taken line by line, as
fairseq's preparation and sacreBLEU do. Entities such as &amp; stay: papers' test sets hold them.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from tqdm import tqdm

from shapeshifter_fairseq.corpus import one_space, spell

from .archives import read_lines
from .dataset import Text
from .lines import open_text

METADATA = re.compile(rb"<(?:url|talkid|keywords)>")
TALK_TAG = re.compile(rb"</?(?:title|description)>")
SEGMENT = re.compile(rb"<seg id=[^>]*>(.*)</seg>")


def talks(lines: Iterable[bytes]) -> Iterator[bytes]:
    """IWSLT's training text; titles and descriptions of the talks count as sentences."""
    return (TALK_TAG.sub(b"", line) for line in lines if not METADATA.search(line))


def segments(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Test sets in XML or SGML: a sentence is `<seg id="1"> ... </seg>` on a line of its own."""
    return (match[1] for line in lines if (match := SEGMENT.search(line)))


READERS = {"plain": iter, "talks": talks, "segments": segments}


def read(name: str, markup: str, count: Counter[str]) -> Iterator[bytes]:
    """The sentences of a text in a markup of `READERS`, or in column N of a table: "tab N"."""
    # Files that were joined have byte order marks in their middle.
    text = (line.removeprefix(b"\xef\xbb\xbf") for line in read_lines(name))
    if not markup.startswith("tab "):
        return READERS[markup](text)
    return _column(name, text, int(markup.removeprefix("tab ")), count)


def _column(name: str, text: Iterable[bytes], number: int, count: Counter[str]) -> Iterator[bytes]:
    for place, line in enumerate(text, 1):
        if not line.strip():
            yield b""  # a blank line is an empty pair
            continue
        if len(columns := line.rstrip(b"\r\n").split(b"\t")) < 2:
            raise ValueError(f"{name}, line {place} has no tab between two sentences")
        count["with more columns, which are ignored"] += number == 1 and len(columns) > 2
        yield columns[number - 1]


def clean_pairs(
    names: Sequence[str], text: Text, held_out: bool, count: Counter[str]
) -> Iterator[tuple[str, str]]:
    """The clean pairs of two files, named as in archives.py; `count` says what was dropped."""
    markups = [text.markup] * 2 if isinstance(text.markup, str) else text.markup
    sides = [read(*each, count) for each in zip(names, markups)]
    seen: set[int] = set()
    for number, raw in enumerate(zip_longest(*sides), 1):
        if None in raw:
            shorter, longer = names if raw[0] is None else names[::-1]
            rest = sum(1 for _ in read(longer, markups[names.index(longer)], count))
            raise ValueError(f"{shorter} has {number - 1} sentences, but {longer} has {rest}")
        pair = []
        for name, line in zip(names, raw):
            try:
                pair.append(one_space(line.decode("utf-8")))
            except UnicodeDecodeError as error:
                byte = f"{name}, sentence {number}: byte {error.object[error.start]:#04x}"
                if not text.crawled:
                    raise ValueError(f"{byte} is not UTF-8; convert it with iconv") from None
        if len(pair) < 2:
            count["not UTF-8"] += 1
        elif text.unique and hash(tuple(pair)) in seen:
            count["duplicates"] += 1
        elif all(pair) or held_out:
            if text.unique:
                seen.add(hash(tuple(pair)))
            count["kept"] += 1
            count["empty but kept"] += not all(pair)
            yield pair[0], pair[1]
        else:
            count["empty"] += 1


def write(
    out: Sequence[Path],
    files: Sequence[Sequence[str]],
    text: Text,
    held_out: bool,
    without_diacritics: bool,
) -> str:
    """Write the pairs of files of a text, cleaned, into two; returns what was kept and dropped."""
    count = Counter(kept=0)
    with open_text(out[0], "w") as source, open_text(out[1], "w") as target:
        for names in files:
            pairs = clean_pairs(names, text, held_out, count)
            for pair in tqdm(pairs, names[0], unit=" pairs", unit_scale=True, disable=None):
                for path, file, line in zip(out, (source, target), pair):
                    file.write(f"{spell(line, path.suffix[1:], without_diacritics)}\n")
    if not count["kept"]:
        raise ValueError(f"{files[0][0]} and {files[0][1]} hold no pair of sentences")
    return f"{out[0].stem}: " + ", ".join(f"{n} {what}" for what, n in count.items() if n)
