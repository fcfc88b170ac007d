"""Named steps in a folder: done ones are skipped, changed ones made again, results are whole.

A step names its result, and all that the result depends on: options, code, input files. When it is
done, that is written down: in the result if it is a folder (`.stamp`), else in `steps.json` of the
engine's folder. If nothing has changed since then, the step is skipped.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from .commands import Commands
from .console import Failed, is_full, reason_of, refuse_separator, say
from .files import write


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


class Engine(Commands):
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
        super().__init__(folder / log, dry=dry, show=show)
        self.folder = folder

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
            self._inherited = [lock.fileno()]
            yield self
            self._inherited = []

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
                shutil.rmtree(_part_of(step.makes), ignore_errors=True)
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
        part, old = _part_of(step.makes), step.makes.with_name(f".{step.makes.name}.replaced")
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


def _part_of(folder: Path) -> Path:
    """The name of a folder until it is whole; it is deleted, so it is none that a person takes."""
    return folder.with_name(f".{folder.name}.part")


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
