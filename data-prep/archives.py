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
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

SEPARATOR = "::"
DAMAGE = (
    EOFError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)


def _open(path: Path, member: str, stack: ExitStack) -> IO[bytes]:
    file: IO[bytes] | None
    if not member:
        file = stack.enter_context(path.open("rb"))
    elif path.suffix == ".zip":
        file = stack.enter_context(stack.enter_context(zipfile.ZipFile(path)).open(member))
    else:
        # Some archives write ./NAME for NAME.
        archive = stack.enter_context(tarfile.open(path, "r:*"))
        entry = next((each for each in archive if each.name.removeprefix("./") == member), None)
        file = archive.extractfile(entry) if entry else None
        if file is None:
            raise KeyError(member)
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
