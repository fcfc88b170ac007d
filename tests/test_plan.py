"""Plans: how rules are read and which one wins."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapeshifter_fairseq import Plan, ShapeshifterError
from shapeshifter_fairseq.plan import Family, Spec


def spec(text: str, *names: str):
    rule = Plan.parse(text).rule_for(names)
    return rule and rule.spec


def test_reads_ranks_families_and_dense():
    assert spec("a.*=32", "a.b") == Spec(32, Family("kronecker"))
    assert spec("*=low_rank:64", "a.b") == Spec(64, Family("low_rank"))
    assert spec("*=8, a.*=dense", "a.b") is None
    assert Plan.parse("").rules == ()


def test_rules_without_a_family_get_the_default():
    rules = Plan.parse("a=2,b=low_rank:3,c=dense", family=Family("kronecker")).rules
    assert [rule.spec and rule.spec.family.name for rule in rules] == [
        *("kronecker", "low_rank", None)
    ]


def test_the_last_matching_rule_wins():
    text = "*=64,decoder.*=32,decoder.layers.0.*=16"
    assert spec(text, "encoder.fc1").rank == 64
    assert spec(text, "decoder.layers.1.fc1").rank == 32
    assert spec(text, "decoder.layers.0.fc1").rank == 16
    assert spec(text + ",*=4", "decoder.layers.0.fc1").rank == 4


def test_a_tied_matrix_is_matched_by_any_of_its_names():
    assert spec("*=64,decoder.*=32", "encoder.embed", "decoder.embed").rank == 32
    assert spec("decoder.*=32", "encoder.embed") is None


def test_later_plans_come_after_earlier_ones():
    plan = Plan.parse("*=64") + Plan.parse("a=2")
    assert plan.rule_for(["a"]).spec.rank == 2
    assert plan.rule_for(["b"]).spec.rank == 64


@pytest.mark.parametrize(
    "text, message",
    [
        ("decoder", "PATTERN=VALUE"),
        ("=3", "PATTERN=VALUE"),
        ("a=", "PATTERN=VALUE"),
        ("a=many", "'many' is neither a rank"),
        ("a=-3", "'-3' is neither a rank"),
        ("a=1.5", "neither a rank"),
        ("a=kroneker:3", "no family 'kroneker'; known: .*kronecker"),
        ("a=kronecker:3/blocks=4", "kronecker has no option 'blocks'; known: none"),
        ("a=kronecker:3/4", "'4' is not OPTION=WHOLE NUMBER"),
        ("a=kronecker:3/blocks=-4", "'blocks=-4' is not OPTION=WHOLE NUMBER"),
        ("a=kronecker:", "neither a rank"),
        ("a=dense/blocks=4", "'dense' has no options"),
        ("a=monarch:2/blocks=2/blocks=4", "'blocks' is there twice"),
    ],
)
def test_a_rule_that_does_not_parse_is_quoted(text, message):
    with pytest.raises(ShapeshifterError, match=message) as error:
        Plan.parse(f"x=3,{text}")
    assert text in str(error.value)
    assert "\n" not in str(error.value)


@given(st.text())
def test_any_text_is_a_plan_or_a_one_line_error(text):
    try:
        Plan.parse(text)
    except ShapeshifterError as error:
        assert len(str(error).splitlines()) == 1
