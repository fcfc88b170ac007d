"""`python -m shapeshifter_fairseq` and what it prints."""

import json
import os
import resource
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from tqdm import tqdm

from shapeshifter_fairseq import ShapeshifterError, cli

from .test_runs import write

INTERRUPTED = "shapeshifter: interrupted; run the same command again to start over\n"
TINY = ["--arch", "shapeshifter_transformer_tiny"]
IWSLT = "--arch shapeshifter_transformer_iwslt --source-vocab 8848 --target-vocab 6632".split()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "shapeshifter_fairseq", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_params_prints_one_json_object_and_nothing_else():
    done = run("params", *IWSLT, "--json")
    assert done.stderr == ""
    counts = json.loads(done.stdout)
    assert list(counts) == [
        *("total", "encoder_decoder", "embedding", "dense_total", "percent", "fold")
    ]
    assert counts["total"] == counts["encoder_decoder"] + counts["embedding"] == 9216000


def test_params_takes_model_options(capsys):
    joined = ["params", *TINY, "--vocab", "4000", "--json"]
    totals = []
    staged = ["--stage-updates", "500", "--stage-order", "first-last"]
    for options in ([], ["--layer-rank", "4"], ["--factor-plan", "*=dense"], staged):
        assert cli.main([*joined, *options]) == 0
        totals.append(json.loads(capsys.readouterr().out)["total"])
    assert totals[1] < totals[0] == totals[3] < totals[2]


def test_user_dir_is_the_package():
    done = run("user-dir")
    assert (Path(done.stdout.strip()) / "models" / "shapeshifter_transformer.py").is_file()


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["params", "--arch", "nonsense", "--vocab", "50"], "--arch nonsense"),
        (["params", "--arch", "transformer"], "--vocab"),
        (["params", *IWSLT, "--vocab", "50"], "not both"),
        (["params", *IWSLT, "--layer-rank", "0"], "--layer-rank 0"),
        (["params", *TINY, "--vocab", "50", "--layer-gain", "inf"], "a gain is a number above 0"),
        (["params", *TINY, "--vocab", "50", "--encoder-attention-heads", "3"], "divisible by num_"),
        (["params", *TINY, "--vocab", "50", "--decoder-embed-dim", "64"], "--share-all-embeddings"),
        (["params", "--arch", "nonsense", "--vocab", "50", "--percent", "9"], "no such arch"),
        (
            ["params", "--arch", "word2ket_lstm_iwslt", "--vocab", "50", "--percent", "40"],
            "does not have both",
        ),
        (["params", *TINY, "--source-vocab", "50", "--target-vocab", "60"], "--joined-dictionary"),
        (["params", "--arch", "transformer", "--vocab", "2"], "too small"),
    ],
)
def test_mistakes_are_one_line(arguments, words, capsys):
    assert cli.main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and words in lines[0]


def test_options_between_files_are_refused_with_the_way_out(capsys):
    with pytest.raises(SystemExit):
        cli.main(["average", "out.pt", "--force", "a.pt"])
    error = capsys.readouterr().err
    assert "unrecognized arguments: a.pt (give options before all files or after them)" in error


def test_warnings_are_one_line(monkeypatch, capsys):
    monkeypatch.setattr(cli.params, "run", lambda _: warnings.warn("a row is zero", stacklevel=2))
    assert cli.main(["params", *TINY]) == 0
    assert capsys.readouterr().err == "shapeshifter: warning: a row is zero\n"


def test_debugging_brings_the_traceback_back(monkeypatch):
    monkeypatch.setenv("SHAPESHIFTER_DEBUG", "1")
    with pytest.raises(ShapeshifterError, match="--vocab"):
        cli.main(["params", "--arch", "transformer"])


@pytest.mark.parametrize("arguments", [["--help"], ["user-dir"], ["average", "--help"]])
def test_what_needs_neither_torch_nor_fairseq_waits_for_neither(arguments):
    script = (
        "import sys; from shapeshifter_fairseq import cli\n"
        "try: cli.main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print('imported', sorted({'torch', 'fairseq', 'numpy'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[-1] == "imported []"


def test_fairseq_is_silent_about_what_only_speech_needs():
    script = (
        "import sys; sys.modules['tensorboardX'] = None; from shapeshifter_fairseq import cli; "
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", script, "params", *TINY, "--vocab", "2000", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stderr == "" and json.loads(done.stdout)


@pytest.mark.parametrize(
    "example",
    [
        "params --arch shapeshifter_transformer_iwslt",
        "project dense/checkpoint_best.pt small.pt --layer-rank 64",
        "fold runs/my-model/checkpoint_best.pt folded.pt",
        "average averaged.pt --last 10 runs/my-model",
    ],
)
def test_help_teaches(example, capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main([example.split()[0], "--help"])
    assert exit.value.code == 0
    assert f"shapeshifter {example}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "call, module, extras",
    [
        ("project dense.pt out.pt", "tqdm", "fairseq"),
        ("project dense.pt out.pt", "shapeshifter_fairseq.fairseq_side.options", "fairseq"),
        ("unpack small.pack small", "shapeshifter_fairseq.packing", "deploy"),
        ("compare run", "shapeshifter_fairseq.runs", "recipes"),
    ],
)
def test_a_module_that_is_missing_is_one_line(call, module, extras, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, module, None)
    assert cli.main(call.split()) == 2
    way_out = f"{call.split()[0]} needs {module}: pip install 'shapeshifter-fairseq[{extras}]'"
    assert capsys.readouterr().err == f"shapeshifter: error: {way_out}\n"


@pytest.mark.parametrize(
    "call, words",
    [
        (["compare", "{run}", "--out", "/proc/no/place"], "/proc/no"),
        (["average", "/proc/x.pt", "{run}/a.pt"], "/proc/x.pt cannot be written: "),
        (["fold", "{run}/a.pt", "/proc/x.pt"], "/proc/x.pt cannot be written: "),
        (["project", "{run}/a.pt", "/proc/x.pt"], "/proc/x.pt cannot be written: "),
        (["pack", "{run}/a.pt", "/proc/x", "--data", "{run}"], "/proc/x cannot be written: "),
    ],
)
def test_where_nothing_can_be_written_is_one_line(call, words, tmp_path, capsys):
    run = write(tmp_path / "run", "dense", 9, 1)
    assert cli.main([word.format(run=run) for word in call]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("shapeshifter: error: ") and words in lines[0]


def test_a_full_disk_is_named(tmp_path):
    """A limit of the shell stands in for the disk: torch hides both behind words of its own."""
    torch.save({"model": {"x": torch.zeros(9000)}}, tmp_path / "a.pt")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    done = subprocess.run(
        [sys.executable, "-m", "shapeshifter_fairseq", "average", "m.pt", "a.pt"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8000, limit)),
    )
    assert done.stderr == "shapeshifter: error: m.pt cannot be written: File too large\n"
    assert {path.name for path in tmp_path.iterdir()} == {"a.pt"}


@pytest.mark.parametrize("what, status", [(KeyboardInterrupt, 130), (BrokenPipeError, 1)])
def test_an_interrupt_and_a_closed_pipe_are_no_traceback(what, status, monkeypatch, capfd):
    def interrupted(_):
        raise what

    monkeypatch.setattr(cli.COMMANDS["user-dir"], "run", interrupted)
    before = os.dup(1)
    assert cli.main(["user-dir"]) == status
    os.dup2(before, 1)
    assert capfd.readouterr().err in (INTERRUPTED, "")


def test_interrupted_the_bar_goes_and_one_line_stays(monkeypatch, capsys):
    def under_a_bar(_):
        for _ in tqdm(range(9), desc="project", leave=False):
            raise KeyboardInterrupt

    monkeypatch.setattr(cli.COMMANDS["user-dir"], "run", under_a_bar)
    assert cli.main(["user-dir"]) == 130
    *bar, line = capsys.readouterr().err.split("\r")
    assert "project:   0%" in bar[1] and not bar[-1].strip() and line == INTERRUPTED


def test_interrupted_while_torch_is_imported_it_is_one_line_too(monkeypatch, capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.COMMANDS["params"], "add_options", interrupted)  # imports torch
    assert cli.main(["params"]) == 130 and capsys.readouterr().err == INTERRUPTED


def test_params_does_not_wait_for_torchs_compiler():
    """It takes longer to import than all the rest; so computing on "meta" is left alone."""
    script = (
        "import sys; from shapeshifter_fairseq import cli; cli.main(sys.argv[1:])\n"
        "print('imported', sorted({'sympy', 'torch._dynamo'} & set(sys.modules)))"
    )
    call = ["params", *IWSLT, "--percent", "20", "--json"]
    done = subprocess.run([sys.executable, "-c", script, *call], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "imported []"
