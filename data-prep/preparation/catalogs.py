"""Find and read the message catalogs (gettext .po and .mo) inside wheels.

A wheel is a zip file: entries are read into memory and never written to disk. The catalogs are
parsed by polib and not by Babel, which refuses catalogs whose header was never filled in (the
placeholder date of xgettext), and some real ones are like that.
"""

import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import polib

# .../locale/de_DE/LC_MESSAGES/django.po; some projects leave the middle folder out.
CATALOG = re.compile(
    r"(?P<folder>.*/|)(?!LC_MESSAGES/)(?P<tag>[A-Za-z]{2,3}(?:[_@-][A-Za-z0-9]+)*)/"
    r"(?:LC_MESSAGES/)?(?P<domain>[^/]+)\.(?P<format>po|mo)"
)
# de_DE and es_419 are regions of a language; de_Informal, sr_Latn or zh_Hans are something else.
REGION = r"_([a-z]{2}|[0-9]{3})"
# Plone's messages are named by identifiers; the English text is a comment: Default: "Edit page"
DEFAULT = re.compile(r'\bDefault:\s*((?:"(?:[^"\\]|\\.)*"\s*)+)', re.DOTALL)


def best_tag(tags: set[str], language: str) -> str | None:
    """The folder for a language: itself, else one of its regions (de_DE for de).

    One folder only, so that Austrian spellings do not mix with German ones, and never a variant
    such as de_Informal. pt-br, pt_BR and PT-BR are the same.
    """
    wanted = language.replace("-", "_").lower()
    by_name = {tag.replace("-", "_").lower(): tag for tag in sorted(tags, reverse=True)}
    regions = [name for name in sorted(by_name) if re.fullmatch(wanted + REGION, name)]
    found = (by_name[name] for name in (wanted, f"{wanted}_{wanted}", *regions) if name in by_name)
    return next(found, None)


def find_catalogs(entries: list[str], language: str) -> Iterator[tuple[str, str, str]]:
    """(Entry, folder, domain) of the catalogs of a language among the entries of a wheel."""
    found: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for entry in entries:
        if match := CATALOG.fullmatch(entry):
            formats = found.setdefault((match["folder"], match["domain"]), {})
            formats.setdefault(match["tag"], {})[match["format"]] = entry
    for (folder, domain), formats_of in sorted(found.items()):
        if tag := best_tag(set(formats_of), language):
            # A .mo is the compiled .po: without the comments and the fuzzy marks.
            yield formats_of[tag].get("po") or formats_of[tag]["mo"], folder, domain


def default_text(comment: str) -> str:
    """The English text in Plone's comment `Default: "..."`, or nothing."""
    match = DEFAULT.search(comment)
    quoted = re.findall(r'"((?:[^"\\]|\\.)*)"', match[1], re.DOTALL) if match else []
    return re.sub(r"(?s)\\(.)", lambda one: " " if one[1] in "nrt" else one[1], "".join(quoted))


def parse(content: bytes, name: str) -> Iterator[tuple[str, str, str, str]]:
    """(Context, msgid, English, translation) of the entries that a human has finished."""
    is_po = name.endswith(".po")
    try:
        # polib opens a file if it is given the name of one; the added characters rule that out.
        po = polib.pofile(content.decode("utf-8-sig") + "\n") if is_po else None
        catalog = polib.mofile(content + b"\0") if po is None else po
    except (OSError, ValueError) as error:
        raise ValueError(f"{name} is not a readable catalog: {error}") from error
    for entry in catalog:
        # In nearly all languages the first plural form is the one for the singular msgid.
        translation = entry.msgstr or entry.msgstr_plural.get(0, "")
        # polib's .mo entries have no marks: msgfmt leaves fuzzy and obsolete ones out.
        if entry.msgid and translation and not (entry.obsolete or (is_po and entry.fuzzy)):
            english = default_text(entry.comment or "") or entry.msgid
            yield entry.msgctxt or "", entry.msgid, english, translation


def read_language(wheel: Path, language: str, note: Callable) -> dict[tuple, tuple[str, str]]:
    """English and translation of all in a wheel, by folder, domain, context and msgid."""
    messages = {}
    with zipfile.ZipFile(wheel) as archive:
        for entry, folder, domain in find_catalogs(archive.namelist(), language):
            try:
                for *key, english, translation in parse(archive.read(entry), entry):
                    messages[(folder, domain, *key)] = english, translation
            except ValueError as error:
                # One package ships a catalog that nobody can read; the rest of it is good.
                note(f"skipped: {error}")
    return messages
