"""recipes/engine.py and commands.py: which steps are made, and what a kill or a mistake leaves."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from recipes.commands import Progress
from recipes.console import Failed
from recipes.engine import Engine, Step, refuse_foreign
from recipes.parallel import side_by_side


class Maker:
    """A step's `make` that counts its calls."""

    def __init__(self, fails: str = "") -> None:
        self.calls, self.fails = 0, fails

    def __call__(self, place: Path) -> None:
        self.calls += 1
        path = place / "file" if place.is_dir() else place
        path.write_text(f"made {self.calls} times")
        if self.fails:
            raise ValueError(self.fails)


@pytest.fixture(params=[False, True], ids=["file", "folder"])
def step(request, tmp_path: Path) -> Step:
    name = tmp_path / "a result"
    return Step("count", name, Maker(), {"--lr": "1"}, folder=request.param, way_out="count less")


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(tmp_path)


def test_a_step_is_made_once_and_again_when_what_it_is_made_from_changes(engine, step, capsys):
    assert [engine.do(step), engine.do(step)] == [True, False] and step.make.calls == 1
    assert capsys.readouterr().out.endswith("count: already there, skipped\n")
    assert engine.do(replace(step, made_from={"--lr": "2"})) and engine.do(step)
    assert step.make.calls == 3


def test_a_result_that_is_gone_is_made_again(engine, step):
    engine.do(step)
    step.makes.rename(step.makes.with_name("elsewhere"))
    assert engine.do(step) and step.makes.exists()


def test_a_mistake_is_one_line_with_the_way_out_and_leaves_the_result_before(engine, step):
    engine.do(step)
    broken = replace(step, make=Maker(fails="no numbers"), made_from={})
    with pytest.raises(Failed, match="the step 'count' failed: no numbers -- count less"):
        engine.do(broken)
    if step.folder:
        assert (step.makes / "file").read_text() == "made 1 times" and not engine.do(step)
        assert not list(engine.folder.glob("*.part")) + list(engine.folder.glob(".*.part"))
    else:  # what it wrote may be half
        assert engine.do(step)


def test_killed_between_the_two_renames_it_is_made_again(engine, tmp_path):
    step = Step("count", tmp_path / "a result", Maker(), 1, folder=True)
    engine.do(step)
    old = step.makes.rename(tmp_path / ".a result.replaced")
    assert engine.do(step) and (step.makes / "file").exists()
    assert not old.exists()


@pytest.mark.parametrize("name", ["old", "part"])
@pytest.mark.parametrize("there", [True, False])
def test_a_backup_beside_the_result_is_not_deleted(there, name, engine, tmp_path):
    step = Step("count", tmp_path / "a result", Maker(), 1, folder=True)
    engine.do(step)
    backup = (tmp_path / "a result").rename(tmp_path / f"a result.{name}")
    if there:
        (tmp_path / "a result").mkdir()
    assert engine.do(step)
    assert (backup / "file").read_text() == "made 1 times"


def test_a_link_to_the_result_stays_a_link(engine, tmp_path):
    (tmp_path / "large disk").mkdir()
    link = tmp_path / "a link"
    link.symlink_to(tmp_path / "large disk")
    for made_from in (1, 2):
        assert engine.do(Step("count", link, Maker(), made_from, folder=True))
    assert link.is_symlink() and (tmp_path / "large disk" / "file").exists()


def test_a_folder_of_somebody_else_is_not_replaced(engine, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    refuse_foreign(theirs)  # it is empty
    (theirs / "thesis.txt").touch()
    with pytest.raises(Failed, match="was not made by this script; move it away"):
        engine.do(Step("count", theirs, Maker(), 1, folder=True))
    # An earlier release wrote no JSON: it was ours, and is made again.
    (theirs / ".stamp").write_text("text of an earlier release\n")
    assert engine.do(Step("count", theirs, Maker(), 1, folder=True))


def test_one_that_resumes_is_never_mixed_and_goes_on(engine, tmp_path):
    made_from = {"--lr": "5e-4", "--dropout": "0.3"}
    train = Step("train", tmp_path / "last.pt", Maker(), made_from, resumes=True, until=4)
    assert engine.do(train) and not engine.do(train)
    assert engine.do(replace(train, until=9)) and engine.do(train)
    with pytest.raises(
        Failed, match=r"it had --lr 5e-4, now --lr 1e-3; give the old ones, or another"
    ):
        engine.do(replace(train, made_from={"--lr": "1e-3", "--dropout": "0.3"}))
    # Killed in the middle: it is known what was begun.
    killed = replace(train, name="killed", make=Maker(fails="killed"))
    assert engine.do(replace(killed, make=Maker(), made_from={"--typing": "error"}, begun=False))
    killed = replace(killed, begun=False)
    for _ in range(2):
        with pytest.raises(Failed):
            engine.do(killed)
    with pytest.raises(
        Failed, match="begun with other options: it had --dropout 0.3, now fewer options"
    ):
        engine.do(replace(killed, make=Maker(), made_from={"--lr": "5e-4"}, begun=True))


def test_a_second_process_waits_also_for_what_a_killed_one_has_left(engine, tmp_path, capsys):
    child = f"import time; open({str(tmp_path / 'begun')!r}, 'w'); time.sleep(3)"
    code = f"""
from pathlib import Path
from recipes.engine import Engine
with Engine(Path({str(tmp_path)!r})).alone() as engine:
    engine.run([{sys.executable!r}, "-c", {child!r}], "child")
"""
    first = subprocess.Popen([sys.executable, "-c", code])
    while not (tmp_path / "begun").exists():
        time.sleep(0.01)
    first.kill()
    first.wait()
    began = time.monotonic()
    with engine.alone():
        waited = time.monotonic() - began
    assert waited > 0.5 and "another process is at work" in capsys.readouterr().out


def test_commands_are_logged_and_end_with_their_last_words(engine):
    talk = [sys.executable, "-c", "print('one'); print('at 2 of 3'); print('x: error: three')"]
    engine.run(talk, "talk", progress=Progress(3, r"at (\d)", r"(at) (\d)"))
    log = engine.log.read_text()
    assert "=== talk, " in log and "one\nat 2 of 3\n" in log
    with pytest.raises(Failed, match=r"fall failed: the end \(log: .*steps.log\)"):
        engine.run([sys.executable, "-c", "print('the end'); raise SystemExit(3)"], "fall")
    assert (engine.folder / "steps.log").read_text().count("\n=== ") == 2
    of_torchrun = "[rank1]: Traceback", "[rank1]: ValueError: no such rank", "=" * 60
    with pytest.raises(Failed, match=r"fall failed: ValueError: no such rank \(log: "):
        engine.run([sys.executable, "-c", f"print(*{of_torchrun}, sep='\\n'); exit(1)"], "fall")


def test_a_file_is_written_whole_or_not_at_all(engine):
    path = engine.folder / "a file"
    engine.into(path, "printf 'b\\na\\n' | sort")
    assert path.read_text() == "a\nb\n"
    with pytest.raises(Failed, match="printf failed: "):
        engine.into(path, "printf 'x' | sort --no-such-option")
    assert path.read_text() == "a\nb\n"


def test_ctrl_c_ends_what_runs_and_begins_nothing_more():
    begun, stop, main = [], threading.Event(), threading.main_thread().ident
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def chain(number: int) -> None:
        begun.append(number)
        stop.wait(20)

    # When all chains are waiting for their turn, or run.
    threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT)).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            side_by_side(2, [partial(chain, number) for number in range(5)], stop.set)
    finally:
        signal.signal(signal.SIGINT, before)
    assert sorted(begun) == [0, 1] and stop.is_set()


def test_chains_run_side_by_side_and_one_that_fails_stops_no_other():
    both, done = threading.Barrier(2, timeout=20), []

    def chain(number: int) -> None:
        if number < 2:
            both.wait()
        if number == 0:
            raise Failed("the first one")
        done.append(number)

    with pytest.raises(Failed, match="the first one"):
        side_by_side(2, [partial(chain, number) for number in range(4)])
    assert sorted(done) == [1, 2, 3]


def test_on_a_full_disk_no_other_way_out_is_named(tmp_path, monkeypatch):
    engine, maker = Engine(tmp_path), Maker("what the command said")
    step = Step("binarise", tmp_path / "bin", maker, {}, folder=True, way_out="try --workers 1")
    with monkeypatch.context() as patch:
        patch.setattr("recipes.engine.is_full", lambda place: True)
        with pytest.raises(Failed) as raised:
            engine.do(step)
    full = f"the step 'binarise' failed: the disk of {tmp_path} is full -- make room, then run the"
    assert str(raised.value).startswith(full) and not step.makes.exists()
    maker.fails = ""
    assert engine.do(step)
