"""The plan: which matrix of a model gets which factorization, written as rules over its names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from .errors import ShapeshifterError
from .factorizations import family_named

DENSE = "dense"
_EXAMPLE = "decoder.layers.0.*=32,encoder.layers.*.fc?=dense"


@dataclass(frozen=True)
class Family:
    """A family of factorizations: its name, and the options that were given."""

    name: str = "kronecker"
    options: dict[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str, origin: str) -> Family:
        """Read ``FAMILY/option=value/option=value``.

        Raises:
            ShapeshifterError: if it does not parse; the message begins with `origin`.
        """
        name, *options = (part.strip() for part in text.split("/"))
        family = cls(name, _parse_options(options, origin))
        family.check(origin)
        return family

    def check(self, origin: str) -> None:
        try:
            family_named(self.name, self.options)
        except ShapeshifterError as error:
            raise ShapeshifterError(f"{origin}: {error}") from None


@dataclass(frozen=True)
class Spec:
    """What one matrix is replaced with."""

    rank: int
    family: Family = Family()
    at_most: bool = False  # where the rank does not fit, use the largest that does


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
    """Rules in order: the last one that matches a matrix wins.

    A matrix that no rule matches stays dense. A matrix that several layers share (tied embeddings)
    is one matrix with several names: a rule that matches any of them matches it.
    """

    rules: tuple[Rule, ...]

    @classmethod
    def parse(cls, text: str, source: str = "plan", family: Family = Family()) -> Plan:
        """Read rules such as ``decoder.layers.0.*=32,encoder.layers.*.fc?=dense``.

        Rules are separated by commas, each ``PATTERN=RANK``, ``PATTERN=FAMILY:RANK`` or
        ``PATTERN=dense``; a pattern is a module's name with shell wildcards (``*``, ``?``, ``[]``).
        Options of the family follow the rank: ``decoder.*=monarch:2/blocks=4``.

        `source` says in errors where the text comes from (an option, a file). Rules that name no
        family use `family`.

        Raises:
            ShapeshifterError: if a rule does not parse.
        """
        rules = [rule.strip() for rule in text.split(",")]
        return cls(
            tuple(_parse_rule(rule, f"{source}: rule {rule!r}", family) for rule in rules if rule)
        )

    def __add__(self, later: Plan) -> Plan:
        return Plan(self.rules + later.rules)

    @property
    def is_dense(self) -> bool:
        """Whether the rules alone show that all matrices stay dense."""
        for rule in reversed(self.rules):
            if rule.spec is not None:
                return False
            if rule.pattern == "*":
                break
        return True

    def rule_for(self, names: Sequence[str]) -> Rule | None:
        """The rule that decides on the matrix with these names, or None."""
        return next((rule for rule in reversed(self.rules) if rule.matches(names)), None)


def _parse_rule(text: str, origin: str, default: Family) -> Rule:
    pattern, equals, value = (part.strip() for part in text.partition("="))
    if not (pattern and equals and value):
        raise ShapeshifterError(f"{origin} is not PATTERN=VALUE; an example: {_EXAMPLE}")
    if value == DENSE:
        return Rule(pattern, None, origin)
    head, *texts = (part.strip() for part in value.split("/"))
    if head == DENSE:
        raise ShapeshifterError(f"{origin}: {DENSE!r} has no options")
    name, colon, rank = head.rpartition(":")
    options = _parse_options(texts, origin)
    family = Family(name, options) if colon else Family(default.name, default.options | options)
    family.check(origin)
    if not rank.isdecimal():
        raise ShapeshifterError(
            f"{origin}: {rank!r} is neither a rank (a whole number) nor {DENSE!r}"
        )
    return Rule(pattern, Spec(int(rank), family), origin)


def _parse_options(texts: Iterable[str], origin: str) -> dict[str, int]:
    options = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value.isdecimal()):
            raise ShapeshifterError(
                f"{origin}: {text!r} is not OPTION=WHOLE NUMBER; an example: monarch:2/blocks=4"
            )
        if name in options:
            raise ShapeshifterError(f"{origin}: {name!r} is there twice")
        options[name] = int(value)
    return options
