"""Run the scripts of data-prep as a user would."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
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
            with suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(script.pid, signal.SIGKILL)


def refused(result: Run, status: int = 1) -> str:
    """Check that a run failed with one line, and return the line."""
    assert result.status == status, result
    assert len(result.err) == 1, result.err
    return result.err[0]


def bare_python(folder: Path) -> str:
    """Make a Python that finds no package."""
    bare = folder / "bare python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    return str(bare)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".stamp"
    }
