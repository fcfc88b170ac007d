"""What the end-to-end tests share: real fairseq commands in subprocesses, on a corpus made here."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
USER_DIR = ROOT / "shapeshifter_fairseq"
BIN = Path(sys.executable).parent

# A model that trains in seconds and still has every kind of matrix.
SMALL = (
    "--arch shapeshifter_transformer_tiny --encoder-layers 2 --decoder-layers 2 "
    "--encoder-embed-dim 32 --encoder-ffn-embed-dim 64 --decoder-embed-dim 32 "
    "--decoder-ffn-embed-dim 64 --layer-rank 4 --embed-rank 8"
).split()
# fairseq's own Transformer of that size.
DENSE = [*SMALL[: SMALL.index("--layer-rank")], "--share-all-embeddings"]
DENSE[DENSE.index("shapeshifter_transformer_tiny")] = "transformer"
TRAINING = (
    "--optimizer adam --lr 0.003 --lr-scheduler inverse_sqrt --warmup-updates 20 "
    "--criterion label_smoothed_cross_entropy --label-smoothing 0.1 --dropout 0.1 "
    "--max-tokens 600 --cpu --num-workers 0 --log-format json --log-interval 1 --seed 3"
).split()


# Starts processes that have fairseq imported, which takes longer than most of what is done with it.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        *(f"fairseq_cli.{name}" for name in ("train", "hydra_train", "generate", "interactive")),
        *("torch._dynamo", "sacrebleu"),  # which training and translating import later on
    ]
)


def call(
    command: str, *options: str | Path, cwd: Path = ROOT, stdin: str = "", fails: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own; it must succeed, or fail if `fails`."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)  # the protection is on
    words = [command, *map(str, options)]
    if command.startswith(("fairseq-", "shapeshifter")):
        done = _forked(words, cwd, environment, stdin)
    else:
        done = subprocess.run(
            [str(BIN / command), *words[1:]],
            cwd=cwd,
            input=stdin,
            capture_output=True,
            text=True,
            env=environment,
            timeout=300,
        )
    said = f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
    assert (done.returncode != 0) == fails, said
    return done


def _forked(
    words: list[str], cwd: Path, environment: dict[str, str], stdin: str
) -> subprocess.CompletedProcess[str]:
    with TemporaryDirectory() as folder:
        streams = [Path(folder) / name for name in ("stdin", "stdout", "stderr")]
        streams[0].write_text(stdin, encoding="utf-8")
        process = FORKS.Process(target=_be_command, args=(words, cwd, environment, streams))
        process.start()
        process.join(300)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(shlex.join(words))
        output = [path.read_text(encoding="utf-8", errors="replace") for path in streams[1:]]
    return subprocess.CompletedProcess(words, process.exitcode, *output)


def _be_command(
    words: list[str], cwd: Path, environment: dict[str, str], streams: list[Path]
) -> None:
    """What the script that pip made for a command does, in this process."""
    for number, path in enumerate(streams):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # multiprocessing closed it
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # as in any other process
    sys.argv = words
    main = next(iter(entry_points(group="console_scripts", name=words[0]))).load()
    try:
        sys.exit(main())
    except Exception:
        sys.excepthook(*sys.exc_info())
        sys.exit(1)


def train(data: Path, save: Path, *options: str | Path, **how) -> str:
    """fairseq-train of the small model; later options override earlier ones. Returns the log."""
    arguments = [data, "--user-dir", USER_DIR, *SMALL, *TRAINING, "--save-dir", save, *options]
    done = call("fairseq-train", *arguments, **how)
    return done.stdout + done.stderr


# torch's own wrapper refuses a device's number for a model on the CPU, and fairseq gives it one.
TORCHS_DDP_ON_CPUS = """
from fairseq_cli.train import cli_main
from fairseq.models import distributed_fairseq_model as module
wrap = module.DistributedDataParallel
module.DistributedDataParallel = lambda device_ids, output_device, **how: wrap(**how)
cli_main()
"""


def train_in_two_processes(data: Path, save: Path, *options: str | Path) -> str:
    """As `train`, under torchrun."""
    arguments = [data, "--user-dir", USER_DIR, *SMALL, *TRAINING, "--save-dir", save, *options]
    # fairseq reads torchrun's environment by itself on GPUs only; on CPUs it is told.
    script = 'exec "$@" --distributed-rank "$RANK"'
    command = [BIN / "fairseq-train"]
    if "pytorch_ddp" in options:
        command = [sys.executable, "-c", TORCHS_DDP_ON_CPUS]
    done = call(
        "torchrun",
        *("--nproc_per_node", "2", "--master_port", str(_free_port())),
        *("--no-python", "bash", "-c", script, "-", *command),
        *arguments,
        *("--distributed-world-size", "2", "--distributed-init-method", "env://"),
        *("--distributed-no-spawn", "--distributed-backend", "gloo"),
    )
    return done.stdout + done.stderr


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def losses(log: str) -> dict[int, float]:
    """Training loss by update, from fairseq's JSON log."""
    inner = [line for line in log.splitlines() if "| train_inner |" in line]
    lines = [json.loads(line[line.index("{") :]) for line in inner]
    return {int(line["num_updates"]): float(line["loss"]) for line in lines}


def translate(
    data: Path, checkpoints: Sequence[Path], *options: str | Path, on: str = "--cpu"
) -> list[str]:
    """fairseq-generate's hypotheses, in the order of the test set."""
    path = os.pathsep.join(map(str, checkpoints))
    # ve-fairseq drops the last batch unless its size is a multiple of this.
    options = (*on.split(), "--required-batch-size-multiple", "1", *options)
    done = call("fairseq-generate", data, "--user-dir", USER_DIR, "--path", path, *options)
    found = [line[2:].split("\t") for line in done.stdout.splitlines() if line.startswith("H-")]
    return [text for _, _, text in sorted(found, key=lambda line: int(line[0]))]


def make_corpus(folder: Path, joined: bool = True, words: int = 40) -> Path:
    """Write parallel sentences (every word translated, the order reversed) and binarise them."""
    draw = random.Random(1)
    for split, sentences in (("train", 400), ("valid", 40), ("test", 12)):
        numbers = [
            [draw.randrange(words) for _ in range(draw.randint(3, 9))] for _ in range(sentences)
        ]
        source = "\n".join(" ".join(f"s{number}" for number in line) for line in numbers)
        target = "\n".join(" ".join(f"t{number}" for number in line[::-1]) for line in numbers)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{split}.xx").write_text(source + "\n", encoding="utf-8")
        (folder / f"{split}.yy").write_text(target + "\n", encoding="utf-8")
    splits = [f"--{split}pref={folder / split}" for split in ("train", "valid", "test")]
    options = ["--source-lang", "xx", "--target-lang", "yy", "--destdir", folder / "bin", *splits]
    call("fairseq-preprocess", *options, *(["--joined-dictionary"] if joined else []))
    return folder / "bin"


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A binarised corpus with one dictionary; its path holds a space, as users' paths do."""
    return make_corpus(tmp_path_factory.mktemp("joined corpus"))


@pytest.fixture(scope="session")
def two_dictionaries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"), joined=False)


@pytest.fixture(scope="session")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A save folder after 80 updates: checkpoint_last.pt and checkpoint_best.pt."""
    save = tmp_path_factory.mktemp("trained model")
    train(corpus, save, "--max-update", "80", "--no-epoch-checkpoints")
    return save


@pytest.fixture(scope="session")
def dense(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of stock `--arch transformer`, trained without our user-dir."""
    save = tmp_path_factory.mktemp("dense model")
    options = [*DENSE, *TRAINING, "--save-dir", save, "--max-update", "40"]
    call("fairseq-train", corpus, *options, "--no-epoch-checkpoints")
    return save / "checkpoint_last.pt"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the project installed from the wheel that its sdist makes."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    leave = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "shapeshifter_fairseq", source / "shapeshifter_fairseq", ignore=leave)
    for name in ("setup.py", "README.md", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source]
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    assert len(list(folder.glob("*.tar.gz"))) == 1
    site = folder / "site"
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "-q", "--target", site]
    subprocess.run([*install, *folder.glob("*.whl")], check=True, capture_output=True, timeout=300)
    return site
