"""What a factorized model costs beside the dense one: a training step, and generation.

Both models stand in one process and take turns, so that whatever else the machine does hits both;
the figure to quote is the median of the ratios, pair by pair.

    python benchmarks/speed.py --arch shapeshifter_transformer_iwslt
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable

import torch
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.data import Dictionary
from fairseq.sequence_generator import SequenceGenerator
from torch import nn
from tqdm import tqdm

import shapeshifter_fairseq  # noqa: F401  (registers the architectures)
from shapeshifter_fairseq.models.counting import build_models


def main() -> None:
    args = _arguments()
    device = torch.device(args.device)
    torch.manual_seed(args.seed)
    dense, factorized, task = build_models(args.arch, args.source_vocab, args.target_vocab)
    models = {"dense": dense.to(device), "factorized": factorized.to(device)}
    sample = _sample(args.tokens, args.length, task, device)
    few = _sample(args.sentences * args.length, args.length, task, device)

    steps = {name: _training_step(model, sample, task) for name, model in models.items()}
    result = {"training step": _take_turns(steps, args.repeats, device)}
    for model in models.values():
        model.eval()
    translations = {name: _generation(model, few, task, args) for name, model in models.items()}
    result["generation"] = _take_turns(translations, args.repeats, device)

    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    setting = {**vars(args), "machine": machine, "threads": torch.get_num_threads()}
    setting["torch"] = torch.__version__
    if args.json:
        print(json.dumps({"setting": setting, "result": result}))
        return
    print(", ".join(f"{name}={value}" for name, value in setting.items()))
    for what, times in result.items():
        ratios = times["ratio"]
        print(
            f"{what}: factorized / dense = {statistics.median(ratios):.3f} "
            f"(min {min(ratios):.3f}, max {max(ratios):.3f}, {len(ratios)} pairs; "
            f"dense {statistics.median(times['dense']):.3f} s)"
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arch", default="shapeshifter_transformer_iwslt")
    parser.add_argument("--source-vocab", type=int, default=8848)
    parser.add_argument("--target-vocab", type=int, default=6632)
    parser.add_argument("--tokens", type=int, default=4096, help="target tokens of a batch")
    parser.add_argument("--length", type=int, default=25, help="tokens of a sentence")
    parser.add_argument("--sentences", type=int, default=32, help="sentences to translate at once")
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", action="store_true", help="print every single time, as JSON")
    return parser.parse_args()


def _sample(tokens: int, length: int, task, device: torch.device) -> dict:
    sentences = max(1, tokens // length)

    def draw(dictionary: Dictionary) -> torch.Tensor:
        # Words as often as text has them (Zipf): a batch repeats its frequent ones.
        words = torch.arange(dictionary.nspecial, len(dictionary))
        chosen = torch.multinomial(
            1.0 / (words - dictionary.nspecial + 3), sentences * length, True
        )
        drawn = words[chosen].view(sentences, length)
        drawn[:, -1] = dictionary.eos()
        return drawn.to(device)

    source, target = draw(task.source_dictionary), draw(task.target_dictionary)
    return {
        "net_input": {
            "src_tokens": source,
            "src_lengths": torch.full((sentences,), length, device=device),
            "prev_output_tokens": target.roll(1, dims=1),
        },
        "target": target,
        "ntokens": target.numel(),
    }


def _training_step(model: nn.Module, sample: dict, task) -> Callable[[], None]:
    criterion = LabelSmoothedCrossEntropyCriterion(task, sentence_avg=False, label_smoothing=0.1)
    adam = torch.optim.Adam(model.parameters(), lr=5e-4, betas=(0.9, 0.98))

    def step() -> None:
        adam.zero_grad()
        loss, _, _ = criterion(model, sample)
        (loss / sample["ntokens"]).backward()
        adam.step()

    return step


def _generation(model: nn.Module, sample: dict, task, args) -> Callable[[], None]:
    # Untrained models end sentences at random: both are held to the same number of steps.
    generator = SequenceGenerator(
        [model],
        task.target_dictionary,
        beam_size=args.beam,
        max_len_a=0,
        max_len_b=args.length,
        min_len=args.length,
    )
    model.make_generation_fast_()
    return lambda: generator.generate([model], sample)


def _take_turns(
    actions: dict[str, Callable[[], object]], repeats: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of each action, run in turn after one uncounted round, and the ratio of each pair."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for turn in tqdm(range(repeats + 1), leave=False):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:
                times[name].append(time.perf_counter() - start)
    ratios = [ours / dense for ours, dense in zip(times["factorized"], times["dense"])]
    return {**times, "ratio": ratios}


if __name__ == "__main__":
    main()
