"""`Patient?_query=fuzzy` over HTTP."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import httpx
import pytest

from fhir_server.exchange import Context
from fhir_server.fhir.codec import encode
from fhir_server.search.fuzzy.query import search_fuzzily
from fhir_server.search.registry import Registry, SearchParameter

Put = Callable[..., Awaitable[None]]
TYPE = {"Content-Type": "application/fhir+json"}
PEOPLE: dict[str, dict[str, Any]] = {
    "smith": {
        "name": [{"family": "Smith", "given": ["Robert", "James"]}],
        "birthDate": "1980-03-05",
        "gender": "male",
        "telecom": [{"system": "phone", "value": "+1 415 555 0100"}],
        "identifier": [{"system": "urn:mrn", "value": "MRN-2024000123"}],
    },
    "smyth": {"name": [{"family": "Smyth", "given": ["Roberta"]}], "birthDate": "1971-12-24", "gender": "female"},
    "soder": {"name": [{"family": "von Söderberg", "given": ["Åsa", "Maria"]}], "birthDate": "1980-03-05"},
    "obrien": {"name": [{"family": "O'Brien", "given": ["Anne-Marie"]}, {"use": "maiden", "family": "Lindqvist"}]},
    "obryan": {"name": [{"family": "Obryan", "given": ["Thomas"]}], "birthDate": "1990-07"},
    "nobody": {"name": [{"text": "Prince"}], "birthDate": "1958-06-07"},
}


@pytest.fixture
async def people(http: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client of a server that knows a few people."""
    for id_, members in PEOPLE.items():
        answer = await http.put(f"Patient/{id_}", content=encode({"resourceType": "Patient", "id": id_, **members}), headers=TYPE)
        assert answer.status_code == 201
    return http


async def found(http: httpx.AsyncClient, q: str, **others: str) -> list[str]:
    answer = await http.get("Patient", params={"_query": "fuzzy", "q": q, **others})
    assert answer.status_code == 200, answer.text
    return [entry["resource"]["id"] for entry in answer.json().get("entry", ())]


@pytest.mark.parametrize(
    ("q", "first"),
    [
        ("Robert Smith", "smith"),
        ("smith robert", "smith"),
        ("robrt smiht", "smith"),
        ("smihht rboert", "smith"),
        ("bob smith", "smith"),
        ("smith jim", "smith"),
        ("rob smi", "smith"),
        ("smyth", "smyth"),
        ("asa soderberg", "soder"),
        ("Söderberg Maria", "soder"),
        ("soederberg asa", "soder"),
        ("sodrebreg asa", "soder"),
        ("asa vonsoderberg", "soder"),
        ("asa södreabegr", "soder"),
        ("annemarie obrien", "obrien"),
        ("o'brian anne", "obrien"),
        ("brien-o marie", "obrien"),
        ("anne lindkvist", "obrien"),
        ("prince", "nobody"),
        ("prinec", "nobody"),
        ("1980-03-05 smith", "smith"),
        ("5/3/1980 smithe", "smith"),
        ("3/5/1980 smithe", "smith"),
        ("soderberg 1980", "soder"),
        ("thomas 1990", "obryan"),
        ("1971-12-24", "smyth"),
        ("4155550100", "smith"),
        ("(415) 555-0100", "smith"),
        ("555-0100 bob", "smith"),
        ("+1 415 555 0100", "smith"),
        ("MRN-2024000123", "smith"),
        ("mrn-2024000123", "smith"),
        ("mrn 2024000123", "smith"),
        ("urn:mrn|MRN-2024000123", "smith"),
    ],
)
async def test_who_is_meant_comes_first(people: httpx.AsyncClient, q: str, first: str) -> None:
    """Slips, accents, order, nicknames, maiden names, beginnings, dates and numbers."""
    assert (await found(people, q))[:1] == [first]


async def test_scores_fall_and_say_how_well_each_fits(people: httpx.AsyncClient) -> None:
    """1 is all that was typed and nothing else."""
    answer = (await people.get("Patient?_query=fuzzy&q=roberta smyth")).json()
    scores = [entry["search"]["score"] for entry in answer["entry"]]
    assert [entry["search"]["mode"] for entry in answer["entry"]] == ["match", "match"]
    assert scores[0] == 1
    assert scores == sorted(scores, reverse=True)
    assert 0.5 <= scores[1] < 1
    assert answer["total"] == 2
    assert answer["link"][0]["url"].endswith("Patient?_query=fuzzy&q=roberta%20smyth")


async def called(http: httpx.AsyncClient, prefix: str, given: str, family: str, count: int) -> None:
    entry = [
        {
            "resource": {"resourceType": "Patient", "id": f"{prefix}{number}", "name": [{"family": family, "given": [given]}]},
            "request": {"method": "PUT", "url": f"Patient/{prefix}{number}"},
        }
        for number in range(count)
    ]
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": entry}
    assert (await http.post("", content=encode(bundle), headers=TYPE)).status_code == 200


async def test_a_name_two_slips_away_is_found_beside_one_that_is_one_slip_away(http: httpx.AsyncClient) -> None:
    """The nearer one comes first."""
    await called(http, "manley", "Sarah", "Manley", 1)
    await called(http, "daly", "Sarah", "Maley", 2)
    assert await found(http, "sarah maly") == ["daly0", "daly1", "manley0"]


async def test_many_who_bear_a_nickname_do_not_hide_who_is_called_as_was_typed(http: httpx.AsyncClient) -> None:
    """Also where the other word has two slips."""
    await called(http, "many", "Mary", "Smith", 80)
    await called(http, "one", "Molly", "Smith", 1)
    assert (await found(http, "molly simtih"))[:1] == ["one0"]


async def test_nobody_is_found_who_is_not_alike(people: httpx.AsyncClient) -> None:
    """An empty page is the answer to what nobody is called."""
    answer = (await people.get("Patient?_query=fuzzy&q=xylophone zebra")).json()
    assert answer["total"] == 0
    assert "entry" not in answer
    assert await found(people, "555-9999 1901-01-01 77777777") == []


async def test_other_parameters_narrow(people: httpx.AsyncClient) -> None:
    """Search parameters, with modifiers and chains, say whom to look among."""
    assert await found(people, "robert smith") == ["smith", "smyth"]
    assert await found(people, "robert smith", gender="female") == ["smyth"]
    assert await found(people, "4155550100", gender="female") == []
    assert await found(people, "robert smith", birthdate="ge1975") == ["smith"]
    assert await found(people, "robert smith", **{"general-practitioner:Practitioner.name": "x"}) == []


async def test_results_are_shaped_as_those_of_any_search(people: httpx.AsyncClient) -> None:
    """_count, _summary, _elements, XML; a count of 0 says how many there are."""
    assert len(await found(people, "robert smith", _count="1")) == 1
    counted = (await people.get("Patient?_query=fuzzy&q=robert smith&_count=0")).json()
    assert counted["total"] == 2
    assert "entry" not in counted
    elements = (await people.get("Patient?_query=fuzzy&q=robert smith&_elements=birthDate&_count=1")).json()
    assert elements["entry"][0]["resource"].keys() == {"resourceType", "id", "meta", "birthDate"}
    xml = (await people.get("Patient?_query=fuzzy&q=bob smith&_count=1&_format=xml")).text
    assert '<mode value="match"/>' in xml
    assert Decimal(xml.partition('<score value="')[2].partition('"')[0]) > Decimal("0.8")


async def test_it_works_in_a_batch_and_with_post(people: httpx.AsyncClient) -> None:
    """A named query is a search like any other."""
    entry = {"request": {"method": "GET", "url": "Patient?_query=fuzzy&q=smiht%20robert"}}
    answer = (
        await people.post("", content=encode({"resourceType": "Bundle", "type": "batch", "entry": [entry]}), headers=TYPE)
    ).json()
    assert answer["entry"][0]["resource"]["entry"][0]["resource"]["id"] == "smith"
    form = await people.post("Patient/_search", data={"_query": "fuzzy", "q": "smiht robert"})
    assert form.json()["entry"][0]["resource"]["id"] == "smith"


async def test_a_name_that_was_changed_is_found_by_the_new_one_only(people: httpx.AsyncClient) -> None:
    """And who was deleted is not found at all."""
    changed = {"resourceType": "Patient", "id": "smyth", "name": [{"family": "Wachowski", "given": ["Roberta"]}]}
    await people.put("Patient/smyth", content=encode(changed), headers=TYPE)
    assert await found(people, "roberta wahcowski") == ["smyth"]
    assert "smyth" not in await found(people, "roberta smyth", gender="female")
    await people.delete("Patient/smyth")
    assert await found(people, "roberta wachowski") == []


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("Patient?_query=fuzzy", "_query=fuzzy needs the parameter q once, with what was typed."),
        ("Patient?_query=fuzzy&q=a&q=b", "_query=fuzzy needs the parameter q once"),
        ("Patient?_query=fuzzy&q=,", "q=',' has nothing to search for"),
        ("Patient?_query=other&q=a", "the only named query is Patient?_query=fuzzy&q=…"),
        ("Practitioner?_query=fuzzy&q=a", "_query='fuzzy' of Practitioner: the only named query"),
        ("Patient?_query=fuzzy&q=a&_sort=name", "_sort does not go with _query=fuzzy"),
        ("Patient?_query=fuzzy&q=a&_cursor=x", "_cursor does not go with _query=fuzzy"),
        ("?_type=Patient&_query=fuzzy&q=a", "this server knows no named query"),
    ],
)
async def test_refuses_what_it_can_not_do(http: httpx.AsyncClient, path: str, says: str) -> None:
    """A 400 says what is asked for."""
    answer = await http.get(path)
    assert answer.status_code == 400
    assert says in answer.json()["issue"][0]["diagnostics"]


async def test_unknown_parameters_are_ignored_or_refused_as_the_client_prefers(people: httpx.AsyncClient) -> None:
    """As in any search."""
    lenient = (await people.get("Patient?_query=fuzzy&q=bob smith&nonsense=1")).json()
    assert lenient["entry"][-1]["search"]["mode"] == "outcome"
    strict = await people.get("Patient?_query=fuzzy&q=bob smith&nonsense=1", headers={"Prefer": "handling=strict"})
    assert strict.status_code == 400


class _Without(Registry):
    """Search parameters without some, as those have them who may not see an element."""

    def __init__(self, *hidden: str) -> None:
        super().__init__()
        self._hidden = hidden

    def get(self, type_: str, code: str) -> SearchParameter | None:
        return None if code in self._hidden else super().get(type_, code)


@pytest.mark.parametrize(
    ("hidden", "q", "ids"),
    [
        ((), "smith 1980-03-05", ["one"]),
        (("name",), "smith", []),
        (("name",), "smith 1980-03-05", ["one"]),
        (("birthdate",), "1980-03-05", []),
        (("birthdate",), "19800305", []),
        (("identifier", "phone"), "5550100", []),
        (("name", "birthdate", "identifier", "phone"), "smith 5550100", []),
    ],
)
async def test_nothing_is_searched_by_what_may_not_be_seen(
    ctx: Context, put: Put, hidden: tuple[str, ...], q: str, ids: list[str]
) -> None:
    """Who may not see names does not find patients by them."""
    phone = {"system": "phone", "value": "5550100"}
    person = {"name": [{"family": "Smith"}], "birthDate": "1980-03-05", "telecom": [phone], "identifier": [{"value": "5550100"}]}
    await put({"resourceType": "Patient", "id": "one", **person})
    restricted = replace(ctx, registry=_Without(*hidden))
    result = await search_fuzzily(restricted, "Patient", (("_query", "fuzzy"), ("q", q)))
    assert [version.id for version in result.matches] == ids
