"""Nothing is lost: random populations are merged, changed and taken apart again."""

import uuid
from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.operations.merge.merge_samples import get, merge, parameters, patient, put, ref, undo

Resource = dict[str, Any]
PATIENTS = ("s", "t", "u")
FAST = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))

_references = st.sampled_from(PATIENTS).flatmap(
    lambda id_: st.sampled_from([f"Patient/{id_}", f"http://test/fhir/Patient/{id_}", f"Patient/{id_}/_history/1"])
).map(ref) | st.just({"identifier": {"value": "Patient/s"}})
_notes = st.lists(st.fixed_dictionaries({"text": st.just("x"), "authorReference": _references}), max_size=2)
_extensions = st.lists(st.fixed_dictionaries({"url": st.just("urn:x"), "valueReference": _references}), max_size=2)
_contained = st.lists(
    st.fixed_dictionaries({"resourceType": st.just("RelatedPerson"), "id": st.just("c"), "patient": _references}), max_size=1
)


def _of(type_: str, fixed: Resource, **parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Resource]:
    base = {"resourceType": st.just(type_), **{name: st.just(value) for name, value in fixed.items()}}
    return st.fixed_dictionaries({**base, **parts, "extension": _extensions, "contained": _contained})


CODE = {"text": "x"}
_RESOURCES = st.one_of(
    _of(
        "Observation",
        {"status": "final", "code": CODE},
        subject=_references,
        performer=st.lists(_references, max_size=2),
        note=_notes,
    ),
    _of("Group", {"type": "person", "actual": True}, member=st.lists(st.fixed_dictionaries({"entity": _references}), max_size=3)),
    _of(
        "List", {"status": "current", "mode": "working"}, entry=st.lists(st.fixed_dictionaries({"item": _references}), max_size=3)
    ),
    _of("Coverage", {"status": "active", "payor": [ref("Organization/o")]}, beneficiary=_references, subscriber=_references),
    _of("Basic", {"code": CODE}, subject=_references),
    _of("Person", {}, link=st.lists(st.fixed_dictionaries({"target": _references}), max_size=2)),
    _of("Condition", {}, subject=_references, recorder=_references),
)


def _pruned(node: Any) -> Any:
    """Return the node without empty arrays, and contained resources without a fragment that leads to them."""
    if isinstance(node, dict):
        return {name: _pruned(value) for name, value in node.items() if value != []}
    return [_pruned(item) for item in node] if isinstance(node, list) else node


def _moved(node: Any) -> Any:
    """Return what a resource is expected to be after s was merged into t."""
    if isinstance(node, dict):
        return {name: _text(value) if name == "reference" else _moved(value) for name, value in node.items()}
    return [_moved(item) for item in node] if isinstance(node, list) else node


def _text(text: str) -> str:
    if text in ("Patient/s", "Patient/s/_history/1"):
        return "Patient/t"
    return "http://test/fhir/Patient/t" if text == "http://test/fhir/Patient/s" else text


def _content(resource: Resource) -> Resource:
    return {name: value for name, value in resource.items() if name != "meta"}


def _named(population: list[Resource], prefix: str) -> list[Resource]:
    return [_pruned(one) | {"id": f"{prefix}{number}"} for number, one in enumerate(population)]


def _renamed(node: Any, names: dict[str, str]) -> Any:
    """Return the node with patients of this example's own, so that examples share a server."""
    if isinstance(node, dict):
        return {name: _renamed(value, names) for name, value in node.items()}
    if isinstance(node, list):
        return [_renamed(item, names) for item in node]
    if isinstance(node, str):
        for old, new in names.items():
            node = node.replace(f"Patient/{old}", f"Patient/{new}")
    return node


class World:
    """A population under ids of its own."""

    def __init__(self, http: httpx.AsyncClient, population: list[Resource]) -> None:
        self.http = http
        self.mark = uuid.uuid4().hex[:12]
        self.names = {id_: f"{id_}{self.mark}" for id_ in PATIENTS}
        self.population = _named(population, self.mark)

    async def load(self) -> None:
        """Store it."""
        patients = [patient(self.names[id_], identifier=[{"system": "urn:x", "value": self.names[id_]}]) for id_ in PATIENTS]
        await put(self.http, *patients)
        if self.population:
            await put(self.http, *(_renamed(one, self.names) for one in self.population))

    def body(self) -> Resource:
        """Return the request to merge s into t."""
        return parameters(self.names["s"], self.names["t"])

    async def contents(self) -> list[Resource]:
        """Return what is stored of it, with the names of the patients as they were drawn."""
        found = [await get(self.http, f"{one['resourceType']}/{one['id']}") for one in self.population]
        back = {new: old for old, new in self.names.items()}
        return [_renamed(_content(one), back) for one in found]

    async def patients(self) -> list[Resource]:
        """Return the patients."""
        return [_content(await get(self.http, f"Patient/{id_}")) for id_ in self.names.values()]


@FAST
@given(population=st.lists(_RESOURCES, max_size=6))
async def test_after_a_merge_everything_is_there_with_the_survivor_and_undoing_restores_it(
    http: httpx.AsyncClient, population: list[Resource]
) -> None:
    world = World(http, population)
    await world.load()
    before, patients = await world.contents(), await world.patients()
    assert before == world.population
    answer = await merge(http, world.body())
    assert answer.status_code == 200, answer.text
    assert await world.contents() == [_moved(one) for one in before]
    changed = sum(_moved(one) != one for one in before)
    assert f"{changed} resources that refer to it" in answer.text
    for one in world.population:
        old = await get(http, f"{one['resourceType']}/{one['id']}/_history/1")
        assert _content(old) == _renamed(one, world.names)
    answer = await undo(http, world.body())
    assert answer.status_code == 200, answer.text
    assert await world.contents() == before
    assert await world.patients() == patients


@FAST
@given(population=st.lists(_RESOURCES, min_size=1, max_size=5), data=st.data())
async def test_undoing_keeps_what_others_have_changed_since(
    http: httpx.AsyncClient, population: list[Resource], data: st.DataObject
) -> None:
    world = World(http, population)
    await world.load()
    before = await world.contents()
    assert (await merge(http, world.body())).status_code == 200
    touched = data.draw(st.sets(st.sampled_from(range(len(population)))))
    for number in touched:
        one = world.population[number]
        path = f"{one['resourceType']}/{one['id']}"
        current = await get(http, path)
        current["language"] = "de"
        current["extension"] = [*current.get("extension", []), {"url": "urn:since", "valueReference": ref("Patient/elsewhere")}]
        assert (await http.put(path, json=current)).status_code == 200
    answer = await undo(http, world.body())
    assert answer.status_code == 200, answer.text
    after = await world.contents()
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        if number in touched:
            assert new.pop("language") == "de"
            added = new["extension"].pop()
            assert added == {"url": "urn:since", "valueReference": ref("Patient/elsewhere")}
        assert _pruned(new) == old
    assert "Task" not in {one["resource"].get("resourceType") for one in answer.json()["parameter"]}
