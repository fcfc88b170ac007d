"""WMT'14 English-German and English-French."""

from ..dataset import Dataset, Facts, Filter, Moses, Text

STATMT = "https://www.statmt.org"
WMT13 = f"{STATMT}/wmt13/training-parallel"


def facts(source: str, target: str) -> Facts:
    foreign = target if source == "en" else source
    train = [
        f"{WMT13}-europarl-v7.tgz::training/europarl-v7.{foreign}-en.*",
        f"{WMT13}-commoncrawl.tgz::commoncrawl.{foreign}-en.*",
        f"{WMT13}-un.tgz::un/undoc.2000.fr-en.*",
        f"{STATMT}/wmt14/training-parallel-nc-v9.tgz::training/news-commentary-v9.{foreign}-en.*",
        f"{STATMT}/wmt10/training-giga-fren.tar::giga-fren.release2.fixed.*.gz",
    ]
    every, published = 1333, "35[789]????? train, * 3003 test sentences; dictionary of 44512 types"
    if foreign == "de":
        train = [train[0], train[1], train[3]]
        every, published = 100, "39????? train, * 3003 test sentences; *"
    by_length = Filter("filter", subwords=True, ratio=1.5, max_length=250, valid=True)
    test = Text(news="wmt14/full", markup="segments")
    filters = [Filter("split", every=every), by_length]
    return Facts(Text(train, crawled=True), test, filters=filters, published=published)


DATASET = Dataset(
    name="wmt14",
    about="""\
Prepare WMT'14 English-German (default) or English-French as fairseq's recipe does (--icml17):
punctuation normalised, Moses tokenisation with split hyphens, a joint byte-pair encoding of 40,000
merges and one dictionary; training and validation pairs of 1 to 250 subwords and a length ratio of
at most 1.5. Test set: newstest2014. Validation: every 100th training pair (French: every 1333rd).

  en de             Europarl v7, Common Crawl, News Commentary v9; about 3.9M pairs
  en fr             the same with UN and Giga Fr-En; about 35.8M pairs""",
    pairs=["en de", "en fr", "de en", "fr en"],
    facts=facts,
    moses=Moses(normalise=True, dash_splits=True),
    moses_for_test=Moses(apostrophes=True, dash_splits=True),
    subwords="subword_nmt",
    vocab_size=40_000,
)
main = DATASET.main
