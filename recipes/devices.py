"""Where a training runs, and each device's share of a batch."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from .commands import python
from .console import Failed, number, variable

HELP = """\
  DEVICE            cuda or cpu (default: cuda where torch sees a GPU)
  NPROC             processes on this machine, one per GPU (default: all its GPUs; on a CPU 1)
  NNODES, NODE_RANK, MASTER_ADDR, MASTER_PORT
                    several machines, as for torchrun: start the same command on each, with one
                    folder for the results that all of them share. They need not be set under
                    SLURM: srun --ntasks-per-node=1
  PRECISION         fp16 or fp32 (default: fp16 on GPUs)"""


@dataclass(frozen=True)
class Devices:
    """What one training runs on."""

    device: str
    nproc: int
    nnodes: int
    node_rank: int
    address: str
    port: str
    precision: str

    @property
    def count(self) -> int:
        return self.nproc * self.nnodes

    @classmethod
    def find(cls, dry: bool = False, nproc: int = 0) -> Devices:
        """What the environment asks for, or else what is there.

        Args:
            dry: do not ask for a GPU to be there.
            nproc: processes on this machine, in place of what the environment says.

        Raises:
            Failed: if a variable cannot be used.
        """
        said = os.environ.get
        gpus = 0 if said("DEVICE") == "cpu" else _gpus()
        device = said("DEVICE") or ("cuda" if gpus else "cpu")
        if device not in ("cpu", "cuda"):
            raise Failed(f"DEVICE={device}: choose cuda or cpu")
        if device == "cuda" and not gpus and not dry:
            raise Failed("DEVICE=cuda, but torch sees no GPU; leave DEVICE out to train on the CPU")
        on_gpus = (said("SLURM_GPUS_ON_NODE") or str(gpus or 1)) if device == "cuda" else "1"
        nodes = variable("NNODES", said("SLURM_NNODES") or 1)
        rank = variable("NODE_RANK", said("SLURM_NODEID") or 0, number)
        if rank >= nodes:
            raise Failed(f"NODE_RANK={rank}: with NNODES={nodes} choose 0 to {nodes - 1}")
        address = said("MASTER_ADDR") or (_first_of_slurm() if nodes > 1 else "")
        if nodes > 1 and not address:
            raise Failed(f"NNODES={nodes} needs MASTER_ADDR, the name of the first machine")
        precision = said("PRECISION") or ("fp16" if device == "cuda" else "fp32")
        if precision not in ("fp16", "fp32"):
            raise Failed(f"PRECISION={precision}: choose fp16 or fp32")
        nproc, port = nproc or variable("NPROC", on_gpus), said("MASTER_PORT") or "29500"
        return cls(device, nproc, nodes, rank, address, port, precision)

    def share(self, tokens: int, largest: int) -> list[str]:
        """fairseq's options for an update of `tokens` on all devices together.

        Args:
            tokens: the batch of an update.
            largest: how many of them a device may hold at once.
        """
        if tokens % self.count:
            raise Failed(
                f"{tokens} tokens an update do not divide among {self.count} devices; change NPROC "
                "or NNODES, or give another --tokens-per-update"
            )
        share = tokens // self.count
        frequency = -(-share // largest)
        fewest = frequency
        while share % frequency:
            frequency += 1
            if frequency > 2 * fewest:
                raise Failed(
                    f"{share} tokens of an update on one device do not divide into batches of "
                    f"about {largest}; give another --tokens-per-update, such as "
                    f"{-(-share // fewest) * fewest * self.count}"
                )
        return ["--max-tokens", str(share // frequency), "--update-freq", str(frequency)]

    def launch(self, module: str, arguments: Sequence[object]) -> list[str]:
        """The command that runs a module of fairseq's on every device.

        (There is no bf16, because `fairseq-train --bf16` is for TPUs.)
        """
        words = python(module, *arguments)
        words += ["--cpu"] * (self.device == "cpu") + ["--fp16"] * (self.precision == "fp16")
        if self.count == 1:
            # Else fairseq starts a process for every GPU that it sees.
            return words + ["--distributed-world-size", "1"] * (self.device == "cuda")
        torchrun = [*python("torch.distributed.run"), "--nproc_per_node", str(self.nproc)]
        if self.nnodes == 1:
            torchrun.append("--standalone")
        else:
            torchrun += ["--nnodes", str(self.nnodes), "--node_rank", str(self.node_rank)]
            torchrun += ["--master_addr", self.address, "--master_port", self.port]
        if self.device == "cuda":
            return torchrun + words[1:]
        # fairseq reads torchrun's environment only on GPUs; on CPUs it gets options.
        torchrun += ["--no-python", "bash", "-c", 'exec "$@" --distributed-rank "$RANK"', "-"]
        words += ["--distributed-world-size", str(self.count)]
        words += ["--distributed-init-method", "env://", "--distributed-no-spawn"]
        return torchrun + words + ["--distributed-backend", "gloo", "--ddp-backend", "legacy_ddp"]


def keep_memory() -> dict[str, str]:
    """Variables that let a training on a CPU reuse the memory of its large tensors, in large pages.

    glibc otherwise gives it back to the system, which hands it out again page by page: with a
    dictionary of 10,000 types an update takes 1.4 times as long. Other C libraries ignore the
    variable. Such a training needs `--num-workers 0`: a worker would hold the pages that it was
    forked with.
    """
    name = "glibc.malloc"
    tunables = f"{name}.mmap_max=0:{name}.trim_threshold={1 << 40}:{name}.hugetlb=1"
    return {"GLIBC_TUNABLES": os.environ.get("GLIBC_TUNABLES", tunables)}


def _gpus() -> int:
    with suppress(ImportError):
        import torch

        return torch.cuda.device_count()
    return 0


def _first_of_slurm() -> str:
    with suppress(OSError):
        asked = ["scontrol", "show", "hostnames", os.environ.get("SLURM_JOB_NODELIST", "")]
        said = subprocess.run(asked, capture_output=True, text=True, check=False)
        return said.stdout.partition("\n")[0]
    return ""
