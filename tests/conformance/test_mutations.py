"""Official examples with one thing broken: the validator finds it, and says where it is."""

import copy
import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from tarfile import open as open_tar
from typing import Any, NamedTuple

import pytest

from fhir_server.fhir.codec import decode
from fhir_server.fhir.definitions import TYPES, Element
from fhir_server.fhir.validate import validate

_EXAMPLES = Path(__file__).parents[3] / "shared" / "examples" / "hl7.fhir.r4.examples-4.0.1.tar.xz"
_LARGEST = 50_000
_MUTATIONS = 4


class Place(NamedTuple):
    """A member or item of a resource."""

    owner: Any
    key: Any
    element: Element
    path: str
    type: str


@pytest.fixture(scope="module")
def examples() -> dict[str, Any]:
    """The valid official examples of moderate size."""
    if not _EXAMPLES.exists():
        pytest.skip(f"{_EXAMPLES.name} is not there")
    with open_tar(_EXAMPLES) as archive:
        files = {m.name: archive.extractfile(m) for m in archive if m.name.endswith(".json") and m.size < _LARGEST}
        found = {name: decode(content.read()) for name, content in files.items() if content is not None}
    return {name: resource for name, resource in found.items() if not validate(resource)}


def _places(value: dict[str, Any], type_: str, path: str) -> Iterator[Place]:
    type_ = value.get("resourceType", type_)
    for name, member in value.items():
        element = TYPES[type_].elements.get(name)
        if element is None:
            continue
        below = f"{path}.{element.choice or name}"
        yield Place(value, name, element, below, type_)
        items = [(member, below)] if not isinstance(member, list) else [(m, f"{below}[{i}]") for i, m in enumerate(member)]
        for item, place in items:
            if isinstance(item, dict):
                yield from _places(item, element.type, place)


def _mutations(resource: dict[str, Any], seed: str) -> Iterator[tuple[dict[str, Any], Place]]:
    """Yield a few copies of the resource, each with one of its places."""
    chance = random.Random(seed)
    for _ in range(_MUTATIONS):
        mutant = copy.deepcopy(resource)
        yield mutant, chance.choice(list(_places(mutant, "", mutant["resourceType"])))


def _found(resource: dict[str, Any]) -> set[tuple[str, str]]:
    return {(issue.code, issue.expression[0]) for issue in validate(resource)}


def test_a_value_of_another_json_kind_is_found_where_it_is(examples: dict[str, Any]):
    for name, example in examples.items():
        for mutant, place in _mutations(example, name):
            value = place.owner[place.key]
            place.owner[place.key] = "x" if isinstance(value, dict | list | int | Decimal) else [value]
            assert ("structure", place.path) in _found(mutant), (name, place.path)


def test_null_is_found_where_it_is(examples: dict[str, Any]):
    for name, example in examples.items():
        for mutant, place in _mutations(example, name + "null"):
            place.owner[place.key] = None
            assert ("structure", place.path) in _found(mutant), (name, place.path)


def test_an_empty_value_is_found_where_it_is(examples: dict[str, Any]):
    for name, example in examples.items():
        for mutant, place in _mutations(example, name + "empty"):
            value = place.owner[place.key]
            if isinstance(value, dict | list | str) and place.element.type != "Resource":
                place.owner[place.key] = type(value)()
                codes = {code for code, path in _found(mutant) if path == place.path}
                assert codes & {"structure", "value", "code-invalid"}, (name, place.path)


def test_an_unknown_element_is_found_where_it_is(examples: dict[str, Any]):
    for name, example in examples.items():
        for mutant, place in _mutations(example, name + "unknown"):
            place.owner["unknownElement"] = True
            path = f"{place.path.rpartition('.')[0]}.unknownElement"
            assert ("structure", path) in _found(mutant), (name, path)


def test_what_is_required_is_missed_where_it_was(examples: dict[str, Any]):
    removed = 0
    for name, example in examples.items():
        for mutant, place in _mutations(example, name + "required"):
            if place.element.min and f"_{place.key}" not in place.owner and len(place.owner) > 1:
                del place.owner[place.key]
                removed += 1
                assert ("required", place.path) in _found(mutant), (name, place.path)
    assert removed > 300


def test_a_code_outside_of_its_required_value_set_is_found_where_it_is(examples: dict[str, Any]):
    replaced = 0
    for name, example in examples.items():
        for mutant, place in _mutations(example, name + "code"):
            if place.element.codes is not None and place.element.type == "code" and place.element.max == 1:
                place.owner[place.key] = "no-such-code"
                replaced += 1
                assert _found(mutant) == {("code-invalid", place.path)}, (name, place.path)
    assert replaced > 100
