"""Commands of other programs: run with a log and a bar, or printed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shapeshifter_fairseq.writing import part_of

from .console import Failed

ROOT = Path(__file__).resolve().parents[1]
USER_DIR = ROOT / "shapeshifter_fairseq"
_MODULES = {  # run with -m, so that PYTHON alone decides which; shown by their usual names
    "fairseq_cli.": "fairseq-",
    "shapeshifter_fairseq": "shapeshifter",
    "sacrebleu": "sacrebleu",
    "torch.distributed.run": "torchrun",
}
_ERROR = r"(?:[\w.]*Error|shapeshifter: error): "  # how the line of an error begins


@dataclass(frozen=True)
class Progress:
    """How a command's lines move its bar."""

    total: int  # where it ends
    # A line that matches means progress: to the number in its group, or by one if it has no group.
    done: str
    note: str  # name (first group) and value (second group) to show beside the bar


class Commands:
    """Runs commands, or prints them.

    Args:
        log: the file for their output, unless a command has its own.
        dry: print the commands, and run nothing.
        show: prints the commands.
    """

    def __init__(self, log: Path, *, dry: bool, show: Callable[[str], object]) -> None:
        self.log, self.dry, self._show = log, dry, show
        self._inherited: list[int] = []  # open files that each command holds, too

    def note(self, text: str) -> None:
        """Write a line to the log and nothing to the screen."""
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"{text}\n")

    def run(
        self,
        command: Sequence[str | Path],
        name: str,
        *,
        log: Path | None = None,
        progress: Progress | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Run a command, its output to a log and its progress to the screen; or print it.

        Args:
            command: the words.
            name: for the log and the bar.
            log: of its own, in place of the common one.
            progress: how it moves the bar, if it has one.
            environment: more variables.

        Raises:
            Failed: if it fails, with its last line.
        """
        line, last, error = shlex.join(map(str, command)), "", ""
        if self.dry:
            to = f" >>{shlex.quote(str(log))} 2>&1" if log else ""
            self._show(f"{shown(line)}{to}")
            return
        log = log or self.log
        from tqdm import tqdm

        total, hidden = (progress.total, False) if progress else (None, True)
        how = {"mininterval": 1, "dynamic_ncols": True, "disable": hidden}
        with (
            log.open("a", encoding="utf-8") as file,
            tqdm(total=total, desc=name, **how) as bar,
            subprocess.Popen(
                [str(word) for word in command],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                env={**os.environ, **(environment or {})},
                pass_fds=self._inherited,
            ) as process,
        ):
            file.write(f"\n=== {name}, {time.ctime()}\n{line}\n")
            for line in process.stdout:
                file.write(line)
                file.flush()
                # If the command has a bar of its own, that is many lines in one.
                last = line.rstrip().rpartition("\r")[2] or last
                if found := re.match(rf"\[rank\d+\]: ({_ERROR}.+)", line):
                    error = found[1]  # torchrun's own last lines do not say it
                if progress and (found := re.search(progress.done, line)):
                    bar.update(int(found[1]) - bar.n if found.groups() else 1)
                if progress and (found := re.search(progress.note, line)):
                    bar.set_postfix_str(f"{found[1]} {found[2]}")
                if "error: " in line:  # errors that are written for people
                    bar.write(line.rstrip(), file=sys.stderr)
        if process.returncode:
            raise Failed(f"{name} failed: {error or last} (log: {log})")

    def into(self, file: Path, line: str) -> None:
        """Write the output of a shell command to a file, whole or not at all; or print it."""
        if self.dry:
            self._show(shown(f"{line} >{shlex.quote(str(file))}"))
            return
        shell = ["bash", "-euo", "pipefail", "-c", line]
        with part_of(file).open("wb") as part:
            done = subprocess.run(
                shell, stdout=part, stderr=subprocess.PIPE, pass_fds=self._inherited, check=False
            )
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise Failed(f"{line.split()[0]} failed: {said}")
        Path(part.name).replace(file)


def python(module: str, *arguments: object) -> list[str]:
    """The command that runs a module with this Python."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def shown(line: str) -> str:
    """A command as a person would type it: by the name that pip installs for a module."""
    for module, name in _MODULES.items():
        line = line.replace(f"{shlex.quote(sys.executable)} -m {module}", name)
    return line
