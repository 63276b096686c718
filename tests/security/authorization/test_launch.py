"""Launches: https://hl7.org/fhir/smart-app-launch/app-launch.html."""

from typing import Any

import httpx
from auth_world import BASE, ORIGIN, SECRET, Browser, World, code_for, redeem, request_params, sent_to_app, tokens_for
from joserfc import jwt
from joserfc.jwk import KeySet


async def claims_of(browser: Browser, token: str) -> dict[str, Any]:
    keys = KeySet.import_key_set((await browser.http.get("/auth/jwks.json")).json())
    return jwt.decode(token, keys, algorithms=["RS256"]).claims


async def test_a_standalone_launch_of_a_clinician_asks_for_the_patient_and_for_consent(browser: Browser, world: World):
    await browser.authorize(request_params(world.public))
    assert "The app <strong>Public app</strong> asks for access" in browser.page.text
    await browser.log_in(world.clinician)
    assert "Whose record should Public app open?" in browser.page.text
    await browser.submit("search", text="Amy Shaw 1987-02-20")
    assert browser.page.text.count('name="patient"') == 1
    await browser.submit("patient", patient=world.patient)
    assert "Amy Shaw" in browser.page.text
    assert browser.scopes() == ["patient/*.rs"]
    answer = sent_to_app(await browser.allow())
    assert answer["state"] == "state-of-the-app"
    assert answer["iss"] == ORIGIN
    tokens = (await redeem(browser.http, world.public, answer["code"])).json()
    assert tokens["patient"] == world.patient
    assert tokens["need_patient_banner"] is True
    assert tokens["scope"] == "launch/patient patient/*.rs openid fhirUser"
    assert "refresh_token" not in tokens
    claims = await claims_of(browser, tokens["access_token"])
    assert claims | {"exp": 0, "iat": 0, "jti": "", "grant": "", "auth_time": 0} == {
        "iss": ORIGIN,
        "sub": world.clinician.id,
        "aud": BASE,
        "client_id": world.public.id,
        "scope": tokens["scope"],
        "tenant": world.tenant,
        "roles": ["clinician"],
        "fhirUser": f"{BASE}/Practitioner/p1",
        "patient": world.patient,
        "exp": 0,
        "iat": 0,
        "jti": "",
        "grant": "",
        "auth_time": 0,
    }
    assert claims["exp"] - claims["iat"] == tokens["expires_in"] == 600


async def test_the_access_token_opens_the_record_of_the_chosen_patient_and_no_other(browser: Browser, world: World):
    tokens = await tokens_for(browser, world.public, world.clinician, "launch/patient patient/*.rs", world.patient)
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert (await browser.http.get(f"/fhir/Patient/{world.patient}", headers=headers)).status_code == 200
    assert (await browser.http.get(f"/fhir/Patient/{world.other_patient}", headers=headers)).status_code in (403, 404)
    assert (await browser.http.get(f"/fhir/Patient/{world.patient}")).status_code == 401


async def test_a_patient_gets_their_own_record_without_being_asked_for_it(browser: Browser, world: World):
    await browser.authorize(request_params(world.public))
    await browser.log_in(world.patient_user)
    assert "your own record" in browser.page.text
    answer = sent_to_app(await browser.allow())
    tokens = (await redeem(browser.http, world.public, answer["code"])).json()
    assert tokens["patient"] == world.patient


async def test_the_id_token_says_who_logged_in(browser: Browser, world: World):
    params = request_params(world.public, "openid fhirUser launch/patient patient/*.rs", nonce="n-1")
    code = await code_for(browser, params, world.patient_user)
    tokens = (await redeem(browser.http, world.public, code)).json()
    claims = await claims_of(browser, tokens["id_token"])
    assert claims["iss"] == ORIGIN
    assert claims["aud"] == world.public.id
    assert claims["sub"] == world.patient_user.id
    assert claims["nonce"] == "n-1"
    assert claims["fhirUser"] == f"{BASE}/Patient/{world.patient}"
    assert claims["amr"] == ["pwd"]
    assert {"at_hash", "auth_time", "exp"} <= set(claims)


async def test_an_id_token_is_no_access_token(browser: Browser, world: World):
    tokens = await tokens_for(browser, world.public, world.patient_user, "openid fhirUser launch/patient patient/*.rs")
    headers = {"Authorization": f"Bearer {tokens['id_token']}"}
    assert (await browser.http.get(f"/fhir/Patient/{world.patient}", headers=headers)).status_code == 401


async def launch_value(web: httpx.AsyncClient, world: World, **form: str) -> dict[str, Any]:
    answer = await web.post("/auth/launch", data={"app": world.public.id, **form}, auth=(world.ehr.id, SECRET))
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_an_ehr_launch_brings_patient_encounter_and_intent_of_the_ehr(browser: Browser, world: World):
    made = await launch_value(
        browser.http, world, patient=world.patient, encounter="e1", intent="reconcile", need_patient_banner="false"
    )
    assert made["iss"] == BASE
    assert made["launch_uri"].startswith("https://app.example.org/launch?iss=http%3A%2F%2F127.0.0.1%3A8080%2Ffhir&launch=")
    await browser.authorize(request_params(world.public, "launch patient/*.rs", launch=made["launch"]))
    await browser.log_in(world.clinician)
    assert "Amy Shaw" in browser.page.text
    answer = sent_to_app(await browser.allow())
    tokens = (await redeem(browser.http, world.public, answer["code"])).json()
    assert tokens["patient"] == world.patient
    assert tokens["encounter"] == "e1"
    assert tokens["intent"] == "reconcile"
    assert tokens["need_patient_banner"] is False


async def test_a_launch_value_is_good_once(browser: Browser, world: World):
    made = await launch_value(browser.http, world, patient=world.patient)
    params = request_params(world.public, "launch patient/*.rs", launch=made["launch"])
    await code_for(browser, params, world.clinician)
    answer = sent_to_app(await browser.authorize(params))
    assert answer["error"] == "invalid_request"
    assert answer["state"] == "state-of-the-app"


async def test_a_launch_value_is_for_the_app_and_the_user_that_it_was_made_for(browser: Browser, world: World):
    made = await launch_value(browser.http, world, patient=world.patient, user=world.clinician.name)
    other = request_params(world.trusted, "launch patient/*.rs", launch=made["launch"])
    assert sent_to_app(await browser.authorize(other))["error"] == "invalid_request"
    await browser.authorize(request_params(world.public, "launch patient/*.rs", launch=made["launch"]))
    assert (await browser.log_in(world.patient_user)).status_code == 403
    assert "This is not for your account" in browser.page.text
    assert sent_to_app(await browser.submit("cancel"))["error"] == "access_denied"


async def test_a_patient_can_not_be_led_into_the_record_of_another(browser: Browser, world: World):
    made = await launch_value(browser.http, world, patient=world.other_patient)
    await browser.authorize(request_params(world.public, "launch patient/*.rs", launch=made["launch"]))
    assert (await browser.log_in(world.patient_user)).status_code == 403


async def test_without_a_launch_value_the_scope_launch_is_not_given(browser: Browser, world: World):
    tokens = await tokens_for(browser, world.public, world.clinician, "launch patient/*.rs", world.patient)
    assert tokens["scope"] == "patient/*.rs"
    assert sent_to_app(await browser.authorize(request_params(world.public, "launch")))["error"] == "invalid_scope"


async def test_only_an_ehr_makes_launch_values(web: httpx.AsyncClient, world: World):
    answer = await web.post("/auth/launch", data={"patient": world.patient}, auth=(world.confidential.id, SECRET))
    assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")
    answer = await web.post("/auth/launch", data={"patient": world.patient}, auth=(world.ehr.id, "wrong"))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    answer = await web.post("/auth/launch", data={"patient": "Patient/1"}, auth=(world.ehr.id, SECRET))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_launch_encounter_asks_for_the_visit(browser: Browser, world: World):
    access = await tokens_for(browser, world.trusted, world.clinician, "user/*.cruds")
    visit = {
        "resourceType": "Encounter",
        "status": "in-progress",
        "class": {"code": "AMB"},
        "type": [{"text": "Check-up"}],
        "subject": {"reference": f"Patient/{world.patient}"},
        "period": {"start": "2026-03-04T10:00:00Z"},
    }
    headers = {"Authorization": f"Bearer {access['access_token']}"}
    made = await browser.http.post("/fhir/Encounter", json=visit, headers=headers)
    assert made.status_code == 201, made.text
    await browser.authorize(request_params(world.public, "launch/patient launch/encounter patient/*.rs"))
    await browser.submit("patient", patient=world.patient)
    assert "Check-up" in browser.page.text
    await browser.submit("encounter", encounter=made.json()["id"])
    answer = sent_to_app(await browser.allow())
    tokens = (await redeem(browser.http, world.public, answer["code"])).json()
    assert tokens["encounter"] == made.json()["id"]


async def test_a_visit_of_another_patient_can_not_be_chosen(browser: Browser, world: World):
    access = await tokens_for(browser, world.trusted, world.clinician, "user/*.cruds")
    headers = {"Authorization": f"Bearer {access['access_token']}"}
    for patient in (world.patient, world.other_patient):
        visit = {
            "resourceType": "Encounter",
            "status": "planned",
            "class": {"code": "AMB"},
            "subject": {"reference": f"Patient/{patient}"},
        }
        made = await browser.http.post("/fhir/Encounter", json=visit, headers=headers)
    await browser.authorize(request_params(world.public, "launch/patient launch/encounter patient/*.rs"))
    await browser.submit("patient", patient=world.patient)
    assert (await browser.submit("encounter", encounter=made.json()["id"])).status_code == 403


async def test_without_visits_none_is_asked_for(browser: Browser, world: World):
    await browser.authorize(request_params(world.public, "launch/patient launch/encounter patient/*.rs"))
    await browser.log_in(world.clinician)
    await browser.submit("patient", patient=world.patient)
    assert "Do you want to give Public app access?" in browser.page.text


async def test_the_authorization_endpoint_takes_post_too(browser: Browser, world: World):
    answer = await browser.send("POST", "/auth/authorize", data=request_params(world.public))
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(f"{ORIGIN}/auth/authorize?response_type=code&")
    await browser.go("GET", answer.headers["location"])
    await browser.log_in(world.patient_user)
    assert "code" in sent_to_app(await browser.allow())


async def test_a_trusted_app_of_somebody_who_is_logged_in_gets_its_code_at_once(browser: Browser, world: World):
    params = request_params(world.trusted, "openid launch/patient patient/*.rs")
    assert "code" in sent_to_app(await login_then(browser, params, world))
    assert "code" in sent_to_app(await browser.authorize({**params, "prompt": "none"}))


async def login_then(browser: Browser, params: dict[str, str], world: World) -> httpx.Response:
    await browser.authorize(params)
    return await browser.log_in(world.patient_user)
