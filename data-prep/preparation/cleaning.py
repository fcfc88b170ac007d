"""Turn catalog messages into plain sentences and tell which pairs are worth learning from."""

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


def without_mnemonic(text: str) -> str:
    """A label without the underscore that marks a shortcut letter: "_File", "B_earbeiten"."""
    # A longer sentence with an underscore is talking about an identifier.
    is_label = len(text.split()) <= 6 and "<" not in text
    is_mnemonic = text.count("_") == PLACEHOLDER.sub("", text).count("_") == 1
    return text.replace("_", "") if is_label and is_mnemonic else text


def is_identifier(msgid: str) -> bool:
    """Whether it is the name of a message, and no English text."""
    return IDENTIFIER.fullmatch(msgid.strip()) is not None


def clean(text: str) -> str:
    """One line of plain text, each character in its one usual spelling."""
    plain = unicodedata.normalize("NFC", html.unescape(text)).translate(INVISIBLE)
    # split() knows the no-break spaces too.
    return without_mnemonic(" ".join(plain.split()))


def is_text(line: str) -> bool:
    """Whether at least half of the text is letters, placeholders and spaces aside."""
    rest = "".join(PLACEHOLDER.sub("", line).split())
    letters = sum(map(str.isalpha, rest))
    return letters >= 2 and letters * 2 >= len(rest)


def fault(source: str, target: str) -> str | None:
    """What is wrong with a pair of clean lines, or None where nothing is."""
    if not (is_text(source) and is_text(target)):
        return "no text"
    if MARKUP.search(source) or MARKUP.search(target):
        return "markup"
    if source.casefold() == target.casefold():
        return "copy"
    if max(len(source.split()), len(target.split())) > 100:
        return "too long"
    # Ten characters of slack: among short labels, large ratios are honest ("At", "Österreich").
    short, long = sorted((len(source) + 10, len(target) + 10))
    return "length ratio" if long > 3 * short else None
