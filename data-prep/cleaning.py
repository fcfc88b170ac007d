"""Turn catalog messages into plain sentences and tell which pairs are worth learning from."""

from __future__ import annotations

import html
import re
import unicodedata

# %(name)s, %s, %1$d; {name}, {{name}}, ${name}; $name
PLACEHOLDER = re.compile(
    r"%\([^)]*\)[-#0-9. +]*[a-zA-Z]|%(?:\d+\$)?[-#0-9.+]*[a-zA-Z%]|\$?\{+[^{}]*\}+|\$\w+"
)
# One word glued with underscores, dots or colons: label_edit_page, yearly.on, text:intro
IDENTIFIER = re.compile(r"\S*\w[_.:=@\\]\w\S*")
MARKUP = re.compile(r"</|/>|<(?:a|b|br|code|div|em|h\d|hr|i|img|li|p|small|span|strong|ul)\b", re.I)
INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\ufeff"))
MAX_WORDS = 100
LABEL_WORDS = 6


def without_mnemonic(text: str) -> str:
    """Drop the underscore by which menus mark a shortcut letter: "_File", "B_earbeiten".

    Only from labels: a longer sentence with an underscore is talking about an identifier.
    """
    is_label = len(text.split()) <= LABEL_WORDS and "<" not in text
    is_mnemonic = text.count("_") == PLACEHOLDER.sub("", text).count("_") == 1
    return text.replace("_", "") if is_label and is_mnemonic else text


def is_identifier(msgid: str) -> bool:
    """Tell the name of a message, which is no English, from English text."""
    return IDENTIFIER.fullmatch(msgid.strip()) is not None


def clean(text: str) -> str:
    """Make one line of plain text, each character in its one usual spelling."""
    plain = unicodedata.normalize("NFC", html.unescape(text)).translate(INVISIBLE)
    # split() knows the no-break spaces too.
    return without_mnemonic(" ".join(plain.split()))


def is_text(line: str) -> bool:
    """Tell whether words are the larger part of what placeholders leave."""
    rest = "".join(PLACEHOLDER.sub("", line).split())
    letters = sum(map(str.isalpha, rest))
    return letters >= 2 and letters * 2 >= len(rest)


def fault(source: str, target: str) -> str | None:
    """Name what is wrong with a pair of clean lines, or None where nothing is."""
    if not (is_text(source) and is_text(target)):
        return "no text"
    if MARKUP.search(source) or MARKUP.search(target):
        return "markup"
    if source.casefold() == target.casefold():
        return "copy"
    if max(len(source.split()), len(target.split())) > MAX_WORDS:
        return "too long"
    # Ten characters of slack: among short labels, large ratios are honest ("At", "Österreich").
    lengths = sorted((len(source) + 10, len(target) + 10))
    if lengths[1] > 3 * lengths[0]:
        return "length ratio"
    return None
