"""The plan: which matrix of a model gets which factorization, written as rules over its names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from .errors import ShapeshifterError
from .factorizations import FAMILIES

DENSE = "dense"
_EXAMPLE = "decoder.layers.0.*=32,encoder.layers.*.fc?=dense"


@dataclass(frozen=True)
class Spec:
    """What one matrix is replaced with."""

    rank: int
    family: str = "kronecker"


@dataclass(frozen=True)
class Rule:
    """Modules whose name matches `pattern` get `spec`; None leaves them dense.

    An error about the rule begins with `origin`: what the user typed, and where.
    """

    pattern: str
    spec: Spec | None
    origin: str

    def matches(self, names: Iterable[str]) -> bool:
        return any(fnmatchcase(name, self.pattern) for name in names)


@dataclass(frozen=True)
class Plan:
    """Rules in order: of those that match a matrix the last one wins.

    A matrix that no rule matches stays dense. A matrix that several layers share (tied embeddings)
    is one matrix with several names: a rule that matches any of them matches it.
    """

    rules: tuple[Rule, ...]

    @classmethod
    def parse(cls, text: str, source: str = "plan") -> Plan:
        """Read rules such as ``decoder.layers.0.*=32,encoder.layers.*.fc?=dense``.

        Rules are separated by commas, each ``PATTERN=RANK``, ``PATTERN=FAMILY:RANK`` or
        ``PATTERN=dense``; a pattern is a module's name with shell wildcards (``*``, ``?``, ``[]``).

        `source` says in errors where the text comes from (an option, a file).

        Raises:
            ShapeshifterError: if a rule does not parse.
        """
        rules = [rule.strip() for rule in text.split(",")]
        return cls(tuple(_parse_rule(rule, f"{source}: rule {rule!r}") for rule in rules if rule))

    def __add__(self, later: Plan) -> Plan:
        return Plan(self.rules + later.rules)

    def rule_for(self, names: Sequence[str]) -> Rule | None:
        """The rule that decides on the matrix with these names, or None."""
        return next((rule for rule in reversed(self.rules) if rule.matches(names)), None)


def _parse_rule(text: str, origin: str) -> Rule:
    pattern, equals, value = (part.strip() for part in text.partition("="))
    if not (pattern and equals and value):
        raise ShapeshifterError(f"{origin} is not PATTERN=VALUE; an example: {_EXAMPLE}")
    if value == DENSE:
        return Rule(pattern, None, origin)
    family, colon, rank = value.rpartition(":")
    family = family if colon else Spec.family
    if family not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise ShapeshifterError(f"{origin}: there is no family {family!r}; known: {known}")
    if not rank.isdecimal():
        raise ShapeshifterError(
            f"{origin}: {rank!r} is neither a rank (a whole number) nor {DENSE!r}"
        )
    return Rule(pattern, Spec(int(rank), family), origin)
