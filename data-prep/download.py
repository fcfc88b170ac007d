"""Fetch files into a folder; a download that was cut goes on where it stopped.

A file takes its name only when it is whole: as long as the server announced, readable to its end
if it is compressed, and equal to its checksum where one is known: in `--checksums`, as sha256sum
writes them, or at the end of the address as #md5=... The file's name is the last part of the
address unless that ends in #name=... `SHA256SUMS` in the folder lists what was fetched.

mtdata, which knows many of the corpora, does not fetch them here: it lacks News Commentary v9, UN
2000 and the WMT'10 Giga corpus, starts cut downloads over, goes on without verification when a
certificate is bad, and cannot be pointed at a mirror (0.5.1).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, urldefrag, urlsplit

from lines import run
from tqdm import tqdm

BLOCK = 1 << 20
TRIES = 3
"""Failures in a row, without a byte, after which it gives up."""
TIMEOUT = 60
"""Seconds without a byte after which a connection counts as dead."""


def read_checksums(file: Path) -> dict[str, str]:
    """Read lines of `SHA256  NAME`; raises ValueError."""
    sums = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        digest, _, name = line.partition(" ")
        if len(digest) != 64 or not name.strip():
            raise ValueError(f"{file}, line {number} is not 'SHA256  NAME' as sha256sum writes it")
        sums[Path(name.strip().removeprefix("*")).name] = digest.lower()
    return sums


def digest(file: Path, algorithm: str) -> str:
    state = hashlib.new(algorithm)
    with file.open("rb") as content:
        while block := content.read(BLOCK):
            state.update(block)
    return state.hexdigest()


class Remote(NamedTuple):
    """Where a file is, what it is called here, and its MD5 if that is known ('' if not)."""

    url: str
    name: str
    md5: str

    @classmethod
    def parse(cls, address: str, mirror: str) -> Remote:
        """Read an address, and find it in a mirror with the layout of `wget --mirror`."""
        parts = urlsplit(address)
        extra = dict(parse_qsl(parts.fragment))
        name = extra.get("name", Path(parts.path).name)
        folder = parts.netloc + parts.path.rpartition("/")[0]
        url = f"{mirror.rstrip('/')}/{folder}/{name}" if mirror else urldefrag(address).url
        return cls(url, name, extra.get("md5", ""))


def tag_of(part: Path) -> Path:
    return part.with_name(part.name + ".tag")


def forget(part: Path) -> None:
    """Remove what was fetched of a file, to start over."""
    part.unlink()
    tag_of(part).unlink(missing_ok=True)


def fetch_rest(url: str, part: Path) -> None:
    """Append what is missing to `part`, or start over where the server cannot go on.

    Raises OSError if the connection fails and EOFError if it ends early.
    """
    done = part.stat().st_size if part.exists() else 0
    # The server's name for this version of the file: never glue two versions together.
    tag_file = tag_of(part)
    tag = tag_file.read_text() if tag_file.exists() else ""
    headers = {"User-Agent": "shapeshifter-fairseq data-prep"}
    if done and tag:
        headers |= {"Range": f"bytes={done}-", "If-Range": tag}
    with urllib.request.urlopen(
        urllib.request.Request(url, headers=headers), timeout=TIMEOUT
    ) as answer:
        resumed = answer.status == 206
        if resumed and not answer.headers["Content-Range"].startswith(f"bytes {done}-"):
            raise OSError(f"the server sent {answer.headers['Content-Range']}, not from {done}")
        if not resumed:
            done = 0
            # In this order: a kill in between must not leave the old part under the new tag.
            part.write_bytes(b"")
            tag_file.write_text(answer.headers["ETag"] or answer.headers["Last-Modified"] or "")
        length = answer.headers["Content-Length"]
        total = done + int(length) if length else None
        with (
            part.open("ab") as out,
            tqdm(
                initial=done, total=total, desc=url, unit="B", unit_scale=True, mininterval=1
            ) as bar,
        ):
            # read1 waits for no more than what has come, so a kill loses nothing.
            while block := answer.read1(BLOCK):
                out.write(block)
                out.flush()
                bar.update(len(block))
        size = part.stat().st_size
        if total is not None and size != total:
            raise EOFError(f"cut off after {size} of {total} bytes")


def check_readable(file: Path, name: str) -> None:
    """Read a compressed file to its end, where its own checksum is; raises ValueError."""
    try:
        if name.endswith((".gz", ".tgz")):
            with gzip.open(file) as content:
                while content.read(BLOCK):
                    pass
        elif name.endswith(".zip"):
            with zipfile.ZipFile(file) as archive:
                if damaged := archive.testzip():
                    raise ValueError(f"{damaged} in it is damaged")
    except (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(str(error)) from error


def fetch(remote: Remote, folder: Path, sha256: str) -> str:
    """Fetch one file and return its SHA-256. Raises ValueError in one line with the way out."""
    url, name, md5 = remote
    part = folder / f"{name}.part"
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            fetch_rest(url, part)
            break
        except urllib.error.HTTPError as error:
            if error.code == 416:
                # There is nothing after the part: it is whole, or it is of another version.
                if error.headers["Content-Range"] == f"bytes */{before}":
                    break
                forget(part)
            elif error.code < 500:
                raise ValueError(f"{url}: the server says {error.code} {error.reason}") from None
            failure: Exception = error
        except (EOFError, HTTPException, urllib.error.URLError, ConnectionError) as error:
            failure = error
        except TimeoutError:
            failure = TimeoutError(f"not a byte came for {TIMEOUT} seconds")
        # As long as something comes, however often it is cut, it goes on.
        came = part.exists() and part.stat().st_size > before
        failures = 0 if came else failures + 1
        if failures == TRIES:
            raise ValueError(f"{url}: {failure}; run again to go on where it stopped")
        time.sleep(2**failures / 2)
    try:
        check_readable(part, name)
    except ValueError as error:
        forget(part)
        raise ValueError(f"{url} is damaged: {error}; it was removed, run again") from error
    for algorithm, expected in (("md5", md5), ("sha256", sha256)):
        if expected and digest(part, algorithm) != expected:
            forget(part)
            raise ValueError(f"{url}: its {algorithm} is not {expected}; the file was not kept")
    found = digest(part, "sha256")
    part.replace(folder / name)
    tag_of(part).unlink(missing_ok=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checksums", type=Path, help="file of lines SHA256  NAME")
    parser.add_argument("--mirror", default="", help="take https://HOST/PATH from MIRROR/HOST/PATH")
    parser.add_argument("--to", type=Path, required=True, help="folder for the files")
    parser.add_argument("urls", nargs="+", help="what to fetch; what is there is kept")
    args = parser.parse_args()
    expected = read_checksums(args.checksums) if args.checksums else {}
    for address in args.urls:
        remote = Remote.parse(address, args.mirror)
        if not (args.to / remote.name).exists():
            sha256 = fetch(remote, args.to, expected.get(remote.name, ""))
            with (args.to / "SHA256SUMS").open("a", encoding="utf-8") as sums:
                sums.write(f"{sha256}  {remote.name}\n")


if __name__ == "__main__":
    run(main)
