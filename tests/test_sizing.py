"""The ranks and the widths at which other models are as large as a factorized one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import shapeshifter_fairseq.models  # noqa: F401  (registers the architectures)
from shapeshifter_fairseq import ShapeshifterError
from shapeshifter_fairseq.factorizations import FAMILIES
from shapeshifter_fairseq.fairseq_side.sizing import Architecture
from shapeshifter_fairseq.plan import Family
from shapeshifter_fairseq.sizing import largest_rank, numbers

SHAPES = {(24, 24): 3, (48, 24): 2, (24, 48): 1}
LINEAR = [name for name, family in FAMILIES.items() if family.for_linear]


@pytest.mark.parametrize("name", LINEAR)
@settings(max_examples=20, deadline=None)
@given(most=st.integers(2000, 6000))
def test_no_other_rank_that_fits_comes_nearer(name, most):
    family = Family(name)
    try:
        rank = largest_rank(SHAPES, family, most)
    except ShapeshifterError as error:
        assert "is the least" in str(error)
        rank = 0
    fitting = set()
    for other in range(1, 25):
        try:
            made = {shape: FAMILIES[name](*shape, other) for shape in SHAPES}
        except ShapeshifterError:
            continue
        count = sum(
            times * sum(factor.numel() for factor in made[shape].parameters())
            for shape, times in SHAPES.items()
        )
        assert count == numbers(SHAPES, family, other)
        if count <= most:
            fitting.add((count, other))
    assert numbers(SHAPES, family, rank) == max(fitting)[0] if rank else not fitting


TINY = Architecture("shapeshifter_transformer_tiny", 900, 900, joined=True)


@pytest.mark.parametrize("family", ["low_rank", "monarch/blocks=4", "kronecker"])
def test_another_family_has_both_parts_as_large_and_no_larger(family):
    parts = TINY.parts()
    found = TINY.parts(*TINY.as_family(family, *parts))
    for have, want in zip(found, parts):
        assert 0.6 * want < have <= want
    if family == "kronecker":
        assert found == parts


def test_narrow_is_the_widest_dense_model_that_is_no_larger():
    most = sum(TINY.parts())
    options = TINY.narrow(most)
    assert sum(TINY.parts(*options)) <= most
    width = int(options[options.index("--encoder-embed-dim") + 1])
    assert options[options.index("--decoder-ffn-embed-dim") + 1] == str(2 * width)
    wider = [word.replace(str(2 * width), str(2 * width + 8)) for word in options]
    wider = [str(width + 4) if word == str(width) else word for word in wider]
    assert sum(TINY.parts(*wider)) > most


def test_what_is_too_small_is_one_line():
    with pytest.raises(ShapeshifterError, match="is as small as 1,000 parameters"):
        TINY.narrow(1000)
    with pytest.raises(
        ShapeshifterError, match="phm cannot hold these matrices in [0-9,]+ numbers"
    ):
        TINY.as_family("phm", *TINY.parts())
