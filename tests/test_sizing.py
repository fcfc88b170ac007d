"""The ranks and the widths at which other models are as large as a factorized one."""

from __future__ import annotations

import json
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import shapeshifter_fairseq.models  # noqa: F401  (registers the architectures)
from shapeshifter_fairseq import ShapeshifterError, cli
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
        assert "or more" in str(error)
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
    with pytest.raises(ShapeshifterError, match="has more than 1,000 parameters"):
        TINY.narrow(1000)
    with pytest.raises(
        ShapeshifterError, match="phm cannot hold these matrices in [0-9,]+ numbers"
    ):
        TINY.as_family("phm", *TINY.parts())


@settings(max_examples=10, deadline=None)
@given(most=st.integers(120_000, 700_000))
def test_ranks_within_a_size_come_near_it_from_below(most):
    options = TINY.within(most, "kronecker")
    total = sum(TINY.parts(*options))
    assert 0.97 * most < total <= most
    layers, tables = TINY.parts(*options)
    dense_layers, dense_tables = TINY.parts("--factor-plan", "*=dense")
    assert layers / dense_layers < tables / dense_tables


@pytest.mark.parametrize("fixed", ["layer_rank", "embed_rank"])
def test_one_rank_may_be_fixed(fixed):
    options = TINY.within(300_000, "low_rank", **{fixed: 9})
    assert options[options.index(f"--{fixed.replace('_', '-')}") + 1] == "9"
    assert 0.9 * 300_000 < sum(TINY.parts(*options)) <= 300_000
    with pytest.raises(ShapeshifterError, match="not both"):
        TINY.within(300_000, "low_rank", layer_rank=9, embed_rank=9)


SIZED = ["params", "--arch", "shapeshifter_transformer_tiny", "--vocab", "900"]


@pytest.mark.parametrize(
    "wanted, share", [(["--percent", "20"], 0.2), (["--parameters", "0.3M"], None)]
)
def test_the_command_prints_options_that_have_the_size(wanted, share, capsys):
    given_too = ["--factorization", "monarch/blocks=2", "--encoder-layers", "3"]
    assert cli.main([*SIZED, *wanted, *given_too, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    options = shlex.split(found["options"])
    assert options[:2] == ["--encoder-layers", "3"] and "monarch/blocks=2" in options
    arch = Architecture("shapeshifter_transformer_tiny", 900, 900, joined=True)
    most = share * found["dense_total"] if share else 300_000
    assert 0.85 * most < found["total"] == sum(arch.parts(*options)) <= most
    assert cli.main([*SIZED, *wanted]) == 0
    assert capsys.readouterr().out.startswith("--factorization kronecker --layer-rank ")


@pytest.mark.parametrize(
    "wrong, words",
    [
        (["--nonsense", "3"], "unrecognized arguments: --nonsense 3; fairseq-train --arch"),
        (["--parameters", "many"], "--parameters many: give a number such as 3M"),
        (["--parameters", "inf"], "--parameters inf: give a number such as 3M"),
        (["--parameters", ""], "give a number such as 3M"),
        (["--percent", "0.1"], "numbers; it needs"),
        (["--percent", "nan"], "--percent nan: give a number above 0, at most 100"),
        (["--percent", "20", "--embed-rank", "dense"], "--embed-rank is a whole number"),
        (["--percent", "20", "--factor-plan", "*.fc1=4"], "leave --factor-plan out"),
        (["--data", "nowhere"], "give --data or the dictionary sizes"),
    ],
)
def test_mistakes_in_the_command_are_one_line(wrong, words, capsys):
    assert cli.main([*SIZED, *wrong]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and words in lines[0]
