"""Run the scripts of data-prep as a user would, and import their parts."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

DATA_PREP = Path(__file__).resolve().parents[2] / "data-prep"
ENVIRONMENT = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "no_proxy": "*"}


class Run(NamedTuple):
    """A finished run of a script."""

    status: int
    out: list[str]
    err: list[str]


def command(name: str, arguments: tuple[str | Path, ...]) -> list[str | Path]:
    return ["bash", DATA_PREP / f"prepare-{name}.sh", "--workers", "2", *arguments]


def prepare(
    name: str,
    *arguments: str | Path,
    environment: dict[str, str] | None = None,
    limit: Callable[[], None] | None = None,
) -> Run:
    """Run prepare-NAME.sh to its end."""
    done = subprocess.run(
        command(name, arguments),
        env={**ENVIRONMENT, **(environment or {})},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=limit,
    )
    return Run(done.returncode, done.stdout.splitlines(), done.stderr.splitlines())


@contextmanager
def killed(name: str, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """Run prepare-NAME.sh until the end of the block, where all its processes are killed."""
    script = subprocess.Popen(
        command(name, arguments),
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with script:
        try:
            yield script
        finally:
            os.killpg(script.pid, signal.SIGKILL)


def refused(result: Run, status: int = 1) -> str:
    """Check that a run failed with one line, and return the line."""
    assert result.status == status, result
    assert len(result.err) == 1, result.err
    return result.err[0]


def bare_python(folder: Path) -> str:
    """Make a Python that finds no package."""
    bare = folder / "bare python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    bare.chmod(0o755)
    return str(bare)


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".stamp"
    }


def part(name: str) -> ModuleType:
    """Import a module of data-prep, which is a folder of scripts and no package."""
    if str(DATA_PREP) not in sys.path:
        sys.path.insert(0, str(DATA_PREP))
    return importlib.import_module(name)
