"""search over HTTP: https://hl7.org/fhir/R4/http.html#search."""

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from fhir_server.search.access import Access


async def put(http: httpx.AsyncClient, resource: dict[str, Any]) -> None:
    answer = await http.put(f"{resource['resourceType']}/{resource['id']}", json=resource)
    assert answer.status_code in (200, 201), answer.text


async def bundle(http: httpx.AsyncClient, url: str, **headers: str) -> dict[str, Any]:
    answer = await http.get(url, headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert (found["resourceType"], found["type"]) == ("Bundle", "searchset")
    return found


def ids(found: dict[str, Any], mode: str = "match") -> list[str]:
    return [
        f"{entry['resource']['resourceType']}/{entry['resource']['id']}"
        for entry in found.get("entry", [])
        if entry["search"]["mode"] == mode
    ]


def issues(found: dict[str, Any]) -> list[dict[str, Any]]:
    outcomes = [entry["resource"] for entry in found.get("entry", []) if entry["search"]["mode"] == "outcome"]
    return [issue for outcome in outcomes for issue in outcome["issue"]]


async def refused(http: httpx.AsyncClient, url: str, **headers: str) -> str:
    answer = await http.get(url, headers=headers)
    assert answer.status_code == 400, answer.text
    text: str = answer.json()["issue"][0]["diagnostics"]
    return text


@pytest.fixture
async def ward(http: httpx.AsyncClient) -> httpx.AsyncClient:
    """A server with a small ward in it."""
    name = [{"family": "Grün", "given": ["Anna"]}]
    await put(http, {"resourceType": "Organization", "id": "org", "name": "North"})
    await put(http, {"resourceType": "Practitioner", "id": "doc", "name": [{"family": "Gray"}]})
    await put(
        http,
        {
            "resourceType": "Patient",
            "id": "p1",
            "name": name,
            "gender": "female",
            "birthDate": "1980-01-01",
            "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">Anna</div>'},
            "contact": [{"name": {"family": "X"}}],
            "managingOrganization": {"reference": "Organization/org"},
            "generalPractitioner": [{"reference": "Practitioner/doc"}],
        },
    )
    await put(http, {"resourceType": "Patient", "id": "p2", "gender": "male"})
    for number, patient in enumerate(["p1", "p1", "p2"], 1):
        await put(
            http,
            {
                "resourceType": "Observation",
                "id": f"o{number}",
                "status": "final",
                "code": {"coding": [{"system": "urn:c", "code": f"c{number}"}]},
                "subject": {"reference": f"Patient/{patient}"},
            },
        )
    return http


async def test_an_entry_has_its_full_url_resource_and_mode(ward: httpx.AsyncClient) -> None:
    found = await bundle(ward, "Patient?family=gr")
    assert found["total"] == 1
    (entry,) = found["entry"]
    assert entry["fullUrl"] == "http://test/fhir/Patient/p1"
    assert entry["search"] == {"mode": "match"}
    assert entry["resource"]["meta"]["versionId"] == "1"
    assert found["link"] == [{"relation": "self", "url": "http://test/fhir/Patient?family=gr"}]
    assert len(found["id"]) == 36
    assert found["meta"]["lastUpdated"].endswith("Z")


async def test_nothing_found_is_an_empty_bundle(ward: httpx.AsyncClient) -> None:
    found = await bundle(ward, "Patient?family=nobody")
    assert found["total"] == 0
    assert "entry" not in found


async def test_post_and_get_parameters_are_read_together(ward: httpx.AsyncClient) -> None:
    answer = await ward.post("Patient/_search?gender=female", data={"family": "grun", "_sort": "birthdate"})
    assert answer.status_code == 200, answer.text
    assert ids(answer.json()) == ["Patient/p1"]
    query = dict(parse_qsl(urlsplit(answer.json()["link"][0]["url"]).query))
    assert query == {"gender": "female", "family": "grun", "_sort": "birthdate"}


async def test_the_self_link_shows_what_was_understood(ward: httpx.AsyncClient) -> None:
    found = await bundle(ward, "Patient?foo=1&family=gr%C3%BC&bar:exact=2&_format=json")
    assert found["link"][0]["url"] == "http://test/fhir/Patient?family=gr%C3%BC"
    assert [(issue["severity"], issue["code"]) for issue in issues(found)] == [("warning", "not-supported")] * 2
    assert "'foo'" in issues(found)[0]["diagnostics"]
    assert ids(found) == ["Patient/p1"]


async def test_an_unknown_parameter_is_refused_under_strict_handling(ward: httpx.AsyncClient) -> None:
    assert "'foo'" in await refused(ward, "Patient?foo=1", Prefer="handling=strict")


@pytest.mark.parametrize(
    "query",
    ["birthdate=yesterday", "name:unknown=x", "_count=-1", "_summary=x", "_sort=_text", "organization=a%20b", "_lastUpdated=x"],
)
async def test_a_malformed_value_is_refused_also_under_lenient_handling(ward: httpx.AsyncClient, query: str) -> None:
    assert await refused(ward, f"Patient?{query}")


async def test_count_zero_and_summary_count_give_the_total_alone(ward: httpx.AsyncClient) -> None:
    for query in (
        "_count=0",
        "_summary=count",
        "_count=0&_total=none&_summary=count",
        "_summary=count&_include=Patient:organization",
    ):
        found = await bundle(ward, f"Patient?{query}")
        assert "entry" not in found
        assert found.get("total") == (None if "none" in query else 2)


async def test_total_none_leaves_it_out_and_accurate_demands_it(ward: httpx.AsyncClient) -> None:
    assert "total" not in await bundle(ward, "Observation?_total=none")
    for wanted in ("accurate", "estimate"):
        found = await bundle(ward, f"Observation?_total={wanted}&_count=1")
        assert (found["total"], len(found["entry"])) == (3, 1)
    assert (await bundle(ward, "Observation?_count=1"))["total"] == 3
    assert (await bundle(ward, "Observation?_count=1&code=urn:c%7Cc1,urn:c%7Cc2"))["total"] == 2


async def test_summaries_and_elements_cut_and_tag(ward: httpx.AsyncClient) -> None:
    tag = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}
    cut = {
        "_summary=true": {"resourceType", "id", "meta", "name", "gender", "birthDate", "managingOrganization"},
        "_summary=text": {"resourceType", "id", "meta", "text"},
        "_elements=gender": {"resourceType", "id", "meta", "gender"},
        "_elements=Patient.gender,Observation.code": {"resourceType", "id", "meta", "gender"},
    }
    for query, expected in cut.items():
        resource = (await bundle(ward, f"Patient?_id=p1&{query}"))["entry"][0]["resource"]
        assert set(resource) == expected
        assert resource["meta"]["tag"] == [tag]
    data = (await bundle(ward, "Patient?_id=p1&_summary=data"))["entry"][0]["resource"]
    assert "text" not in data
    assert "contact" in data
    whole = (await bundle(ward, "Patient?_id=p1&_summary=false"))["entry"][0]["resource"]
    assert "tag" not in whole["meta"]
    assert set((await bundle(ward, "Observation?_id=o1&_elements=subject"))["entry"][0]["resource"]) == {
        "resourceType",
        "id",
        "meta",
        "status",
        "code",
        "subject",
    }


async def test_a_deleted_resource_is_never_found(ward: httpx.AsyncClient) -> None:
    assert (await ward.delete("Observation/o1")).status_code in (200, 204)
    for query in ("", "?_id=o1", "?code:not=zz", "?date:missing=true", "?_id:not=o2", "?_lastUpdated=gt2000", "?status=final"):
        assert "Observation/o1" not in ids(await bundle(ward, f"Observation{query}"))
    assert (await bundle(ward, "Observation?_summary=count"))["total"] == 2
    assert "Observation/o1" not in ids(await bundle(ward, "Patient?_id=p1&_revinclude=Observation:subject"), "include")
    assert ids(await bundle(ward, "Patient?_has:Observation:subject:code=c1")) == []


async def test_a_system_search_is_over_all_types_or_those_named(ward: httpx.AsyncClient) -> None:
    found = await bundle(ward, "?_type=Patient,Organization")
    assert ids(found) == ["Organization/org", "Patient/p1", "Patient/p2"]
    assert found["total"] == 3
    assert found["link"][0]["url"] == "http://test/fhir?_type=Patient,Organization"
    everything = ids(await bundle(ward, "?_count=100"))
    assert {"Practitioner/doc", "Observation/o3"} <= set(everything)
    assert ids(await bundle(ward, "?_type=Patient,Practitioner&family=gr")) == ["Patient/p1", "Practitioner/doc"]
    assert "_type" in await refused(ward, "?_type=Nothing")


@pytest.mark.parametrize("sort", ["", "&_sort=_lastUpdated", "&_sort=-_lastUpdated", "&_sort=-_id"])
async def test_a_system_search_pages_over_types_in_one_order(ward: httpx.AsyncClient, sort: str) -> None:
    whole = ids(await bundle(ward, f"?_type=Patient,Observation{sort}"))
    assert len(whole) == 5
    walked: list[str] = []
    url: str | None = f"?_type=Patient,Observation&_count=2{sort}"
    while url is not None:
        page = await bundle(ward, url)
        walked += ids(page)
        url = next((link["url"] for link in page["link"] if link["relation"] == "next"), None)
    assert walked == whole


async def test_a_compartment_holds_what_refers_to_its_owner(ward: httpx.AsyncClient) -> None:
    assert ids(await bundle(ward, "Patient/p1/Observation")) == ["Observation/o1", "Observation/o2"]
    assert ids(await bundle(ward, "Patient/p1/Observation?code=c2")) == ["Observation/o2"]
    assert ids(await bundle(ward, "Patient/p1/*")) == ["Patient/p1", "Observation/o1", "Observation/o2"]
    assert ids(await bundle(ward, "Patient/p1/*?_type=Observation")) == ["Observation/o1", "Observation/o2"]
    assert ids(await bundle(ward, "Patient/p1/Organization")) == []
    found = await bundle(ward, "Patient/p1/Observation?_count=1")
    assert found["link"][0]["url"] == "http://test/fhir/Patient/p1/Observation?_count=1"
    following = next(link["url"] for link in found["link"] if link["relation"] == "next")
    assert ids(await bundle(ward, following)) == ["Observation/o2"]


async def test_what_is_no_compartment_is_refused(ward: httpx.AsyncClient) -> None:
    answer = await ward.get("Organization/org/Patient")
    assert answer.status_code in (400, 404)


async def test_a_list_finds_its_items(ward: httpx.AsyncClient) -> None:
    items = [{"item": {"reference": "Patient/p2"}}, {"item": {"reference": "Observation/o1"}}]
    await put(ward, {"resourceType": "List", "id": "l1", "status": "current", "mode": "working", "entry": items})
    assert ids(await bundle(ward, "Patient?_list=l1")) == ["Patient/p2"]
    assert ids(await bundle(ward, "Observation?_list=l1")) == ["Observation/o1"]
    assert ids(await bundle(ward, "Patient?_list=none")) == []


async def test_explain_tells_the_plan(ward: httpx.AsyncClient) -> None:
    texts = [issue["diagnostics"] for issue in issues(await bundle(ward, "Patient?gender=male&_explain=true"))]
    assert texts[0].startswith("Patient is searched by {")
    assert texts[1].startswith("Plan: ")
    assert "IXSCAN" in texts[1]
    computed = issues(await bundle(ward, "Patient?_sort=gender,birthdate&_explain=true"))
    assert "Plan: " in computed[1]["diagnostics"]


@pytest.mark.parametrize(
    "value", ["$ne", "$gt", '{"$ne":null}', ".*", "^a", "(", "[", "\\", "a\\", "$where", "s.family", "'; return true"]
)
@pytest.mark.parametrize(
    "name", ["family", "family:exact", "family:contains", "identifier", "gender", "_id", "_tag", "organization"]
)
async def test_no_value_becomes_an_operator_or_a_pattern(ward: httpx.AsyncClient, name: str, value: str) -> None:
    answer = await ward.get("Patient", params={name: value})
    assert answer.status_code in (200, 400), answer.text
    assert answer.status_code == 400 or ids(answer.json()) == []


async def test_a_search_over_its_time_is_stopped_with_an_advice(ward: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(self: Access) -> int:
        raise self.over_time()

    monkeypatch.setattr(Access, "remaining_ms", exhausted)
    answer = await ward.get("Patient?family=gr")
    assert answer.status_code == 503
    assert answer.json()["issue"][0]["code"] == "too-costly"
    assert "Narrow it" in answer.json()["issue"][0]["diagnostics"]


async def test_value_sets_and_hierarchies_expand(ward: httpx.AsyncClient) -> None:
    concepts = [{"code": "c1", "concept": [{"code": "c2"}]}, {"code": "c3"}]
    await put(
        ward,
        {
            "resourceType": "CodeSystem",
            "id": "cs",
            "url": "urn:c",
            "status": "active",
            "content": "complete",
            "concept": concepts,
        },
    )
    include = [{"system": "urn:c", "concept": [{"code": "c1"}, {"code": "c3"}]}]
    await put(
        ward, {"resourceType": "ValueSet", "id": "vs", "url": "urn:vs", "status": "active", "compose": {"include": include}}
    )
    is_a = [{"system": "urn:c", "filter": [{"property": "concept", "op": "is-a", "value": "c1"}]}]
    await put(ward, {"resourceType": "ValueSet", "id": "isa", "url": "urn:isa", "status": "active", "compose": {"include": is_a}})
    expected = {
        "code:in=urn:vs": ["o1", "o3"],
        "code:in=ValueSet/vs": ["o1", "o3"],
        "code:not-in=urn:vs": ["o2"],
        "code:in=urn:isa": ["o1", "o2"],
        "code:below=urn:c%7Cc1": ["o1", "o2"],
        "code:above=urn:c%7Cc2": ["o1", "o2"],
        "status:in=http://hl7.org/fhir/ValueSet/observation-status": ["o1", "o2", "o3"],
    }
    for query, wanted in expected.items():
        assert ids(await bundle(ward, f"Observation?{query}")) == [f"Observation/{id_}" for id_ in wanted], query
    for query in ("code:in=urn:none", "code:below=c1", "code:below=urn:none%7Cx", "code:below=urn:c%7Czz"):
        assert await refused(ward, f"Observation?{query}")
