"""Drop pairs by length as Moses' clean-corpus-n does, and set some of the training pairs aside."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tqdm import tqdm

from .dataset import Filter
from .lines import open_text


def is_kept(source: str, target: str, max_length: int, ratio: float) -> bool:
    """Whether both sides have 1 to `max_length` tokens and neither `ratio` times the other."""
    n, m = len(source.split()), len(target.split())
    return 0 < n <= max_length and 0 < m <= max_length and n <= ratio * m and m <= ratio * n


def write(
    forms: Sequence[Path], languages: Sequence[str], out: Path, rule: Filter, note: Callable
) -> None:
    """Filter all forms of the sentences by the last one, which alone keeps its training set."""
    forms, outs = forms[::-1], [out / form.name for form in forms[::-1]]
    for folder in outs:
        folder.mkdir()
    for split in ("train", "test") if rule.every else ("train", "valid", "test"):
        count: Counter[str] = Counter()
        is_train = split == "train"
        aside = rule.every if is_train else 0
        is_filtered = is_train or (split == "valid" and rule.valid)
        with ExitStack() as stack:
            files = partial(_open, stack, languages)
            read = files(forms[:1] if is_train and not aside else forms, split, "r")
            kept = files(outs[:1] if is_train else outs, split, "w")
            valid = files(outs, "valid", "w") if aside else []
            for lines in tqdm(zip(*read), split, unit=" pairs", unit_scale=True, disable=None):
                if is_filtered and not is_kept(*lines[:2], rule.max_length, rule.ratio):
                    count["dropped"] += 1
                    continue
                count["kept"] += 1
                held_out = aside and count["kept"] % aside == 0
                for file, line in zip(valid if held_out else kept, lines):
                    file.write(line)
        note(f"{split}: {count['kept']} kept, {count['dropped']} dropped")
        if count["kept"] < (aside or 1):
            raise ValueError(f"too few {split} pairs are left in {forms[0]}: {count['kept']}")


def _open(stack: ExitStack, languages: Sequence[str], folders: list, split: str, mode: str) -> list:
    names = [folder / f"{split}.{language}" for folder in folders for language in languages]
    return [stack.enter_context(open_text(name, mode)) for name in names]
