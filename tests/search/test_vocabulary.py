"""The words of names, and what contains a text."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo import AsyncMongoClient, IndexModel
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from fhir_server.contexts import Contexts
from fhir_server.fhir.codec import encode
from fhir_server.search import vocabulary
from fhir_server.search.fill import fill
from fhir_server.search.index import entries, index_models
from fhir_server.search.vocabulary import COLLECTION, LESS, OLD_INDEX, WORDS, shortened, words_of
from fhir_server.store.companions import alone
from fhir_server.store.database import Database
from tests.conftest import client_of

TYPE = {"Content-Type": "application/fhir+json"}


def person(*names: dict[str, Any], type_: str = "Patient") -> dict[str, Any]:
    return {"resourceType": type_, "name": list(names)}


async def create(http: httpx.AsyncClient, resource: dict[str, Any]) -> str:
    answer = await http.post(resource["resourceType"], content=encode(resource), headers=TYPE)
    assert answer.status_code == 201
    return str(answer.json()["id"])


async def found(http: httpx.AsyncClient, code: str, text: str, type_: str = "Patient") -> set[str]:
    answer = (await http.get(type_, params={f"{code}:contains": text})).json()
    return {entry["resource"]["id"] for entry in answer.get("entry", ())}


def test_a_word_is_found_by_its_ends_and_by_what_is_left_of_it() -> None:
    """The ends of at least two letters, and the first seven letters with up to two left out."""
    assert WORDS.document("t/ada") == {"_id": "t/ada", "t": "t", "k": ["ada", "da"]}
    assert set(WORDS.listed("t/ada")) == {(f"t/-{text}", "ada") for text in ("ada", "da", "aa", "ad")}
    assert WORDS.document("t/a/b")["k"] == ["/b", "a/b"]
    assert len(list(WORDS.listed("t/abcdefghij"))) == 29
    assert [len(found) for found in shortened("abcdefghij")] == [8, 21]
    assert shortened("o") == ({"o"}, set())


def test_words_have_parts() -> None:
    """A double name is also found by each of its names, and without its hyphen."""
    index = entries(person({"family": "von O'Brien", "given": ["Anne-Marie"]}))
    assert words_of(index) == {
        *("von", "o'brien", "obrien", "vonobrien"),
        *("anne-marie", "anne", "marie", "annemarie"),
    }


@given(st.lists(st.text(min_size=1), max_size=6))
def test_all_words_of_a_name_are_known(texts: list[str]) -> None:
    """Whatever a name may be, each of its words or pieces of words is among the keys, and has a document."""
    index = entries({"resourceType": "Organization", "name": "x", "alias": texts})
    words = {key.partition("/")[2] for key in WORDS.keys("t", "Organization", index)}
    folded = [one.partition("\x01")[0] for one in index["name"] if not one.startswith("\x02")]
    assert {word for text in folded for word in text.split(" ") if 0 < len(word) <= 64} <= words
    assert all(WORDS.document(f"t/{word}")["k"] for word in words)


async def test_a_text_is_found_wherever_it_stands(http: httpx.AsyncClient) -> None:
    """In the first word and in later ones, over several, without case and accents, in each of the parameters."""
    ek = await create(http, person({"family": "von Söderek", "given": ["Anna Maria"], "prefix": ["Dr. med."]}))
    ann = await create(http, person({"family": "Annason", "given": ["Bo"], "text": "Bo the Annason"}))
    assert await found(http, "name", "nna") == {ek, ann}
    assert await found(http, "given", "nna") == {ek}
    assert await found(http, "given", "maria") == {ek}
    assert await found(http, "family", "nna") == {ann}
    assert await found(http, "family", "ODERE") == {ek}
    assert await found(http, "name", "a m") == {ek}
    assert await found(http, "name", "na mar") == {ek}
    assert await found(http, "name", "na ma,n sod") == {ek}
    assert await found(http, "name", "nna ma") == {ek}
    assert await found(http, "name", "he ann") == {ann}
    assert await found(http, "name", "o the a") == {ann}
    assert await found(http, "name", "o tha a") == set()
    assert await found(http, "name", "maria anna") == set()
    assert await found(http, "name", "r. m") == {ek}
    assert await found(http, "name", "zz") == set()
    assert await found(http, "name", "n") == {ek, ann}


async def test_a_later_word_is_no_start(http: httpx.AsyncClient) -> None:
    """What is kept of later words changes no other search, and no order."""
    one = await create(http, person({"family": "von Ek", "given": ["Bo"]}))
    assert (await http.get("Patient?name=ek")).json()["total"] == 0
    assert (await http.get("Patient?name:exact=ek")).json()["total"] == 0
    assert (await http.get('Patient?_filter=name ew "ek"')).json()["total"] == 1
    await create(http, person({"text": "Bo Ek Berg"}))
    assert (await http.get('Patient?_filter=name ew "ek"')).json()["total"] == 1
    assert (await http.get('Patient?_filter=name eq "ek"')).json()["total"] == 0
    last = (await http.get("Patient?_sort=-name")).json()["entry"][0]["resource"]
    assert last["id"] == one


async def test_long_words_and_long_texts(http: httpx.AsyncClient) -> None:
    """Texts longer than what the vocabulary holds are found as well, and no others."""
    word = "".join(f"{chr(97 + number % 26)}{number:03}" for number in range(60))
    one = await create(http, person({"family": word, "given": ["Bo " + word[::-1]]}))
    assert await found(http, "family", word[50:90]) == {one}
    assert await found(http, "family", word[50:90] + "x") == set()
    assert await found(http, "name", "o " + word[::-1][:40]) == {one}
    assert await found(http, "family", word) == {one}
    assert await found(http, "family", word[-20:]) == {one}
    assert await found(http, "given", word[-20:]) == set()


@pytest.mark.parametrize("most", [0, 1])
async def test_too_many_words_are_not_looked_up(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """The names themselves are searched then; the result is the same."""
    ids = {await create(http, person({"family": f"Annas{number}n"})) for number in range(3)}
    monkeypatch.setattr(vocabulary, "MOST_WORDS", most)
    assert await found(http, "name", "nnas") == ids
    assert await found(http, "name", "s1n") != set()


async def test_words_are_there_for_every_way_of_writing(http: httpx.AsyncClient) -> None:
    """Alone, as an update, by a patch, in a transaction, in a batch, and within the transaction that writes them."""
    id_ = await create(http, person({"family": "Erste"}, type_="Person"))
    changed = person({"family": "Zweiter"}, type_="Person") | {"id": id_}
    await http.put(f"Person/{id_}", content=encode(changed), headers=TYPE)
    assert await found(http, "name", "weit", "Person") == {id_}
    assert await found(http, "name", "rst", "Person") == set()
    patch = [{"op": "replace", "path": "/name/0/family", "value": "Dritter"}]
    await http.patch(f"Person/{id_}", json=patch, headers={"Content-Type": "application/json-patch+json"})
    assert await found(http, "name", "ritt", "Person") == {id_}
    for kind, family in (("transaction", "Vierter"), ("batch", "Fuenfter")):
        entry = {"resource": person({"family": family}, type_="Person"), "request": {"method": "POST", "url": "Person"}}
        search = {"request": {"method": "GET", "url": f"Person?name:contains={family[1:5]}"}}
        bundle = {"resourceType": "Bundle", "type": kind, "entry": [entry, search]}
        answer = (await http.post("", content=encode(bundle), headers=TYPE)).json()
        assert answer["entry"][0]["response"]["status"].startswith("201")
        if kind == "transaction":
            assert answer["entry"][1]["resource"]["total"] == 1
        assert len(await found(http, "name", family[1:5], "Person")) == 1


@pytest.fixture
async def separate(client: AsyncMongoClient[dict[str, Any]], tenant: str) -> AsyncIterator[AsyncDatabase[dict[str, Any]]]:
    """A database that has nothing in common with others."""
    yield client[f"fhir_test_{tenant}"]
    await client.drop_database(f"fhir_test_{tenant}")


async def test_a_database_without_vocabulary_is_searched_until_it_is_reindexed(
    separate: AsyncDatabase[dict[str, Any]], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier versions had another index; while it is there, nothing relies on the words, and reindexing drops it."""
    monkeypatch.setattr("fhir_server.store.database.OLD_INDEX_SECONDS", 0)
    async with client_of(settings, separate) as http:
        ids = {await create(http, person({"family": f"Gammal{number}"}, type_="Person")) for number in range(3)}
    await separate["Person"].create_indexes([IndexModel([("t", 1), ("s.name:ends", 1)])])
    await separate["Person"].update_many({}, {"$set": {"s.name:ends": ["ammal"]}})
    await separate.drop_collection(COLLECTION)
    async with client_of(settings, separate) as http:
        assert await found(http, "name", "ammal", "Person") == ids
        store = Database(separate, settings, index_models, WORDS)
        assert not await store.lacks("Person", OLD_INDEX)
        assert await fill(store, "http://test/fhir") == 3
        assert await store.lacks("Person", OLD_INDEX)
        assert OLD_INDEX not in await separate["Person"].index_information()
        assert await separate[COLLECTION].count_documents({}) == 3
        assert (await separate[LESS].find_one({"_id": f"{settings.default_tenant}/-gammal"}))["w"] == [
            "gammal0",
            "gammal1",
            "gammal2",
        ]
        assert await found(http, "name", "ammal", "Person") == ids


async def test_whoever_writes_through_a_context_makes_words(database: AsyncDatabase[dict[str, Any]], settings: Settings) -> None:
    """Also commands that open the database themselves."""
    store = Database(database, settings, index_models)
    assert store.accompany is alone
    contexts = Contexts(store, settings)
    accompany = contexts.database.accompany
    assert accompany is not alone
    await accompany(settings.default_tenant, [("Person", entries(person({"family": "Sista"}, type_="Person")))])
    assert await database[COLLECTION].count_documents({"_id": f"{settings.default_tenant}/sista"}) == 1
    Contexts(store, settings)
    assert store.accompany is accompany
