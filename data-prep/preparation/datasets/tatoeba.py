"""Tatoeba, short sentences of many languages with English, as manythings.org packs them."""

from recipes.console import Failed

from ..dataset import ISO_639_3, Dataset, Facts, Moses, Split, Text


def facts(source: str, target: str) -> Facts:
    if "en" not in (source, target):
        raise Failed(f"'{source} {target}': one of the two languages must be en")
    # The site names its files by ISO 639-3. Languages that are not in the list are given by that.
    other = ISO_639_3.get(language := target if source == "en" else source, language)
    text = f"https://www.manythings.org/anki/{other}-eng.zip::{other}.txt"
    columns = ("tab 1", "tab 2") if source == "en" else ("tab 2", "tab 1")
    return Facts(
        Text([text], markup=columns),
        split=Split("en", valid=12, test=18, per_mille=True, words=4),
        published="164300 train, 1444 valid, 2169 test sentences; *" if other == "deu" else "*",
    )


DATASET = Dataset(
    name="tatoeba",
    about="""\
Prepare Tatoeba: short sentences in SRC and TGT, one of them en, as www.manythings.org/anki packs
them from tatoeba.org, under CC BY 2.0 FR (attribution: www.manythings.org/anki and tatoeba.org).
German has 164,300 pairs to train, 1,444 to validate, 2,169 to test in the release of 2018-05-13;
newer ones have more. Split by a hash of the English sentence, so that none is in two sets; Moses
tokenisation, lowercased, a joint byte-pair encoding of 10,000 merges, two dictionaries.""",
    facts=facts,
    moses=Moses(lowercase=True),
    subwords="subword_nmt",
    vocab_size=10_000,
    joined=False,
)
main = DATASET.main
