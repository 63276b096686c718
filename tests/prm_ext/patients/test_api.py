"""The patients of the product over HTTP, beside the same patients as FHIR."""

import pytest

from tests.conftest import client_of

PATIENTS = "http://test/api/v1/prm/patients"
MRN = "urn:prm:mrn:"
WHOLE = {
    "legal_name": "Maria Elena García López",
    "preferred_name": "Elena",
    "aliases": ["Mari"],
    "date_of_birth": "1984-03-17",
    "gender": "female",
    "birth_sex": "F",
    "primary_phone": "+1 415 555 0132",
    "secondary_phone": "(415) 555-0178",
    "email": "elena.garcia@example.org",
    "address_line1": "1200 Mission Street",
    "address_line2": "Apt 4",
    "city": "San Francisco",
    "state": "CA",
    "zip_code": "94103",
    "preferred_contact_method": "whatsapp",
    "race": "White",
    "ethnicity": "Hispanic or Latino",
    "preferred_language": "es",
    "marital_status": "married",
    "primary_care_provider_id": "dr-7",
    "photo_url": "https://example.org/elena.jpg",
    "emergency_contact_name": "Jorge López",
    "emergency_contact_phone": "+1 415 555 0190",
    "emergency_contact_relationship": "husband",
}


async def created(http, **values):
    answer = await http.post(PATIENTS, json={"legal_name": "Ada Lovelace"} | values)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def fhir(http, id_, type_="Patient"):
    return (await http.get(f"{type_}/{id_}")).json()


def problem(answer):
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == answer.status_code
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


async def test_a_new_patient_comes_back_whole_and_is_a_fhir_patient(http, tenant):
    answer = await http.post(PATIENTS, json=WHOLE | {"ssn": "219-09-9999"})
    assert answer.status_code == 201
    body = answer.json()
    assert answer.headers["location"] == f"/api/v1/prm/patients/{body['id']}"
    assert answer.headers["etag"] == 'W/"1"'
    assert {name: body[name] for name in WHOLE} == WHOLE
    assert (body["org_id"], body["status"], body["version"], body["ssn_last4"]) == (tenant, "active", "1", "9999")
    assert "ssn" not in body
    assert body["mrn"].startswith("MRN-")
    assert body["created_at"] == body["updated_at"]
    assert body["insurance"] == []
    patient = await fhir(http, body["id"])
    assert patient["name"][0] == {
        "use": "official",
        "text": "Maria Elena García López",
        "family": "López",
        "given": ["Maria", "Elena", "García"],
    }
    assert patient["active"] is True
    assert patient["contact"][0]["relationship"][0]["coding"][0]["code"] == "C"
    validated = await http.post("Patient/$validate", json=patient)
    assert [issue for issue in validated.json()["issue"] if issue["severity"] in ("error", "fatal")] == []


async def test_what_is_read_is_what_was_written_with_its_etag(http):
    body = await created(http, date_of_birth="1815-12-10")
    answer = await http.get(f"{PATIENTS}/{body['id']}")
    assert (answer.status_code, answer.headers["etag"]) == (200, 'W/"1"')
    assert answer.json() == body


async def test_a_patch_changes_what_it_names_and_keeps_what_only_an_ehr_knows(http):
    patient = {
        "resourceType": "Patient",
        "id": "from-an-ehr",
        "active": True,
        "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">x</div>'},
        "extension": [{"url": "urn:x:unknown", "valueDecimal": 1.5}],
        "identifier": [{"system": "urn:x", "value": "1"}],
        "name": [{"family": "Byron", "given": ["Ada"], "period": {"start": "1815"}}, {"use": "temp", "text": "A. B."}],
        "telecom": [
            {"system": "fax", "value": "+14155550100"},
            {"system": "phone", "value": "+14155550132", "use": "work", "period": {"start": "2001"}},
        ],
        "birthDate": "1815-12-10",
        "_birthDate": {
            "extension": [
                {"url": "http://hl7.org/fhir/StructureDefinition/patient-birthTime", "valueDateTime": "1815-12-10T10:00:00Z"}
            ]
        },
        "multipleBirthInteger": 1,
        "address": [{"use": "home", "line": ["1 A St", "Floor 2", "Door 3"], "city": "London", "country": "GB", "district": "X"}],
        "contact": [{"relationship": [{"text": "employer"}], "organization": {"display": "Acme"}}],
    }
    assert (await http.put("Patient/from-an-ehr", json=patient)).status_code == 201
    before = await fhir(http, "from-an-ehr")
    answer = await http.patch(
        f"{PATIENTS}/from-an-ehr", json={"primary_phone": "+1 415 555 0133", "city": "Bath", "gender": "female"}
    )
    assert answer.status_code == 200
    body = answer.json()
    assert (body["legal_name"], body["primary_phone"], body["city"], body["gender"]) == (
        "Ada Byron",
        "+1 415 555 0133",
        "Bath",
        "female",
    )
    after = await fhir(http, "from-an-ehr")
    assert after["telecom"][1] == {"system": "phone", "value": "+1 415 555 0133", "use": "work", "period": {"start": "2001"}}
    assert after["address"][0] == before["address"][0] | {"city": "Bath"}
    same = set(before) - {"meta", "telecom", "address"}
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert set(after) == set(before) | {"gender"}


async def test_null_takes_a_value_away_and_a_patch_of_nothing_makes_no_version(http):
    body = await created(http, email="ada@example.org", city="London")
    url = f"{PATIENTS}/{body['id']}"
    gone = (await http.patch(url, json={"email": None, "city": None})).json()
    assert (gone["email"], gone["city"], gone["version"]) == (None, None, "2")
    patient = await fhir(http, body["id"])
    assert "telecom" not in patient
    assert "address" not in patient
    assert (await http.patch(url, json={"legal_name": "Ada Lovelace", "email": None})).json()["version"] == "2"


async def test_if_match_guards_a_patch_and_a_deletion(http):
    body = await created(http)
    url = f"{PATIENTS}/{body['id']}"
    assert (await http.patch(url, json={"gender": "female"}, headers={"If-Match": 'W/"1"'})).headers["etag"] == 'W/"2"'
    late = await http.patch(url, json={"gender": "male"}, headers={"If-Match": 'W/"1"'})
    assert (late.status_code, problem(late)["errors"][0]["code"]) == (412, "conflict")
    assert (await http.delete(url, headers={"If-Match": 'W/"1"'})).status_code == 412
    assert (await http.delete(url, headers={"If-Match": 'W/"2"'})).status_code == 204


async def test_a_deleted_patient_is_gone_until_it_is_activated_with_its_id_and_history(http):
    body = await created(http, city="London")
    url = f"{PATIENTS}/{body['id']}"
    assert (await http.delete(url)).status_code == 204
    assert (await http.delete(url)).status_code == 204
    gone = await http.get(url)
    assert (gone.status_code, problem(gone)["type"]) == (410, "urn:prm:problem:deleted")
    assert (await http.get(PATIENTS)).json()["items"] == []
    shown = (await http.get(url, params={"include_deleted": True})).json()
    assert shown["city"] == "London"
    assert shown["deleted_at"] > shown["created_at"]
    listed = (await http.get(PATIENTS, params={"status": "deleted"})).json()["items"]
    assert [(one["id"], one["deleted_at"]) for one in listed] == [(body["id"], shown["deleted_at"])]

    back = await http.post(f"{url}/activate")

    assert (back.status_code, back.headers["etag"]) == (200, 'W/"3"')
    assert back.json() | {"version": "1", "updated_at": body["updated_at"]} == body
    assert (await http.get(PATIENTS, params={"status": "deleted"})).json()["items"] == []
    assert len((await http.get(f"Patient/{body['id']}/_history")).json()["entry"]) == 3


async def test_an_inactive_patient_is_activated_and_an_active_one_stays_as_it_is(http):
    body = await created(http, status="inactive")
    url = f"{PATIENTS}/{body['id']}"
    assert body["status"] == "inactive"
    assert (await http.post(f"{url}/activate")).json()["status"] == "active"
    assert (await http.post(f"{url}/activate")).json()["version"] == "2"


async def test_unknown_patients_are_not_found_anywhere(http):
    for method, path in [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/activate"),
        ("GET", "/appointments"),
        ("GET", "/media"),
        ("GET", "/duplicates"),
    ]:
        answer = await http.request(method, f"{PATIENTS}/nobody{path}", json={} if method == "PATCH" else None)
        assert (method, path, answer.status_code) == (method, path, 404)
        assert problem(answer)["errors"][0]["code"] == "not-found"


async def test_statuses_divide_the_list(http):
    ids = {status: (await created(http, status=status))["id"] for status in ("active", "inactive", "deceased")}
    await http.put("Patient/says-nothing", json={"resourceType": "Patient", "id": "says-nothing"})
    for status, id_ in ids.items():
        found = [one["id"] for one in (await http.get(PATIENTS, params={"status": status})).json()["items"]]
        assert sorted(found) == sorted([id_, "says-nothing"] if status == "active" else [id_])
    everyone = (await http.get(PATIENTS)).json()
    assert {one["id"] for one in everyone["items"]} == {*ids.values(), "says-nothing"}


async def test_pages_follow_each_other_by_offset_and_by_cursor(http):
    for number in range(7):
        await created(http, legal_name=f"Ada Number{number}")
    everyone = [one["id"] for one in (await http.get(PATIENTS)).json()["items"]]
    by_offset, by_cursor, cursor = [], [], ""
    for offset in (0, 3, 6, 9):
        page = (await http.get(PATIENTS, params={"limit": 3, "offset": offset})).json()
        by_offset += [one["id"] for one in page["items"]]
        assert (page["limit"], page["offset"], page["total"]) == (3, offset, 7)
    while cursor is not None:
        page = (await http.get(PATIENTS, params={"limit": 3, "cursor": cursor})).json()
        by_cursor += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
    assert by_offset == by_cursor == everyone


async def test_patients_are_found_by_phone_and_by_date_of_birth(http):
    wanted = await created(http, primary_phone="+1 415 555 0132", date_of_birth="1984-03-17")
    await created(http, primary_phone="+1 415 555 0199", date_of_birth="1984-03-18")
    for params in ({"phone": "(415) 555-0132"}, {"phone": "5550132"}, {"date_of_birth": "1984-03-17"}):
        found = (await http.get(PATIENTS, params=params)).json()["items"]
        assert [one["id"] for one in found] == [wanted["id"]]
    assert len((await http.get(PATIENTS, params={"date_of_birth": "1984-03"})).json()["items"]) == 2


async def test_patients_are_found_as_people_type_the_best_first(http):
    wanted = await created(http, legal_name="Robert Smith", date_of_birth="1980-05-03")
    await created(http, legal_name="Roberta Smythe", date_of_birth="1990-05-03")
    for url, params in ((f"{PATIENTS}/search", {"query": "smiht bob"}), (PATIENTS, {"query": "smiht bob", "status": "active"})):
        page = (await http.get(url, params=params)).json()
        assert page["items"][0]["id"] == wanted["id"]
        assert 0.5 <= page["items"][0]["score"] <= 1
    assert (await http.get(PATIENTS, params={"query": "smith", "cursor": "x"})).status_code == 400


@pytest.mark.parametrize(
    ("values", "status", "field"),
    [
        ({"gender": "f"}, 422, "gender"),
        ({"date_of_birth": "17.3.1984"}, 422, "date_of_birth"),
        ({"date_of_birth": "1984-02-31"}, 400, "date_of_birth"),
        ({"primary_phone": "12"}, 422, "primary_phone"),
        ({"secondary_phone": "12", "primary_phone": "+14155550132"}, 422, "secondary_phone"),
        ({"email": "nobody"}, 422, "email"),
        ({"ssn": "000-00-0000"}, 422, "ssn"),
        ({"no_such_field": 1}, 422, "no_such_field"),
        ({"legal_name": "  "}, 422, "legal_name"),
        ({"org_id": "another"}, 422, "org_id"),
        ({"insurance": [{"member_id": "1"}]}, 422, "insurance[0].payer_name"),
    ],
)
async def test_a_wrong_value_is_told_with_its_field(http, values, status, field):
    answer = await http.post(PATIENTS, json={"legal_name": "Ada Lovelace"} | values)
    assert answer.status_code == status, answer.text
    assert [one.get("field") for one in problem(answer)["errors"]] == [field]


async def test_a_patch_is_told_its_field_too_and_what_it_must_not_take_away(http):
    url = f"{PATIENTS}/{(await created(http, email='ada@example.org', primary_phone='+14155550132'))['id']}"
    assert problem(await http.patch(url, json={"email": "nobody"}))["errors"][0]["field"] == "email"
    refused = problem(await http.patch(url, json={"legal_name": None}))
    assert "legal_name can not be taken away" in refused["detail"]


async def test_a_body_that_is_no_json_is_a_problem(http):
    answer = await http.post(PATIENTS, content=b"{", headers={"Content-Type": "application/json"})
    assert (answer.status_code, problem(answer)["type"]) == (422, "urn:prm:problem:invalid")


async def test_an_mrn_of_ones_own_is_taken_once(http):
    assert (await created(http, mrn="A-1"))["mrn"] == "A-1"
    answer = await http.post(PATIENTS, json={"legal_name": "Other Person", "mrn": "A-1"})
    assert (answer.status_code, problem(answer)["errors"][0]["field"]) == (409, "mrn")


async def test_a_new_emergency_contact_goes_first_and_one_of_the_same_name_is_changed(http):
    body = await created(http, emergency_contact_name="Jorge López", emergency_contact_phone="+14155550190")
    url = f"{PATIENTS}/{body['id']}/emergency-contact"
    added = (await http.post(url, json={"name": "Ana Ruiz", "phone": "+14155550191", "relationship": "sister"})).json()
    shown = [added[f"emergency_contact_{part}"] for part in ("name", "phone", "relationship")]
    assert shown == ["Ana Ruiz", "+14155550191", "sister"]
    changed = (await http.post(url, json={"name": "jorge lópez", "relationship": "friend"})).json()
    assert (changed["emergency_contact_phone"], changed["emergency_contact_relationship"]) == ("+14155550190", "friend")
    assert len((await fhir(http, body["id"]))["contact"]) == 2


async def test_insurance_is_a_coverage_and_the_list_is_what_counts(http):
    body = await created(http, insurance=[{"payer_name": "Bay", "member_id": "1", "group_number": "G", "plan_name": "Gold"}])
    first = body["insurance"][0]
    assert {name: first[name] for name in ("payer_name", "member_id", "group_number", "plan_name", "status")} == {
        "payer_name": "Bay",
        "member_id": "1",
        "group_number": "G",
        "plan_name": "Gold",
        "status": "active",
    }
    stored = await fhir(http, first["id"], "Coverage")
    assert stored["beneficiary"]["reference"] == f"Patient/{body['id']}"
    url = f"{PATIENTS}/{body['id']}"
    changed = (
        await http.patch(url, json={"insurance": [{"id": first["id"], "payer_name": "Bay 2"}, {"payer_name": "New"}]})
    ).json()
    assert [(one["payer_name"], one["member_id"]) for one in changed["insurance"]] == [("Bay 2", "1"), ("New", None)]
    only = (await http.patch(url, json={"insurance": [{"payer_name": "Other"}]})).json()
    assert [one["payer_name"] for one in only["insurance"]] == ["Other"]
    assert (await fhir(http, first["id"], "Coverage"))["status"] == "cancelled"
    strange = await http.patch(url, json={"insurance": [{"id": "strange", "payer_name": "X"}]})
    assert (strange.status_code, problem(strange)["errors"][0]["code"]) == (422, "not-found")


async def test_appointments_and_media_of_the_patient_are_listed_and_no_others(http):
    one, other = await created(http), await created(http, legal_name="Grace Hopper")
    for number, patient in enumerate((one, one, other)):
        reference = f"Patient/{patient['id']}"
        appointment = {
            "resourceType": "Appointment",
            "status": "booked",
            "start": f"2026-01-0{number + 1}T10:00:00Z",
            "end": f"2026-01-0{number + 1}T10:20:00Z",
            "participant": [
                {"actor": {"reference": reference}, "status": "accepted"},
                {"actor": {"reference": "Practitioner/d"}, "status": "accepted"},
            ],
        }
        document = {
            "resourceType": "DocumentReference",
            "status": "current",
            "subject": {"reference": reference},
            "content": [
                {"attachment": {"contentType": "image/png", "title": f"Picture {number}", "size": 10, "url": "Binary/x"}}
            ],
        }
        for resource in (appointment, document):
            assert (await http.post(resource["resourceType"], json=resource)).status_code == 201
    appointments = (await http.get(f"{PATIENTS}/{one['id']}/appointments")).json()
    assert [item["start"] for item in appointments["items"]] == ["2026-01-02T10:00:00Z", "2026-01-01T10:00:00Z"]
    assert appointments["items"][0]["participants"] == ["Practitioner/d"]
    media = (await http.get(f"{PATIENTS}/{one['id']}/media", params={"limit": 1})).json()
    assert [(item["title"], item["content_type"], item["size"]) for item in media["items"]] == [("Picture 1", "image/png", 10)]
    rest = (await http.get(f"{PATIENTS}/{one['id']}/media", params={"limit": 1, "cursor": media["next_cursor"]})).json()
    assert [item["title"] for item in rest["items"]] == ["Picture 0"]


@pytest.fixture
async def wary(settings, database):
    """A client of a server that looks for duplicates of new patients, and keeps the phones of both when they are merged."""
    chosen = {"duplicates": "warn", "merge_rules": (("telecom", "union"),)}
    async with client_of(settings.model_copy(update=chosen), database) as opened:
        yield opened


async def test_duplicates_are_shown_with_evidence_and_merged(wary):
    http = wary
    same = {"legal_name": "Robert Ek", "date_of_birth": "1980-05-03", "primary_phone": "+14155550132", "gender": "male"}
    one = await created(http, **same)
    other = await created(http, **same, email="rob@example.org")
    assert any(one["id"] in warning["message"] for warning in other["warnings"])
    found = (await http.get(f"{PATIENTS}/{one['id']}/duplicates")).json()["items"]
    assert [item["patient"]["id"] for item in found] == [other["id"]]
    assert found[0]["grade"] in ("certain", "probable")
    assert {"given", "family"} & {item["field"] for item in found[0]["evidence"]} or found[0]["evidence"]
    asked = {"primary_id": one["id"], "duplicate_id": other["id"]}

    preview = await http.post(f"{PATIENTS}/merge", json=asked | {"preview": True})

    assert (preview.status_code, preview.json()["status"]) == (200, "preview")
    assert preview.json()["patient"]["email"] == "rob@example.org"
    assert "telecom" in {item["element"] for item in preview.json()["fields"]}
    assert (await http.get(f"{PATIENTS}/{one['id']}")).json()["version"] == "1"

    merged = await http.post(f"{PATIENTS}/merge", json=asked)

    assert (merged.status_code, merged.json()["status"]) == (200, "completed")
    assert (merged.json()["patient"]["id"], merged.json()["patient"]["email"]) == (one["id"], "rob@example.org")
    assert (await http.get(f"{PATIENTS}/{other['id']}")).json()["status"] == "inactive"
    refused = await http.post(f"{PATIENTS}/{other['id']}/activate")
    assert (refused.status_code, one["id"] in problem(refused)["detail"]) == (409, True)
    again = await http.post(f"{PATIENTS}/merge", json=asked)
    assert (again.status_code, problem(again)["errors"][0]["code"]) == (422, "invalid")


async def test_the_interface_is_described_with_examples_and_problems(http):
    described = (await http.get("http://test/openapi.json")).json()
    paths = {path: set(item) for path, item in described["paths"].items() if path.startswith("/api/v1/prm/patients")}
    prefix = "/api/v1/prm/patients"
    assert paths == {
        prefix: {"get", "post"},
        f"{prefix}/search": {"get"},
        f"{prefix}/merge": {"post"},
        f"{prefix}/{{patient_id}}": {"get", "patch", "delete"},
        f"{prefix}/{{patient_id}}/activate": {"post"},
        f"{prefix}/{{patient_id}}/emergency-contact": {"post"},
        f"{prefix}/{{patient_id}}/appointments": {"get"},
        f"{prefix}/{{patient_id}}/media": {"get"},
        f"{prefix}/{{patient_id}}/duplicates": {"get"},
    }
    schemas = described["components"]["schemas"]
    for name in ("PatientCreate", "PatientPatch", "PatientOut", "EmergencyContact", "MergeIn"):
        assert schemas[name]["example"]
    answers = described["paths"][prefix]["post"]["responses"]
    assert list(answers["422"]["content"]) == ["application/problem+json"]
    assert schemas["Problem"]["properties"].keys() == {"field", "code", "message", "expression"}
