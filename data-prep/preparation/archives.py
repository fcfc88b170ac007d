"""Read text lines out of plain files, compressed files and archives; nothing is unpacked to disk.

A text is named by its file, followed by ::MEMBER where that is an archive: `train.en.gz`,
`de-en.tgz::de-en/train.tags.de-en.de`, or `x.tar::x.en.gz`, which is compressed inside of it.
"""

import gzip
import lzma
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile, ZipFile

SEPARATOR = "::"
DAMAGE = EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, tarfile.TarError, BadZipFile


def _find(entries: Iterable[tuple[str, Any]], member: str) -> Any:
    """The entry that ends with `member`; the folders above it differ between releases."""
    return next(entry for name, entry in entries if f"/{name}".endswith(f"/{member}"))


def _open(path: Path, member: str, stack: ExitStack) -> IO[bytes]:
    if not member:
        file = stack.enter_context(path.open("rb"))
    elif path.suffix == ".zip":
        pack = stack.enter_context(ZipFile(path))
        names = ((name, name) for name in pack.namelist())
        file = stack.enter_context(pack.open(_find(names, member)))
    else:
        tar = stack.enter_context(tarfile.open(path, "r:*"))
        # The entry, found while reading: for a name, tarfile would read the archive to its end, and
        # a compressed one again from its beginning.
        files = ((entry.name, entry) for entry in tar if entry.isfile())
        file = tar.extractfile(_find(files, member))
    return stack.enter_context(gzip.open(file)) if (member or path.name).endswith(".gz") else file


def read_lines(name: str) -> Iterator[bytes]:
    """The lines of a text, each with its newline; raises ValueError, which names the file."""
    file, _, member = name.partition(SEPARATOR)
    with ExitStack() as stack:
        try:
            yield from _open(Path(file), member, stack)
        except StopIteration:
            raise ValueError(f"{file} holds no {member}") from None
        except DAMAGE as error:
            raise ValueError(f"{file} is cut or damaged ({error})") from error
        except FileNotFoundError:
            raise ValueError(f"there is no {file}") from None
