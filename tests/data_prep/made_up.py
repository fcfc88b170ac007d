"""Tiny raw files of every dataset: names, inner layout and oddities of the real ones."""

import gzip
import io
import random
import tarfile
import zipfile
from pathlib import Path

SUBJECTS = {
    "en": ["The old man", "A child", "My sister's friend", 'The "red" dog', "Nobody"],
    "de": ["Der alte Mann", "Ein Kind", "Die Freundin", "Der „rote“ Hund", "Niemand"],
    "fr": ["Le vieil homme", "Un enfant", "L'amie", "Le chien « rouge »", "Personne"],
    "cs": ["Starý muž", "Dítě", "Sestřina přítelkyně", "Červený pes", "Nikdo"],
    "ro": ["Bătrânul", "Un copil", "Prietena surorii", "Câinele roşu", "Nimeni"],
}
VERBS = {
    "en": ["sees", "buys", "paints", "forgets"],
    "de": ["sieht", "kauft", "malt", "vergisst"],
    "fr": ["voit", "achète", "peint", "oublie"],
    "cs": ["vidí", "kupuje", "maluje", "zapomíná"],
    "ro": ["vede", "cumpără", "pictează", "uită"],
}
OBJECTS = {
    "en": ["a well-known house", "two trees & a lake", "3.5 apples", "the bridge", "rain"],
    "de": ["ein alt-bekanntes Haus", "zwei Bäume & einen See", "3,5 Äpfel", "die Brücke", "Regen"],
    "fr": ["une maison bien-aimée", "deux arbres & un lac", "3,5 pommes", "le pont", "la pluie"],
    "cs": ["starý dům", "dva stromy & jezero", "3,5 jablka", "most", "déšť"],
    "ro": ["o casă veche", "doi copaci & un lac", "3,5 mere", "podul", "ploaia ţării"],
}


def sentences(count: int, seed: int, languages: tuple[str, ...]) -> dict[str, list[str]]:
    """Make up the same sentences in several languages."""
    chance = random.Random(seed)
    chosen = [
        [chance.randrange(len(words["en"])) for words in (SUBJECTS, VERBS, OBJECTS)]
        for _ in range(count)
    ]
    return {
        language: [
            f"{SUBJECTS[language][s]} {VERBS[language][v]} {OBJECTS[language][o]}."
            for s, v, o in chosen
        ]
        for language in languages
    }


def text(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def tar(file: Path, members: dict[str, bytes], mode: str = "w:gz") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, mode) as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def zipped(file: Path, members: dict[str, bytes]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


CAPTIONS = "raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw"
"""Where Multi30k is on the web."""
MULTI30K = {"train": 300, "val": 20, "test_2016_flickr": 10}


def multi30k(folder: Path, languages: tuple[str, ...] = ("en", "de")) -> None:
    """Write train.en.gz and so on, as in data/task1/raw of multi30k/dataset."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (split, count) in enumerate(MULTI30K.items()):
        for language, lines in sentences(count, seed, languages).items():
            with gzip.open(folder / f"{split}.{language}.gz", "wb") as file:
                file.write(text(lines))


IWSLT_TESTS = ["TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012"]


def iwslt14(folder: Path) -> None:
    """Write de-en.tgz: talks with tags for training, XML for the test sets."""
    members = {"de-en/README": b"made up"}
    pairs = sentences(230, 1, ("de", "en"))
    for language, lines in pairs.items():
        talks = []
        for talk in range(10):
            title, description, *rest = lines[talk * 23 : talk * 23 + 23]
            talks += [
                f"<url>http://www.example.org/talks/{talk}</url>",
                "<keywords>talks, made up</keywords>" if language == "en" else "<keywords>x",
                f"<talkid>{talk}</talkid>",
                f"<title>{title}</title>",
                f"<description>TED Talk Subtitles: {description}</description>",
                *(f" {line} " for line in rest),
            ]
        # One pair too long, one too uneven, one empty on one side.
        talks += [" ".join(["long"] * 176), "short" + " and longer" * 9 * (language == "de")]
        talks += ["" if language == "de" else "There is no German for this."]
        members[f"de-en/train.tags.de-en.{language}"] = text(talks)
    for seed, name in enumerate(IWSLT_TESTS, 10):
        for language, lines in sentences(4, seed, ("de", "en")).items():
            body = "".join(
                f'<seg id="{number}"> {line.replace("Nobody", "Nobody’s")} </seg>\n'
                for number, line in enumerate(lines, 1)
            )
            members[f"de-en/IWSLT14.{name}.de-en.{language}.xml"] = (
                '<?xml version="1.0" encoding="UTF-8"?>\n<mteval>\n<refset setid="x">\n'
                f'<doc docid="1" genre="lectures">\n<title>Not a sentence</title>\n{body}</doc>\n'
                "</refset>\n</mteval>\n"
            ).encode()
    tar(folder / "de-en.tgz", members)


def sgml(lines: list[str]) -> bytes:
    body = "".join(f'<seg id="{number}">{line}</seg>\n' for number, line in enumerate(lines, 1))
    return f'<srcset setid="x" srclang="any">\n<doc docid="1">\n<p>\n{body}</p>\n</doc>\n'.encode()


BAD_BYTES = b"caf\xe9 from an old web page\n"


def corpus(prefix: str, count: int, seed: int, languages: tuple[str, ...]) -> dict[str, bytes]:
    pairs = sentences(count, seed, languages)
    return {f"{prefix}.{language}": text(lines) for language, lines in pairs.items()}


def wmt16(folder: Path) -> None:
    """Write Europarl v8, SETIMES2, newsdev2016 and newstest2016 for English-Romanian."""
    pair = ("en", "ro")
    too_long = {f"en-ro/SETIMES.en-ro.{language}": text(["wort " * 81]) for language in pair}
    setimes = corpus("en-ro/SETIMES.en-ro", 100, 2, pair)
    setimes = {name: content + too_long[name] for name, content in setimes.items()}
    zipped(folder / "en-ro.txt.zip", {"en-ro/README": b"", **setimes})
    europarl = corpus("training-parallel-ep-v8/europarl-v8.fi-en", 5, 3, pair)
    europarl |= corpus("training-parallel-ep-v8/europarl-v8.ro-en", 200, 4, pair)
    tar(folder / "training-parallel-ep-v8.tgz", europarl)
    for seed, archive, count in ((5, "dev", 12), (6, "test", 14)):
        news = {side: sgml(lines) for side, lines in sentences(count, seed, pair).items()}
        members = {}
        for source, target in (pair, pair[::-1]):
            start = f"{archive}/news{archive}2016-{source}{target}"
            members[f"{start}-src.{source}.sgm"] = news[source]
            members[f"{start}-ref.{target}.sgm"] = news[target]
        tar(folder / f"{archive}.tgz", members)


def wmt14(folder: Path, foreign: str) -> None:
    """Write the training archives and newstest2014 for English and German or French."""
    pair = (foreign, "en")
    crawl = corpus(f"commoncrawl.{foreign}-en", 300, 7, pair)
    crawl[f"commoncrawl.{foreign}-en.en"] += BAD_BYTES
    crawl[f"commoncrawl.{foreign}-en.{foreign}"] += b"caf\xc3\xa9\n"
    tar(folder / "training-parallel-commoncrawl.tgz", crawl)
    europarl = corpus(f"training/europarl-v7.{foreign}-en", 800, 8, pair)
    tar(folder / "training-parallel-europarl-v7.tgz", europarl)
    news = corpus(f"training/news-commentary-v9.{foreign}-en", 300, 9, pair)
    tar(folder / "training-parallel-nc-v9.tgz", news)
    if foreign == "fr":
        tar(folder / "training-parallel-un.tgz", corpus("un/undoc.2000.fr-en", 100, 10, pair))
        giga = corpus("giga-fren.release2.fixed", 1300, 11, pair)
        compressed = {f"{name}.gz": gzip.compress(content) for name, content in giga.items()}
        tar(folder / "training-giga-fren.tar", compressed, "w:")
    test = {side: sgml(lines) for side, lines in sentences(15, 12, pair).items()}
    start = f"test-full/newstest2014-{foreign}en"
    members = {f"{start}-src.en.sgm": test["en"], f"{start}-ref.{foreign}.sgm": test[foreign]}
    tar(folder / "test-full.tgz", members)


def tatoeba(folder: Path, columns: int) -> None:
    """Write deu-eng.zip: English, German, and in newer files the attribution."""
    pairs = sentences(400, 30, ("en", "de"))
    rows = [[*row, "CC-BY 2.0 (France)"][:columns] for row in zip(pairs["en"], pairs["de"])]
    members = {"deu.txt": text(["\t".join(row) for row in rows]), "_about.txt": b"made up"}
    zipped(folder / "deu-eng.zip", members)


def gigaword(folder: Path) -> None:
    """Write giga.zip with articles and titles."""
    members = {}
    for seed, (split, count) in enumerate({"train": 200, "valid": 10, "test": 8}.items(), 20):
        pairs = sentences(count, seed, ("en", "de"))
        members[f"data/giga/{split}.article"] = text([line.lower() for line in pairs["en"]])
        members[f"data/giga/{split}.title"] = text([line.lower() for line in pairs["de"]])
    zipped(folder / "giga.zip", members)
