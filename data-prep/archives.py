"""Read text lines out of plain files, compressed files and archives; nothing is unpacked to disk.

A text is named by its file, followed by `::MEMBER` where the file is an archive:

    train.en.gz
    de-en.tgz::de-en/train.tags.de-en.de
    giga-fren.tar::giga-fren.release2.fixed.en.gz   (compressed inside the archive)
"""

from __future__ import annotations

import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TypeVar

SEPARATOR = "::"
DAMAGE = (
    EOFError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)

Entry = TypeVar("Entry")


def _find(entries: Iterable[tuple[str, Entry]], member: str) -> Entry:
    """Choose the entry of an archive; which folders are around it differs between releases."""
    for name, entry in entries:
        if name == member or name.endswith(f"/{member}"):
            return entry
    raise KeyError(member)


def _open(path: Path, member: str, stack: ExitStack) -> IO[bytes]:
    if not member:
        file: IO[bytes] = stack.enter_context(path.open("rb"))
    elif path.suffix == ".zip":
        pack = stack.enter_context(zipfile.ZipFile(path))
        names = pack.namelist()
        file = stack.enter_context(pack.open(_find(zip(names, names), member)))
    else:
        tar = stack.enter_context(tarfile.open(path, "r:*"))
        # The entry, found while reading: for a name, tarfile would read the archive to its end, and
        # a compressed one again from its beginning.
        files = ((entry.name, entry) for entry in tar if entry.isfile())
        content = tar.extractfile(_find(files, member))
        assert content is not None, "isfile() means that there is content"
        file = content
    if (member or path.name).endswith(".gz"):
        file = stack.enter_context(gzip.open(file))
    return file


def read_lines(name: str) -> Iterator[bytes]:
    """Yield the lines of a text, each with its newline.

    Raises ValueError, in one line that names the file, if it is damaged or lacks the member.
    """
    file, _, member = name.partition(SEPARATOR)
    path = Path(file)
    with ExitStack() as stack:
        try:
            yield from _open(path, member, stack)
        except KeyError:
            raise ValueError(f"{path} holds no {member}") from None
        except DAMAGE as error:
            raise ValueError(f"{path} is cut or damaged ({error})") from error
        except FileNotFoundError:
            raise ValueError(f"there is no {path}") from None
