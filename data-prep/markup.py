"""Take the sentences out of the formats in which IWSLT and WMT publish text.

Neither format is good XML (an & may stand alone), so no XML parser reads them; what fairseq's
preparation and sacreBLEU do is to take them line by line, and so is this. Entities such as &amp;
stay as they are: the papers' test sets hold them too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

METADATA = re.compile(rb"<(?:url|talkid|keywords)>")
TALK_TAG = re.compile(rb"</?(?:title|description)>")
SEGMENT = re.compile(rb"<seg id=[^>]*>(.*)</seg>")


def plain(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Every line is a sentence."""
    yield from lines


def talks(lines: Iterable[bytes]) -> Iterator[bytes]:
    """IWSLT's training text: sentences, and tagged lines about each talk.

    Titles and descriptions are translated, hence sentences; addresses and keywords are not.
    """
    for line in lines:
        if not METADATA.search(line):
            yield TALK_TAG.sub(b"", line)


def segments(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Test sets in XML or SGML: a sentence is `<seg id="1"> ... </seg>` on a line of its own."""
    for line in lines:
        if match := SEGMENT.search(line):
            yield match[1]


READERS: dict[str, Callable[[Iterable[bytes]], Iterator[bytes]]] = {
    "plain": plain,
    "talks": talks,
    "segments": segments,
}
