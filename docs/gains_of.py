"""How far a step moves the matrices of checkpoints now, and how widely their entries spread.

    python docs/gains_of.py CHECKPOINT... >docs/results/tatoeba-half/gains.json

prints, for each checkpoint, the means over its tables and over its other matrices in Kronecker
factors: the gain (docs/gains.md) and the root mean square of the entries of W. A dense matrix has
gain 1.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean

from shapeshifter_fairseq.fairseq_side.checkpoints import read_checkpoint


def gains_of(checkpoint: Path) -> dict[str, dict[str, float]]:
    model = read_checkpoint(checkpoint)["model"]
    found = defaultdict(list)
    for name, tensor in model.items():
        if "output_projection" in name:  # tied to the decoder's table
            continue
        kind = "tables" if "embed_tokens" in name else "layers"
        if name.endswith(".factors.A"):
            A, B, scale = (model[f"{name[:-1]}{each}"].double() for each in ("A", "B", "scale"))
            gain = scale * (len(B) * (A.square().mean() + B.square().mean())).sqrt()
            W = scale * A.flatten(0, 1) @ B.flatten(1)  # its entries in another order
            found[kind].append((gain.item(), W.square().mean().sqrt().item()))
        elif name.endswith(("embed_tokens.weight", "_proj.weight", "fc1.weight", "fc2.weight")):
            found[kind].append((1.0, tensor.double().square().mean().sqrt().item()))
    means = {kind: map(fmean, zip(*values)) for kind, values in found.items()}
    return {
        kind: {name: round(value, 3) for name, value in zip(("gain", "size of W"), both)}
        for kind, both in means.items()
    }


if __name__ == "__main__":
    print(
        json.dumps(
            {Path(file).parent.name: gains_of(Path(file)) for file in sys.argv[1:]}, indent=1
        )
    )
