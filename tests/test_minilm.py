"""docs/minilm.py on a tiny model: what it measures is right, and what it draws has all of it."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel

pytestmark = pytest.mark.slow

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(scope="module")
def minilm():
    sys.path.insert(0, str(DOCS))
    try:
        import minilm

        yield minilm
    finally:
        sys.path.remove(str(DOCS))


@pytest.fixture(scope="module")
def model() -> BertModel:
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
    return BertModel(BertConfig(vocab_size=144, num_hidden_layers=1, **sizes)).eval()


@pytest.fixture(scope="module")
def batches() -> list[dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    tokens, mask = torch.randint(144, (8, 6)), torch.ones(8, 6, dtype=torch.long)
    mask[1, 4:] = 0
    return [{"input_ids": tokens[:5], "attention_mask": mask[:5]}] + [
        {"input_ids": tokens[5:], "attention_mask": mask[5:]}
    ]


def test_cosines_are_those_of_the_means_over_a_sentences_tokens(minilm, model, batches):
    found = minilm.cosines(model, batches)
    assert found.shape == (8 * 7 // 2,)
    with torch.no_grad():
        first, second = (
            model(batches[0]["input_ids"][row : row + 1, :length]).last_hidden_state.mean(1)
            for row, length in ((0, 6), (1, 4))
        )
    cosine = nn.functional.cosine_similarity(first, second).item()
    assert found[0].item() == pytest.approx(cosine, abs=1e-5)


def test_correlations(minilm):
    x = torch.tensor([0.1, 0.2, 0.9, 0.4], dtype=torch.float64)
    assert minilm.pearson(x, 3 - 2 * x) == pytest.approx(-1)
    assert minilm.spearman(x, x.exp()) == pytest.approx(1)
    # Ranks 1 2 4 3 against 2 1 4 3: 1 - 6 * (1 + 1) / (4 * 15).
    assert minilm.spearman(x, torch.tensor([0.3, 0.2, 0.9, 0.4])) == pytest.approx(0.8)


@pytest.mark.parametrize("share", [0.75, 0.5, 0.25])
def test_a_rank_brings_a_matrix_to_its_share(minilm, share):
    for family in minilm.COLOURS:
        for n, m in ((384, 384), (1536, 384)):
            rank = minilm.rank_for(family, n, m, share)
            if rank is None:
                assert (family, share) == ("phm", 0.75)
                continue
            options = {"blocks": 4} if family in minilm.OPTIONS else {}
            count = minilm.FAMILIES[family].parameter_count(n, m, rank, **options)
            assert 0.8 * share < count / (n * m) < 1.01 * share
    assert minilm.rank_for("phm", 384, 384, 0.25) == 4


def test_a_projection_has_the_error_and_the_share_that_it_states(minilm, model):
    plan = minilm.plan_for(model, "layers", "low_rank", 0.5)
    small, share, error = minilm.project(model, plan)
    assert 0.4 < share < 0.505
    lost = norm = 0.0
    for name, layer in model.encoder.named_modules():
        if isinstance(layer, nn.Linear):
            values = torch.linalg.svdvals(layer.weight.detach())
            rank = small.encoder.get_submodule(name).factors.rank
            lost, norm = lost + values[rank:].square().sum(), norm + values.square().sum()
    assert error == pytest.approx((lost / norm).sqrt().item(), rel=1e-4)
    assert type(model.encoder.layer[0].output.dense) is nn.Linear  # the model is as it was


def test_every_part_and_family_is_measured_tabulated_and_drawn(
    minilm, model, batches, monkeypatch, tmp_path
):
    monkeypatch.setattr(minilm, "SHARES", (0.75, 0.5))
    results = minilm.measure(model, batches)
    families = {part: {r.family for r in results if r.part == part} for part in minilm.PARTS}
    assert families["embeddings"] == set(minilm.COLOURS)
    assert families["layers"] == set(minilm.COLOURS) - {"word2ket"}
    for one in results:
        assert 0 < one.error < 1 and 0 < one.pearson <= 1 and 0 < one.spearman <= 1
    by_size = [r.error for r in results if (r.part, r.family) == ("layers", "low_rank")]
    assert by_size == sorted(by_size)
    best = results[0]
    assert f"| {best.error:.3f}" in minilm.table(results, "layers", "error")
    figure = minilm.figure_of(results)
    assert len(figure.axes[0].lines) == len(minilm.COLOURS)
    figure.savefig(tmp_path / "minilm.png")


def test_the_sentences_are_sentences(minilm):
    found = minilm.sentences()
    assert len(found) == len(set(found)) == minilm.SENTENCES
    assert found == minilm.sentences()
    assert all(one[0].isupper() and one.endswith(".") and " " in one for one in found)
