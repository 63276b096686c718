"""From two records to a score, a grade and the reasons for them.

https://hl7.org/fhir/R4/patient-operation-match.html
"""

import math
from dataclasses import dataclass
from itertools import product
from typing import Final, Literal, NamedTuple

from fhir_server.matching import compare
from fhir_server.matching.compare import DIFFERENT, EXACT, INITIAL, MIDDLE, NICKNAME, PART, RENAMED, SIMILAR, SOUNDS, SWAPPED
from fhir_server.matching.model import Model
from fhir_server.matching.record import Name, Record

Grade = Literal["certain", "probable", "possible", "certainly-not"]
"""https://hl7.org/fhir/R4/valueset-match-grade.html."""

_POOR: Final = frozenset({DIFFERENT, SOUNDS, INITIAL})
_AGREES: Final = frozenset({EXACT, NICKNAME, SIMILAR, PART, SWAPPED})
MOST_ADDRESSES: Final = 3
_STREET: Final = frozenset({"number", "street"})


class Evidence(NamedTuple):
    """What one field says: how it agrees, and how many bits that is worth."""

    field: str
    level: str
    bits: float


@dataclass(frozen=True, slots=True)
class Assessment:
    """What is to be thought of two records."""

    bits: float
    score: float
    """The probability that they are of one person, 0..1."""
    grade: Grade
    evidence: tuple[Evidence, ...]


def levels_of(model: Model, ours: Record, theirs: Record) -> list[tuple[str, str]]:
    """Return field and level of all that can be compared; of several names and addresses the pair that agrees best."""
    may_marry = "male" not in (ours.gender, theirs.gender)
    found = _best(model, [_name_levels(one, other, may_marry=may_marry) for one, other in product(ours.names, theirs.names)])
    found += _person_levels(model, ours, theirs)
    if ours.phones and theirs.phones:
        found.append(("phone", compare.phone(ours.phones, theirs.phones)))
    pairs = product(ours.addresses[:MOST_ADDRESSES], theirs.addresses[:MOST_ADDRESSES])
    return found + _best(model, [compare.address(one, other) for one, other in pairs])


def assess(model: Model, ours: Record, theirs: Record) -> Assessment:
    """Compare two records."""
    return judge(model, levels_of(model, ours, theirs))


def judge(model: Model, levels: list[tuple[str, str]]) -> Assessment:
    """Return what levels are worth together."""
    found = _Evidence(model, levels)
    _apply_household(found)
    _apply_rules(found)
    bits = sum(one.bits for one in found.all)
    return Assessment(round(bits, 2), _probability(bits + model.prior), _grade(model, bits, found), tuple(found.all))


class _Evidence:
    """What has been found so far."""

    __slots__ = ("all", "by_field", "levels", "model")

    def __init__(self, model: Model, levels: list[tuple[str, str]]) -> None:
        weights = model.weights
        self.model = model
        self.levels = dict(levels)
        self.by_field = {field: weights[field][level] for field, level in levels}
        self.all = [Evidence(field, level, self.by_field[field]) for field, level in levels]

    def adjust(self, rule: str, reason: str, bits: float) -> None:
        """Note what a rule adds."""
        self.all.append(Evidence(rule, reason, round(bits, 2)))

    def agrees(self, *fields: str) -> bool:
        """Tell whether one of the fields agrees."""
        return any(self.levels.get(field) in _AGREES for field in fields)


def _best(model: Model, ways: list[list[tuple[str, str]]]) -> list[tuple[str, str]]:
    if len(ways) <= 1:
        return ways[0] if ways else []
    weights = model.weights
    return max(ways, key=lambda levels: (bool(levels), sum(weights[field][level] for field, level in levels)))


def _name_levels(one: Name, other: Name, *, may_marry: bool) -> list[tuple[str, str]]:
    given, family = compare.given(one, other), compare.family(one, other)
    if given in _POOR and family in _POOR and (way := compare.crossed(one, other)):
        return [("names", way)]
    if family == DIFFERENT and may_marry and given not in _POOR:
        family = RENAMED
    levels = (("given", given), ("middle", compare.middle(one, other)), ("family", family))
    return [(field, level) for field, level in levels if level is not None]


def _person_levels(model: Model, ours: Record, theirs: Record) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if ours.birth and theirs.birth:
        found.append(("birth", compare.birth(ours.birth, theirs.birth)))
    if ours.gender and theirs.gender:
        found.append(("gender", EXACT if ours.gender == theirs.gender else DIFFERENT))
    if ours.generation and theirs.generation:
        found.append(("generation", EXACT if ours.generation == theirs.generation else DIFFERENT))
    if ours.emails and theirs.emails:
        found.append(("email", compare.email(ours.emails, theirs.emails)))
    if level := compare.identifiers(ours.identifiers, theirs.identifiers, model.exclusive_identifiers):
        found.append(("identifier", level))
    return found


def _apply_household(found: _Evidence) -> None:
    """Bound what family name, phone, email and address are worth together, and what another address is."""
    model, bits = found.model, found.by_field
    address = bits.get("number", 0.0) + bits.get("street", 0.0) + bits.get("city", 0.0) + bits.get("postcode", 0.0)
    if address < model.least_address:
        found.adjust("address", "moved", model.least_address - address)
        address = model.least_address
    shared = sum(value for value in (bits.get("family", 0), bits.get("phone", 0), bits.get("email", 0), address) if value > 0)
    if shared > model.household_cap:
        found.adjust("household", "capped", model.household_cap - shared)


def _apply_rules(found: _Evidence) -> None:
    model, levels = found.model, found.levels
    if levels.get("given") == DIFFERENT and found.agrees("family", "phone", "street"):
        found.adjust("relatives", "other given name", model.other_given)
    if levels.get("birth") == DIFFERENT and (
        levels.get("given") in (DIFFERENT, MIDDLE, SOUNDS, INITIAL) or levels.get("gender") == DIFFERENT
    ):
        found.adjust("persons", "other birth date", model.other_birth)


def _probability(bits: float) -> float:
    return round(1 / (1 + math.exp2(min(-bits, 1000))), 6)


def _grade(model: Model, bits: float, found: _Evidence) -> Grade:
    grades = model.grades
    if not _is_barred(found) and (_is_exact(found) or (bits >= grades.certain and _has_evidence(found))):
        return "certain"
    if bits >= grades.probable:
        return "probable"
    return "possible" if bits >= grades.possible else "certainly-not"


def _is_barred(found: _Evidence) -> bool:
    """Tell whether the two are perhaps father and son, or twins."""
    levels = found.levels
    if levels.get("generation") == DIFFERENT or levels.get("identifier") == DIFFERENT:
        return True
    other_name = levels.get("given") not in (None, EXACT, NICKNAME)
    return other_name and levels.get("birth") == EXACT and levels.get("gender") == DIFFERENT


def _is_exact(found: _Evidence) -> bool:
    """Tell whether an exact combination agrees that no two persons have."""
    levels = found.levels
    if levels.get("identifier") == EXACT:
        return levels.get("birth") != DIFFERENT and levels.get("given") != DIFFERENT
    if not all(levels.get(field) == EXACT for field in ("given", "family", "birth")) or levels.get("gender") == DIFFERENT:
        return False
    at_home = all(levels.get(field) == EXACT for field in _STREET) and DIFFERENT not in (
        levels.get("city"),
        levels.get("postcode"),
    )
    return at_home or levels.get("phone") == EXACT or levels.get("email") == EXACT


def _has_evidence(found: _Evidence) -> bool:
    """Tell whether given name and birth date both speak for one person."""
    levels = found.levels
    named = levels.get("given") in (EXACT, NICKNAME, SIMILAR) or "names" in levels
    return named and levels.get("birth") in (EXACT, SWAPPED, "digit")
