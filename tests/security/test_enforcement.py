"""What single principals may see and do, over HTTP."""

import json

import pytest
from authz_server import AuthServer, StaticIssuer, default_settings, token
from authz_world import CONFIDENTIAL

LAB = [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory"}]}]
ALL = {"scope": "system/*.cruds", "sub": "loader"}
CLINICIAN = {"scope": "user/*.cruds", "roles": ["clinician"]}


@pytest.fixture
async def server(settings, database):
    return AuthServer(settings, database)


@pytest.fixture
async def loader(server):
    async with server.client(ALL) as opened:
        yield opened


async def put(client, resource):
    answer = await client.put(f"{resource['resourceType']}/{resource['id']}", json=resource)
    assert answer.status_code in (200, 201), answer.text


def patient(id_, **members):
    return {"resourceType": "Patient", "id": id_, **members}


def observation(id_, subject, **members):
    return {
        "resourceType": "Observation",
        "id": id_,
        "status": "final",
        "code": {"coding": [{"code": "x"}]},
        "subject": {"reference": f"Patient/{subject}"},
        **members,
    }


def ids(answer):
    assert answer.status_code == 200, answer.text
    return sorted(entry["resource"]["id"] for entry in answer.json().get("entry", ()) if entry["search"]["mode"] != "outcome")


async def test_without_a_token_nobody_gets_in_and_learns_how(server):
    async with server.client() as client:
        answer = await client.get("Patient/1")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="fhir"'
    assert answer.json()["issue"][0]["code"] == "login"


async def test_a_bad_token_is_answered_as_rfc_6750_says(server):
    async with server.client(bearer="nonsense") as client:
        answer = await client.get("Patient/1")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith('Bearer realm="fhir", error="invalid_token", error_description=')


async def test_other_schemes_are_refused(server):
    async with server.client(Authorization="Basic eDp5") as client:
        answer = await client.get("Patient/1")
    assert answer.status_code == 401
    assert 'error="invalid_request"' in answer.headers["www-authenticate"]


async def test_everybody_may_read_what_the_server_can_do(server):
    async with server.client() as client:
        assert (await client.get("metadata")).status_code == 200
        assert (await client.options("Patient")).status_code == 204


async def test_a_type_that_is_not_permitted_is_forbidden_with_the_scope_that_lacks(server):
    async with server.client({"scope": "patient/Patient.r", "patient": "p1"}) as client:
        answer = await client.get("Observation/1")
    assert answer.status_code == 403
    issue = answer.json()["issue"][0]
    assert issue["code"] == "forbidden"
    assert "user/Observation.r" in issue["diagnostics"]


async def test_a_letter_that_is_not_permitted_is_forbidden(server, loader):
    await put(loader, patient("p1"))
    async with server.client({"scope": "patient/Patient.r", "patient": "p1"}) as client:
        assert (await client.get("Patient/p1")).status_code == 200
        assert (await client.get("Patient")).status_code == 403
        assert (await client.put("Patient/p1", json=patient("p1"))).status_code == 403
        assert (await client.delete("Patient/p1")).status_code == 403


async def test_the_record_of_another_patient_is_as_if_it_were_not_there(server, loader):
    for one in (patient("p1"), patient("p2"), observation("o1", "p1"), observation("o2", "p2")):
        await put(loader, one)
    async with server.client({"scope": "patient/*.rs", "patient": "p1"}) as client:
        hidden, absent = await client.get("Observation/o2"), await client.get("Observation/o9")
        assert (hidden.status_code, absent.status_code) == (404, 404)
        assert hidden.text.replace("o2", "o9") == absent.text
        found = await client.get("Observation?_total=accurate")
        assert (ids(found), found.json()["total"]) == (["o1"], 1)


async def test_a_chain_is_no_oracle_for_what_may_not_be_searched(server, loader):
    for one in (patient("p1", name=[{"family": "Secret"}]), observation("o1", "p1")):
        await put(loader, one)
    async with server.client({"scope": "system/Observation.rs"}) as client:
        assert ids(await client.get("Observation?subject:Patient.family=Secret")) == []
        assert ids(await client.get("Observation?_filter=not (subject re Patient/p9)")) == ["o1"]
        assert ids(await client.get("Observation?_include=Observation:subject")) == ["o1"]


async def test_a_granular_scope_bounds_reads_searches_and_writes(server, loader):
    for one in (patient("p1"), observation("o1", "p1", category=LAB), observation("o2", "p1")):
        await put(loader, one)
    scopes = "patient/Observation.cruds?category=laboratory"
    async with server.client({"scope": scopes, "patient": "p1"}) as client:
        assert ids(await client.get("Observation")) == ["o1"]
        assert (await client.get("Observation/o2")).status_code == 404
        assert (await client.put("Observation/o1", json=observation("o1", "p1"))).status_code == 403
        fresh = observation("x", "p1", category=LAB)
        del fresh["id"]
        assert (await client.post("Observation", json=fresh)).status_code == 201
        assert (await client.post("Observation", json=fresh | {"category": []} | {"category": None})).status_code in (400, 403)
        other = fresh | {"subject": {"reference": "Patient/p2"}}
        assert (await client.post("Observation", json=other)).status_code == 403


@pytest.mark.parametrize("criteria", ["subject.name=x", "_has:Provenance:target:agent=x", "nonsense=1", "_list=1", "_count=1"])
async def test_a_granular_scope_that_can_not_be_judged_grants_nothing(server, loader, criteria):
    await put(loader, observation("o1", "p1"))
    async with server.client({"scope": f"system/Observation.rs?{criteria}"}) as client:
        assert (await client.get("Observation")).status_code == 403


async def test_who_sees_only_some_can_not_find_out_whether_an_id_is_taken(server, loader):
    await put(loader, observation("o2", "p2"))
    async with server.client({"scope": "patient/*.cruds", "patient": "p1"}) as client:
        taken = await client.put("Observation/o2", json=observation("o2", "p1"))
        free = await client.put("Observation/o3", json=observation("o3", "p1"))
        assert (taken.status_code, taken.text) == (free.status_code, free.text)
        assert taken.status_code == 403
        deleted = [await client.delete(f"Observation/{id_}") for id_ in ("o2", "o3")]
        assert [answer.status_code for answer in deleted] == [204, 204]
    assert (await loader.get("Observation/o2")).json()["meta"]["versionId"] == "1"


async def test_a_transaction_is_refused_as_a_whole_for_one_entry_that_is_not_allowed(server, loader):
    await put(loader, patient("p1"))
    entries = [
        {"resource": observation("o1", "p1") | {"id": None}, "request": {"method": "POST", "url": "Observation"}},
        {"resource": {"resourceType": "Practitioner"}, "request": {"method": "POST", "url": "Practitioner"}},
    ]
    del entries[0]["resource"]["id"]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    async with server.client({"scope": "patient/*.cruds", "patient": "p1"}) as client:
        answer = await client.post("", json=bundle)
    assert answer.status_code == 403
    assert answer.json()["issue"][0]["expression"] == ["Bundle.entry[1]"]
    assert ids(await loader.get("Observation")) == []


async def test_entries_of_a_batch_are_judged_one_by_one(server, loader):
    for one in (observation("o1", "p1"), observation("o2", "p2")):
        await put(loader, one)
    entries = [
        {"request": {"method": "GET", "url": url}}
        for url in ("Observation/o1", "Observation/o2", "Practitioner?_count=0", "AuditEvent")
    ]
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": entries}
    async with server.client({"scope": "patient/Observation.rs", "patient": "p1"}) as client:
        answer = await client.post("", json=bundle)
    statuses = [entry["response"]["status"][:3] for entry in answer.json()["entry"]]
    assert statuses == ["200", "404", "403", "403"]


async def test_older_versions_are_seen_only_as_long_as_the_current_one_is(server, loader):
    await put(loader, observation("o1", "p1"))
    await put(loader, observation("o1", "p2"))
    await put(loader, observation("o2", "p2"))
    await put(loader, observation("o2", "p1"))
    async with server.client({"scope": "patient/*.rs", "patient": "p1"}) as client:
        assert (await client.get("Observation/o1/_history/1")).status_code == 404
        assert (await client.get("Observation/o2/_history/1")).status_code == 404
        assert (await client.get("Observation/o2/_history/2")).status_code == 200
        history = (await client.get("Observation/o2/_history")).json()
        assert (history["total"], len(history["entry"])) == (1, 1)
        of_type = (await client.get("Observation/_history")).json()
        assert [entry["resource"]["id"] for entry in of_type["entry"]] == ["o2"]


async def test_a_deleted_resource_is_gone_for_those_who_saw_it_and_unknown_to_others(server, loader):
    await put(loader, observation("o1", "p1"))
    await loader.delete("Observation/o1")
    for id_, status in (("p1", 410), ("p2", 404)):
        async with server.client({"scope": "patient/*.rs", "patient": id_}) as client:
            answer = await client.get("Observation/o1")
            assert (answer.status_code, "etag" in answer.headers) == (status, status == 410)


async def test_a_page_cursor_is_good_only_for_those_who_see_the_same(server, loader):
    for number in range(3):
        await put(loader, observation(f"o{number}", "p1"))
    async with server.client({"scope": "patient/*.rs", "patient": "p1"}) as client:
        page = (await client.get("Observation?_count=1")).json()
        following = next(link["url"] for link in page["link"] if link["relation"] == "next")
        assert (await client.get(following)).status_code == 200
    async with server.client({"scope": "patient/*.rs", "patient": "p2"}) as client:
        assert (await client.get(following)).status_code == 400


async def test_a_binary_is_seen_as_what_it_is_part_of(server, loader):
    document = {
        "resourceType": "DocumentReference",
        "id": "r1",
        "status": "current",
        "subject": {"reference": "Patient/p1"},
        "content": [{"attachment": {"url": "Binary/b1"}}],
    }
    binary = {"resourceType": "Binary", "contentType": "text/plain", "data": "aGk="}
    for one in (document, binary | {"id": "b1"}, binary | {"id": "b2"}, observation("o1", "p2")):
        await put(loader, one)
    await put(loader, binary | {"id": "b3", "securityContext": {"reference": "Observation/o1"}})
    expected = {"p1": [200, 404, 404], "p2": [404, 404, 200]}
    for id_, statuses in expected.items():
        async with server.client({"scope": "patient/*.rs", "patient": id_}) as client:
            assert [(await client.get(f"Binary/{name}")).status_code for name in ("b1", "b2", "b3")] == statuses


async def test_labels_hide_resources_from_roles_without_a_clearance(server, loader):
    for code in ("R", "V", "N"):
        await put(loader, observation(f"o{code}", "p1", meta={"security": [{"system": CONFIDENTIAL, "code": code}]}))
    for role, expected in (("clinician", ["oN", "oR"]), ("read_only", ["oN"]), ("admin", ["oN", "oR", "oV"])):
        async with server.client({"scope": "user/*.rs", "roles": [role]}) as client:
            assert ids(await client.get("Observation")) == expected


async def test_breaking_the_glass_takes_a_reason_and_a_role_that_may(server, loader):
    await put(loader, observation("o1", "p1", meta={"security": [{"system": CONFIDENTIAL, "code": "V"}]}))
    async with server.client(CLINICIAN) as client:
        assert (await client.get("Observation/o1")).status_code == 404
        assert (await client.get("Observation/o1", headers={"X-Break-Glass": "short"})).status_code == 400
        opened = await client.get("Observation/o1", headers={"X-Break-Glass": "unconscious in the emergency room"})
        assert opened.status_code == 200
        assert (await client.get("Observation/o1")).status_code == 404
    async with server.client({"scope": "user/*.rs", "roles": ["billing"]}) as client:
        refused = await client.get("Patient", headers={"X-Break-Glass": "unconscious in the emergency room"})
        assert refused.status_code == 403


async def test_hidden_elements_are_neither_shown_nor_searched_nor_lost(server, loader):
    whole = patient(
        "p1",
        photo=[{"title": "face"}],
        gender="male",
        text={"status": "generated", "div": "<div xmlns='http://www.w3.org/1999/xhtml'>face</div>"},
    )
    await put(loader, whole)
    async with server.client({"scope": "user/*.cruds", "roles": ["front_desk"]}) as client:
        seen = (await client.get("Patient/p1")).json()
        assert "photo" not in seen
        assert "text" not in seen
        assert seen["meta"]["tag"][0]["code"] == "SUBSETTED"
        assert "face" not in (await client.get("Patient")).text
        assert "face" not in (await client.get("Patient/p1/_history")).text
        assert "face" not in (await client.get("Patient/p1?_elements=photo")).text
        assert "face" not in (await client.get("Patient/p1", headers={"Accept": "application/fhir+xml"})).text
        assert (await client.put("Patient/p1", json=seen | {"gender": "female"})).status_code == 200
        assert (await client.put("Patient/p1", json=seen | {"photo": [{"title": "new"}]})).status_code == 403
        probe = [{"op": "test", "path": "/photo/0/title", "value": "face"}]
        answers = [
            await client.patch("Patient/p1", content=json.dumps(one), headers={"Content-Type": "application/json-patch+json"})
            for one in (probe, [probe[0] | {"value": "other"}])
        ]
        assert answers[0].status_code == answers[1].status_code
        assert (await client.get("Patient?_content=face", headers={"Prefer": "handling=strict"})).status_code == 400
    kept = (await loader.get("Patient/p1")).json()
    assert (kept["photo"], kept["gender"], kept["text"]) == (whole["photo"], "female", whole["text"])
    assert "tag" not in kept["meta"]


async def test_a_consent_keeps_an_app_from_what_the_patient_does_not_share(server, loader):
    for one in (patient("p1"), observation("o1", "p1")):
        await put(loader, one)
    scope = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]}
    consent = {
        "resourceType": "Consent",
        "id": "c1",
        "status": "active",
        "scope": scope,
        "category": [{"text": "sharing"}],
        "patient": {"reference": "Patient/p1"},
        "policyRule": {"text": "opt-out"},
        "provision": {
            "type": "deny",
            "class": [{"system": "http://hl7.org/fhir/resource-types", "code": "Observation"}],
            "actor": [{"role": {"text": "app"}, "reference": {"identifier": {"value": "app"}}}],
        },
    }
    await put(loader, consent)
    claims = {"scope": "patient/*.rs", "patient": "p1"}
    async with server.client(claims | {"client_id": "app"}) as client:
        assert (await client.get("Observation")).status_code == 403
        assert (await client.get("Patient/p1")).status_code == 200
    async with server.client(claims | {"client_id": "other"}) as client:
        assert ids(await client.get("Observation")) == ["o1"]


async def test_a_consent_about_messages_is_no_concern_of_sharing(server, loader):
    scope = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]}
    await put(loader, observation("o1", "p1"))
    await put(
        loader,
        {
            "resourceType": "Consent",
            "id": "c1",
            "status": "active",
            "scope": scope,
            "category": [{"text": "messages"}],
            "patient": {"reference": "Patient/p1"},
            "policyRule": {"coding": [{"code": "OPTOUT"}]},
            "provision": {
                "type": "deny",
                "purpose": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HMARKT"}],
            },
        },
    )
    async with server.client({"scope": "patient/*.rs", "patient": "p1", "client_id": "app"}) as client:
        assert ids(await client.get("Observation")) == ["o1"]


async def test_how_a_search_runs_is_told_to_operators_only(server, loader):
    await put(loader, patient("p1"))
    assert (await loader.get("Patient?_explain=true")).status_code == 200
    async with server.client(CLINICIAN) as client:
        assert (await client.get("Patient?_explain=true")).status_code == 403


async def test_a_person_without_a_role_gets_the_default_one_where_there_is_one(database, mongodb_uri, tenant):
    for role, status in (("", 403), ("read_only", 200)):
        server = AuthServer(default_settings(tenant, mongodb_uri, auth_default_role=role), database)
        async with server.client({"scope": "user/*.rs"}) as client:
            assert (await client.get("Patient")).status_code == status


async def test_roles_alone_count_where_the_settings_say_so(database, mongodb_uri, tenant):
    for allowed, status in ((False, 403), (True, 200)):
        server = AuthServer(default_settings(tenant, mongodb_uri, auth_roles_without_scopes=allowed), database)
        async with server.client({"scope": "openid", "roles": ["admin"]}) as client:
            assert (await client.get("Patient")).status_code == status


async def test_a_service_is_bounded_by_the_roles_that_the_policy_gives_it(database, mongodb_uri, tenant, tmp_path):
    policy = "version: 1\nroles: {lab: {rules: [{types: [Observation], allow: rs}]}}\nclients: {gateway: {roles: [lab]}}\n"
    (tmp_path / "default.yaml").write_text(policy)
    server = AuthServer(default_settings(tenant, mongodb_uri, policy_dir=tmp_path), database)
    async with server.client({"scope": "system/*.cruds", "client_id": "gateway"}) as client:
        assert (await client.get("Observation")).status_code == 200
        assert (await client.get("Patient")).status_code == 403


async def test_a_certificate_is_believed_from_a_trusted_proxy_only(database, mongodb_uri, tenant, tmp_path):
    policy = "version: 1\nroles: {}\nclients: {'CN=lab': {scopes: system/Observation.rs}}\n"
    (tmp_path / "default.yaml").write_text(policy)
    for proxies, subject, status in (
        ("127.0.0.1", "CN=lab", 200),
        ("127.0.0.1", "CN%3Dlab", 200),
        ("127.0.0.1", "CN=other", 401),
        ("10.0.0.1", "CN=lab", 401),
    ):
        settings = default_settings(
            tenant, mongodb_uri, policy_dir=tmp_path, auth_mtls_header="X-Client-Subject", trusted_proxies=proxies
        )
        async with AuthServer(settings, database).client(**{"X-Client-Subject": subject}) as client:
            assert (await client.get("Observation")).status_code == status


async def test_a_policy_that_can_not_be_used_lets_nobody_in(database, mongodb_uri, tenant, tmp_path):
    (tmp_path / "default.yaml").write_text("nonsense")
    server = AuthServer(default_settings(tenant, mongodb_uri, policy_dir=tmp_path), database)
    async with server.client(ALL) as client:
        answer = await client.get("Patient")
    assert answer.status_code == 500
    assert "doctor" in answer.json()["issue"][0]["diagnostics"]


async def test_a_body_of_somebody_unknown_is_not_even_read(server):
    read = []

    async def receive():
        read.append(True)
        return {"type": "http.request", "body": b"{}", "more_body": False}

    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/fhir/Patient",
        "raw_path": b"/fhir/Patient",
        "query_string": b"",
        "headers": [],
    }
    await server(scope, receive, send)
    assert sent[0]["status"] == 401
    assert read == []


async def test_tokens_are_for_known_tenants_that_are_open(server, tenant):
    other = f"{tenant}-b"
    async with server.client(ALL | {"tenant": other}) as client:
        assert (await client.get("Patient")).status_code == 403
    await server.tenants.create(other)
    fresh = AuthServer(server.settings, server.database.mongodb, StaticIssuer())
    async with fresh.client(ALL | {"tenant": other}) as client:
        assert (await client.get("Patient")).status_code == 200
    await server.tenants.suspend(other)
    fresh = AuthServer(server.settings, server.database.mongodb)
    async with fresh.client(ALL | {"tenant": other}) as client:
        answer = await client.get("Patient")
    assert (answer.status_code, answer.json()["issue"][0]["diagnostics"]) == (403, "The tenant is suspended.")


async def test_a_tenant_may_be_bound_to_an_issuer(server, tenant):
    await server.tenants.create(f"{tenant}-c", issuers=["https://other.test"])
    async with server.client(ALL | {"tenant": f"{tenant}-c"}) as client:
        assert (await client.get("Patient")).status_code == 403


async def test_tenants_are_kept_apart(server, loader, tenant):
    await put(loader, patient("p1"))
    await server.tenants.create(f"{tenant}-d")
    async with server.client(bearer=token(ALL | {"tenant": f"{tenant}-d"})) as client:
        assert (await client.get("Patient/p1")).status_code == 404
        assert ids(await client.get("Patient?_total=estimate")) == []
