"""Get the raw files: fetch them, and resume a download that was cut.

A file takes its name only when it is whole: as long as the server announced, readable to its end if
it is compressed, and equal to its checksum where one is known: in --checksums, or at the end of the
address as #md5=... Its name is the last part of the address unless that ends in #name=...

No library does this. mtdata (0.5.1) lacks News Commentary v9, UN 2000 and the WMT'10 Giga corpus,
starts cut downloads over, goes on without verification when a certificate is bad, and knows no
mirror. pooch (1.9.0) starts cut downloads over as well.
"""

import gzip
import hashlib
import time
import urllib.request
from collections import deque
from collections.abc import Sequence
from functools import partial
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import parse_qsl, urldefrag, urlsplit
from zipfile import ZipFile

from tqdm import tqdm

from recipes.console import Failed, reason_of, say

from .archives import DAMAGE, SEPARATOR

TRIES = 3  # failures in a row, without a byte, after which it gives up
TIMEOUT = 60  # seconds without a byte after which a connection counts as dead
OFFLINE = "it needs the network; without it, fetch the files elsewhere and give --from DIR"


def locate(address: str, mirror: str) -> tuple[str, str, str]:
    """The URL of an address, in a mirror if there is one, the file's name, and its MD5 or ''."""
    parts = urlsplit(address)
    extra = dict(parse_qsl(parts.fragment))
    name = extra.get("name", Path(parts.path).name)
    folder = parts.netloc + parts.path.rpartition("/")[0]
    url = f"{mirror.rstrip('/')}/{folder}/{name}" if mirror else urldefrag(address).url
    return url, name, extra.get("md5", "")


def have(
    names: Sequence[str],
    work: Path,
    source: Path | None = None,
    mirror: str = "",
    checksums: Path | None = None,
) -> dict[str, str]:
    """Get texts, from `source` or the network; returns FILE::MEMBER for each ADDRESS::MEMBER.

    A name that is not an address is a file of the user's own.
    """
    folder = source or work / "download"
    places = {name: name.partition(SEPARATOR)[0] for name in names}
    remotes = {place: locate(place, mirror) for place in places.values() if "://" in place}
    for place in places.values():
        if place not in remotes and not Path(place).is_file():
            raise Failed(f"there is no {place}")
    missing = [remote for remote in remotes.values() if not (folder / remote[1]).is_file()]
    if missing and source:
        address, name, *_ = missing[0]
        raise Failed(f"--from {folder} holds no {name} (it comes from {address})")
    sums = _read_checksums(checksums) if checksums else {}
    if missing:
        say("download ...")
        folder.mkdir(exist_ok=True)
        try:
            for url, name, md5 in missing:
                found = fetch(url, folder / name, {"md5": md5, "sha256": sums.get(name, "")})
                with (folder / "SHA256SUMS").open("a", encoding="utf-8") as fetched:
                    fetched.write(f"{found}  {name}\n")
        except (OSError, ValueError) as error:
            raise Failed(f"the step 'download' failed: {reason_of(error)} -- {OFFLINE}") from error
    elif remotes and not source:
        say("download: already there, skipped")
    files = {place: folder / name for place, (_, name, _) in remotes.items()}
    for file in files.values():
        if file.name in sums and digest(file, "sha256") != sums[file.name]:
            raise Failed(f"{file} differs from its checksum in {checksums}; fetch it again")
    return {name: name.replace(at, str(files.get(at, at))) for name, at in places.items()}


def _read_checksums(file: Path) -> dict[str, str]:
    lines = [line.partition(" ") for line in file.read_text(encoding="utf-8").splitlines()]
    if not all(len(found) == 64 and name.strip() for found, _, name in lines):
        raise Failed(f"{file} is not a list of lines 'SHA256  NAME' as sha256sum writes it")
    return {Path(name.strip(" *")).name: found.lower() for found, _, name in lines}


def digest(file: Path, algorithm: str) -> str:
    """The checksum of a file."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, algorithm).hexdigest()


def fetch(url: str, file: Path, sums: dict[str, str]) -> str:
    """Fetch one file with these checksums, as far as they are known, and return its SHA-256."""
    part, failures = file.with_name(f"{file.name}.part"), 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            fetch_rest(url, part)
            break
        except HTTPError as error:
            # 416: nothing comes after the part, because it is whole, or of another version.
            if error.code == 416 and error.headers["Content-Range"] == f"bytes */{before}":
                break
            if error.code == 416:
                part.unlink()
            elif error.code < 500:
                raise ValueError(f"{url}: the server says {error.code} {error.reason}") from None
            failure = str(error)
        except TimeoutError:
            failure = f"not a byte came for {TIMEOUT} seconds"
        except (EOFError, HTTPException, URLError, ConnectionError) as error:
            failure = str(error)
        # Try again as long as something comes, however often it is cut.
        failures = 0 if part.exists() and part.stat().st_size > before else failures + 1
        if failures == TRIES:
            raise ValueError(f"{url}: {failure}; run again to resume")
        time.sleep(2**failures / 2)
    _tag(part).unlink(missing_ok=True)
    wrong = _damage(part, file.name)
    for algorithm, expected in sums.items():
        if not wrong and expected and digest(part, algorithm) != expected:
            wrong = f"its {algorithm} is not {expected}"
    if wrong:
        part.unlink()
        raise ValueError(f"{url}: {wrong}; it was removed, run again")
    return digest(part.replace(file), "sha256")


def fetch_rest(url: str, part: Path) -> None:
    """Append what is missing to `part`, or start over where the server cannot go on."""
    done = part.stat().st_size if part.exists() else 0
    tag = _tag(part).read_text() if _tag(part).exists() else ""
    headers = {"User-Agent": "shapeshifter-fairseq data-prep"}
    if done and tag:
        headers |= {"Range": f"bytes={done}-", "If-Range": tag}
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        if answer.status != 206:
            done = 0
            # In this order: a kill in between must not leave the old part under the new tag.
            part.write_bytes(b"")
            _tag(part).write_text(answer.headers["ETag"] or answer.headers["Last-Modified"] or "")
        elif not answer.headers["Content-Range"].startswith(f"bytes {done}-"):
            raise OSError(f"the server sent {answer.headers['Content-Range']}, not from {done}")
        length = answer.headers["Content-Length"]
        total = done + int(length) if length else None
        how = {"initial": done, "total": total, "unit": "B", "unit_scale": True, "disable": None}
        with part.open("ab") as out, tqdm(desc=url, **how) as bar:
            # read1 returns what has come so far, so a kill loses nothing.
            while block := answer.read1(1 << 20):
                out.write(block)
                out.flush()
                bar.update(len(block))
    size = part.stat().st_size
    if total is not None and size != total:
        raise EOFError(f"cut off after {size} of {total} bytes")


def _tag(part: Path) -> Path:
    """The file with the server's tag of this version, so that two versions are never joined."""
    return part.with_name(f"{part.name}.tag")


def _damage(file: Path, name: str) -> str:
    """What is wrong with a compressed file; it is read to its end, where its checksum is."""
    try:
        if name.endswith(".zip") and (bad := ZipFile(file).testzip()):
            return f"{bad} in it is damaged"
        if name.endswith("gz"):
            deque(iter(partial(gzip.open(file).read, 1 << 20), b""), maxlen=0)
    except DAMAGE as error:
        return f"it is damaged: {error}"
    return ""
