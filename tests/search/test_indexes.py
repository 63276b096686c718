from typing import Any

import pytest
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.search.access import within_each
from fhir_server.search.covering import covered
from fhir_server.search.custom import from_resource
from fhir_server.search.index import entries, index_models
from fhir_server.search.indexes import custom_index_models, replaced_indexes
from fhir_server.search.parameter import SearchParameter
from fhir_server.search.registry import BUILTIN
from fhir_server.search.types import parameter_filter, sort_field
from fhir_server.search.types.string import having_words


def test_no_type_has_more_indexes_than_mongodb_allows() -> None:
    """64 a collection, of which the store needs some; each is led by the tenant, and none stands twice."""
    for type_ in RESOURCE_TYPES:
        keys = [tuple(model.document["key"]) for model in index_models(type_)]
        assert len(keys) < 60
        assert len(keys) == len(set(keys))
        assert all(key[0] == "t" for key in keys)


def test_a_custom_parameter_has_its_index() -> None:
    """It is like that of a parameter of the specification."""
    (parameter,) = from_resource(
        {
            "status": "active",
            "url": "urn:x",
            "code": "own",
            "type": "date",
            "base": ["Patient"],
            "expression": "Patient.birthDate",
        }
    )
    assert [tuple(model.document["key"]) for model in custom_index_models(parameter)] == [("t", "s.own.l", "_id")]


QUERIES = [
    ("Patient", "family", "", "holm", "s.family"),
    ("Patient", "family", "exact", "Holm", "s.family"),
    ("Patient", "identifier", "", "urn:a|7", "s.identifier"),
    ("Patient", "identifier", "", "7", "s.identifier"),
    ("Patient", "birthdate", "", "1980-03", "s.birthdate.l"),
    ("Patient", "birthdate", "", "ge1980-03", "s.birthdate.l"),
    ("Patient", "phone", "", "5550007", "s.telecom"),
    ("Patient", "address-state", "", "qu", "s.address"),
    ("Patient", "address-country", "exact", "X7", "s.address"),
    ("Location", "address-postalcode", "", "107", "s.address"),
    ("Observation", "subject", "", "Patient/7", "s.subject"),
    ("Observation", "patient", "", "7", "s.subject"),
    ("Observation", "date", "", "2020-01-07", "s.date.l"),
    ("Observation", "code-value-quantity", "", "urn:c|7$7", "s.code"),
    ("Observation", "value-quantity", "", "7|http://unitsofmeasure.org|g", "s.value-quantity.k"),
    ("Location", "near", "", "7.0|7.0|1|km", "s.near"),
]


def resource(type_: str, number: int) -> dict[str, Any]:
    if type_ == "Location":
        position = {"latitude": number / 1, "longitude": number / 1}
        return {"resourceType": type_, "position": position, "address": {"postalCode": str(100 + number), "city": "Å"}}
    if type_ == "Patient":
        return {
            "resourceType": type_,
            "name": [{"family": "Holm" if number % 10 == 0 else f"Ek{number}", "given": ["Bo"]}],
            "identifier": [{"system": "urn:a", "value": str(number)}],
            "telecom": [{"system": "phone", "value": f"555-{number:04}"}],
            "address": [{"state": "Queensland" if number == 7 else "Y", "country": f"X{number}"}, {"city": "Z"}],
            "birthDate": f"{1970 + number % 20}-{number % 12 + 1:02}-01",
        }
    return {
        "resourceType": type_,
        "subject": {"reference": f"Patient/{number}"},
        "code": {"coding": [{"system": "urn:c", "code": str(number)}]},
        "effectiveDateTime": f"2020-01-{number % 28 + 1:02}",
        "valueQuantity": {"value": number, "system": "http://unitsofmeasure.org", "code": "g"},
    }


@pytest.mark.parametrize(
    ("type_", "code", "modifier", "value", "field"), QUERIES, ids=[f"{one[0]}?{one[1]}:{one[2]}" for one in QUERIES]
)
async def test_searches_use_the_index_of_their_parameter(
    database: AsyncDatabase[dict[str, Any]], tenant: str, type_: str, code: str, modifier: str, value: str, field: str
) -> None:
    """MongoDB reads no more documents than match, or a few."""
    collection = database[f"indexes_{type_}"]
    await collection.create_indexes(index_models(type_))
    resources = [resource(type_, number) for number in range(80)]
    await collection.insert_many(
        [{"_id": f"{tenant}/{number}", "t": tenant, "s": entries(one)} for number, one in enumerate(resources)]
    )
    parameter = BUILTIN.get(type_, code)
    assert parameter is not None
    condition = {"t": tenant, **covered(parameter, parameter_filter(parameter, modifier, [value]))}
    explained = await collection.find(condition).explain()
    assert f"'{field}':" in str(explained["queryPlanner"]["winningPlan"])
    matches = await collection.count_documents(condition)
    assert matches > 0
    assert explained["executionStats"]["totalDocsExamined"] <= matches + 40


async def test_alternatives_over_several_parameters_use_the_index_of_each(
    database: AsyncDatabase[dict[str, Any]], tenant: str
) -> None:
    """As compartments are searched; MongoDB has to be told the tenant in each of them."""
    collection = database["indexes_Observation"]
    await collection.create_indexes(index_models("Observation"))
    await collection.insert_many(
        [{"_id": f"{tenant}/{number}", "t": tenant, "s": entries(resource("Observation", number))} for number in range(80)]
    )
    either = {"$or": [{"s.subject": "Patient/7"}, {"s.performer": "Patient/7"}]}

    explained = await collection.find({"t": tenant, **within_each(either, tenant)}).sort("_id", 1).explain()

    assert explained["executionStats"]["nReturned"] == 1
    assert explained["executionStats"]["totalDocsExamined"] == 1


def test_alternatives_keep_their_meaning_with_the_tenant() -> None:
    """Also deep inside, and where one of them is everything."""
    assert within_each({"s.a": 1}, "t") == {"s.a": 1}
    assert within_each({"$and": [{"$or": [{"s.a": 1}, {"$or": [{"s.b": 2}, {}]}]}]}, "t") == {
        "$and": [{"$or": [{"t": "t", "s.a": 1}, {"t": "t", "$or": [{"t": "t", "s.b": 2}, {}]}]}]
    }
    assert within_each({"$nor": [{"$or": [{"s.a": 1}]}]}, "t") == {"$nor": [{"$or": [{"s.a": 1}]}]}


async def test_the_words_of_names_are_found_among_the_keys_alone(database: AsyncDatabase[dict[str, Any]], tenant: str) -> None:
    """No document is read, whatever follows a word or stands before it."""
    collection = database["indexes_Patient"]
    await collection.create_indexes(index_models("Patient"))
    names = ["Holm", "HOLM", "Holm Berg", "Berg Holm", "Holmes", *(f"Ek{number}" for number in range(80))]
    await collection.insert_many(
        [
            {"_id": f"{tenant}/{number}", "t": tenant, "s": entries({"resourceType": "Patient", "name": [{"family": name}]})}
            for number, name in enumerate(names)
        ]
    )

    explained = await collection.find({"t": tenant, **having_words("s.name", ["holm"])}, {"_id": 1}).explain()

    assert explained["executionStats"]["nReturned"] == 4
    assert explained["executionStats"]["totalDocsExamined"] == 0


@pytest.mark.parametrize(
    ("code", "descending"), [("birthdate", False), ("birthdate", True), ("family", False), ("_lastUpdated", True)]
)
async def test_sorting_reads_the_index_in_its_order(
    database: AsyncDatabase[dict[str, Any]], tenant: str, code: str, descending: bool
) -> None:
    """The first page costs no more than its rows."""
    collection = database["indexes_Patient"]
    await collection.create_indexes(index_models("Patient"))
    await collection.create_index([("t", 1), ("u", 1), ("_id", 1)])
    await collection.insert_many(
        [
            {"_id": f"{tenant}/{number}", "t": tenant, "u": number, "s": entries(resource("Patient", number))}
            for number in range(60)
        ]
    )
    parameter = BUILTIN.get("Patient", code)
    assert parameter is not None
    field, direction = sort_field(parameter, descending=descending), -1 if descending else 1
    found = collection.find({"t": tenant, field: {"$ne": None}}).sort([(field, direction), ("_id", direction)]).limit(10)
    assert (await found.explain())["executionStats"]["totalDocsExamined"] == 10


@pytest.mark.parametrize("type_", [type_ for type_ in sorted(RESOURCE_TYPES) if replaced_indexes(type_)])
async def test_a_resource_with_several_values_of_every_parameter_can_be_indexed(
    database: AsyncDatabase[dict[str, Any]], tenant: str, type_: str
) -> None:
    """MongoDB refuses two arrays in one index."""
    entries_of = {
        parameter.field.removeprefix("s."): _entry(parameter)
        for parameter in BUILTIN.of(type_).values()
        if parameter.field.startswith("s.") and parameter.type not in ("special", "composite")
    }
    collection = database[f"several_{type_}"]
    await collection.create_indexes(index_models(type_))
    await collection.insert_one({"_id": f"{tenant}/1", "t": tenant, "s": entries_of})
    await collection.drop()


def _entry(parameter: SearchParameter) -> Any:
    one = {"date": {"l": 1, "h": 2}, "number": {"l": 1}, "quantity": {"l": 1, "k": "g", "c": 1}}.get(parameter.type, "a")
    return [one, one, one] if parameter.repeats else one


async def test_what_a_patient_has_of_a_kind_is_known_by_keys_alone(database: AsyncDatabase[dict[str, Any]], tenant: str) -> None:
    """Both ways round: codes of subjects, in the order of time, and subjects of a code, in the order of ids."""
    collection = database["indexes_Observation"]
    await collection.create_indexes(index_models("Observation"))
    await collection.insert_many(
        [{"_id": f"{tenant}/{number}", "t": tenant, "s": entries(resource("Observation", number))} for number in range(80)]
    )
    of_patients = {"t": tenant, "s.code": {"$regex": "^7\\|"}, "s.subject": {"$in": ["Patient/7", "Patient/8"]}}
    by_code = {"t": tenant, "s.code": "7|urn:c"}
    for condition, projection in ((of_patients, {"_id": 1}), (by_code, {"_id": 1, "s.subject": 1})):
        explained = await collection.find(condition, projection).sort("_id", 1).explain()
        assert explained["executionStats"]["nReturned"] == 1
        assert explained["executionStats"]["totalDocsExamined"] == 0
