"""Named steps in a folder: done ones are skipped, changed ones made again, results are whole.

A step names its result, and all that the result depends on: options, code, input files. When it is
done, that is written down: in the result if it is a folder (`.stamp`), else in `steps.json` of the
engine's folder. If nothing has changed since then, the step is skipped.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from shapeshifter_fairseq.writing import part_of

from .console import Failed, is_full, reason_of, refuse_separator, say
from .files import write

ROOT = Path(__file__).resolve().parents[1]
USER_DIR = ROOT / "shapeshifter_fairseq"
_MODULES = {  # run with -m, so that PYTHON alone decides which; shown by their usual names
    "fairseq_cli.": "fairseq-",
    "shapeshifter_fairseq": "shapeshifter",
    "sacrebleu": "sacrebleu",
    "torch.distributed.run": "torchrun",
}


@dataclass(frozen=True)
class Step:
    """A step, and what it makes."""

    name: str  # for the screen and the log
    makes: Path  # what is there when it is done; the last one, if there are several
    make: Callable[[Path], object]  # for a folder it gets an empty one, renamed when it is whole
    made_from: Any  # all that the result depends on, as JSON values
    folder: bool = False  # whether it makes a folder
    # Whether a killed step resumes. Then `made_from` has names, and a changed value is refused: it
    # would mix or lose results.
    resumes: bool = False
    begun: bool = True  # for a step that resumes: whether there is something to resume
    until: int | None = None  # for a step that resumes: how far it goes; this may change
    way_out: str = ""  # what to do when it fails

    @property
    def stamp(self) -> dict[str, Any]:
        """What is written down when the step is done, as JSON reads it back."""
        return json.loads(json.dumps({"made_from": self.made_from, "until": self.until}))


@dataclass(frozen=True)
class Progress:
    """How a command's lines move its bar."""

    total: int  # where it ends
    # A line that matches means progress: to the number in its group, or by one if it has no group.
    done: str
    note: str  # name (first group) and value (second group) to show beside the bar


class Engine:
    """Works in one folder, one process at a time.

    Args:
        folder: where `steps.json` is and, unless a step has its own, the log.
        log: name of the log in it.
        dry: print the commands of the steps, and run nothing.
        show: prints the commands.

    Raises:
        Failed: if fairseq cannot use such a folder.
    """

    def __init__(
        self,
        folder: Path,
        log: str = "steps.log",
        *,
        dry: bool = False,
        show: Callable[[str], object] = say,
    ) -> None:
        refuse_separator(folder)
        self.folder, self.log, self.dry = folder, folder / log, dry
        self._show = show
        self._lock: list[int] = []

    @contextlib.contextmanager
    def alone(self) -> Iterator[Engine]:
        """Wait until no other process works in the folder; it is made if necessary.

        Every process that is started from here holds the lock too. So the next script waits for
        processes that a killed one has left.
        """
        if self.dry:
            yield self
            return
        with self._lock_file() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"another process is at work in {self.folder}, waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            self._lock = [lock.fileno()]
            yield self
            self._lock = []

    def _lock_file(self) -> IO[str]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return (self.folder / "lock").open("a")
        except OSError as error:
            reason = f"nothing can be written in {self.folder}: {reason_of(error)}"
            raise Failed(f"{reason}; choose another folder") from error

    def do(self, step: Step) -> bool:
        """Run a step unless its result is there; returns whether it ran.

        Raises:
            Failed: in one line, with the way out.
        """
        if self.dry:
            step.make(step.makes)
            return True
        if step.folder:
            step = replace(step, makes=step.makes.resolve())  # a link stays a link
            refuse_foreign(step.makes)
        if self.is_done(step):
            say(f"{step.name}: already there, skipped")
            return False
        if step.resumes:
            known = self._known(step)
            if known and known["made_from"] != step.stamp["made_from"] and step.begun:
                raise Failed(f"{self.folder} was begun with other options: {_change(known, step)}")
            self._remember(step, {**step.stamp, "until": None})
        elif not step.folder:
            self._remember(step, None)  # a kill from here on leaves no old result
        try:
            if step.folder:
                self._make_folder(step)
            else:
                step.make(step.makes)
                self._remember(step, step.stamp)
        except (Failed, OSError, ValueError) as error:
            reason, way_out = reason_of(error), step.way_out
            places = (self.folder, step.makes.parent)
            if full := [place for place in places if place.is_dir() and is_full(place)]:
                reason = f"the disk of {full[0]} is full"
                way_out = "make room, then run the same command again"
            if step.folder:
                shutil.rmtree(part_of(step.makes), ignore_errors=True)
            if way_out:
                reason = f"the step '{step.name}' failed: {reason} -- {way_out}"
            log = "" if "(log: " in reason else f" (log: {self.log})"
            raise Failed(f"{reason}{log}") from error
        return True

    def is_done(self, step: Step) -> bool:
        """Whether the result of a step is there and nothing that it depends on has changed."""
        return step.makes.exists() and self._known(step) == step.stamp

    def _make_folder(self, step: Step) -> None:
        say(f"{step.name} ...")
        self.note(f"\n=== {step.name}, {time.ctime()}")
        part, old = part_of(step.makes), step.makes.with_name(f"{step.makes.name}.old")
        if step.makes.exists() and old.is_dir() and any(old.iterdir()):  # perhaps a backup
            raise Failed(f"{old} is in the way; move it to another name")
        for rest in (part, old):  # of a killed run
            shutil.rmtree(rest, ignore_errors=True)
        part.mkdir(parents=True)
        step.make(part)
        write(part / ".stamp", json.dumps(step.stamp, indent=1))
        if step.makes.exists():
            step.makes.rename(old)
        part.rename(step.makes)
        shutil.rmtree(old, ignore_errors=True)

    def _known(self, step: Step) -> dict[str, Any] | None:
        """The stamp of the result that is there, if it is known."""
        if not step.folder:
            return self._stamps().get(step.name)
        with contextlib.suppress(FileNotFoundError, ValueError):  # ValueError: an earlier release's
            return json.loads((step.makes / ".stamp").read_text(encoding="utf-8"))
        return None

    def made_from(self, name: str) -> Any:
        """What the result of a step was made from, by the step's name; None if it is not known."""
        return (self._stamps().get(name) or {}).get("made_from")

    def _stamps(self) -> dict[str, Any]:
        """What steps.json says, by the name of the step."""
        with contextlib.suppress(FileNotFoundError):
            return json.loads((self.folder / "steps.json").read_text(encoding="utf-8"))
        return {}

    def _remember(self, step: Step, stamp: dict[str, Any] | None) -> None:
        stamps = {**self._stamps(), step.name: stamp}
        write(self.folder / "steps.json", json.dumps(stamps, indent=1))

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
            log: of its own, in place of the engine's.
            progress: how it moves the bar, if it has one.
            environment: more variables.

        Raises:
            Failed: if it fails, with its last line.
        """
        line, last = shlex.join(map(str, command)), ""
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
                pass_fds=self._lock,
            ) as process,
        ):
            file.write(f"\n=== {name}, {time.ctime()}\n{line}\n")
            for line in process.stdout:
                file.write(line)
                file.flush()
                # If the command has a bar of its own, that is many lines in one.
                last = line.rstrip().rpartition("\r")[2] or last
                if progress and (found := re.search(progress.done, line)):
                    bar.update(int(found[1]) - bar.n if found.groups() else 1)
                if progress and (found := re.search(progress.note, line)):
                    bar.set_postfix_str(f"{found[1]} {found[2]}")
                if "error: " in line:  # errors that are written for people
                    bar.write(line.rstrip(), file=sys.stderr)
        if process.returncode:
            raise Failed(f"{name} failed: {last} (log: {log})")

    def into(self, file: Path, line: str) -> None:
        """Write the output of a shell command to a file, whole or not at all; or print it."""
        if self.dry:
            self._show(shown(f"{line} >{shlex.quote(str(file))}"))
            return
        shell = ["bash", "-euo", "pipefail", "-c", line]
        with part_of(file).open("wb") as part:
            done = subprocess.run(
                shell, stdout=part, stderr=subprocess.PIPE, pass_fds=self._lock, check=False
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


def refuse_foreign(result: Path) -> None:
    """Raise `Failed` if a folder holds something that is not the result of a step."""
    if not result.exists() or (result / ".stamp").is_file():
        return
    if not result.is_dir() or any(result.iterdir()):
        way_out = "move it away or choose another folder"
        raise Failed(f"{result} exists and was not made by this script; {way_out}")


def _change(known: dict[str, Any], step: Step) -> str:
    """Which options another call had, and which this one has, and the way out."""
    then, now = (list(made_from.items()) for made_from in (known["made_from"], step.made_from))
    gone = ", ".join(f"{name} {value}" for name, value in then if (name, value) not in now)
    new = ", ".join(f"{name} {value}" for name, value in now if (name, value) not in then)
    fewer = "fewer options"
    return f"it had {gone or fewer}, now {new or fewer}; give the old ones, or another folder"
