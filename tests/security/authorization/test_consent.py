"""What a person allows: the consent page, and the page on which access is taken away."""

import re

import pytest
from auth_world import PASSWORD, SECRET, Browser, World, code_for, redeem, refresh, request_params, sent_to_app, tokens_for

from fhir_server.security.authorization.words import Item, items

SCOPE = (
    "openid launch/patient patient/Patient.rs patient/Observation.rs?category=laboratory patient/Condition.cruds offline_access"
)


@pytest.mark.parametrize(
    ("scope", "text", "writes"),
    [
        ("patient/Patient.rs", "See name, birth date, address and other personal details", False),
        ("patient/Observation.read", "See lab results, vital signs and other measurements", False),
        ("patient/Observation.rs?category=laboratory", "See laboratory results", False),
        (
            "patient/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|vital-signs",
            "See vital signs",
            False,
        ),
        (
            "patient/Condition.rs?clinical-status=active",
            "See health problems and diagnoses, where clinical-status is active",
            False,
        ),
        ("patient/MedicationRequest.write", "Add, change and delete prescriptions", True),
        ("patient/Condition.cruds", "See, add, change and delete health problems and diagnoses", True),
        ("patient/Appointment.c", "Add appointments", True),
        ("patient/*.rs", "See everything in the record", False),
        ("user/*.rs", "See everything that you can see", False),
        ("patient/SubstanceAmount.rs", "patient/SubstanceAmount.rs", False),
        ("patient/ImmunizationRecommendation.r", "See immunization recommendation", False),
        ("offline_access", "Keep this access when you are not using the app, until you take it away", False),
    ],
)
def test_scopes_are_said_in_plain_words(scope: str, text: str, writes: bool):
    (item,) = items([scope])
    assert (item.text, item.writes) == (text, writes)


def test_what_user_scopes_are_about_is_said():
    assert items(["user/Patient.rs"])[0].detail == "Of all patients that you have access to"
    assert items(["openid", "fhirUser", "launch", "launch/patient"]) == []
    assert [item.scope for item in items(["offline_access", "patient/Task.c", "patient/Task.r"])] == [
        "patient/Task.r",
        "patient/Task.c",
        "offline_access",
    ]
    assert items(["patient/Task.r"]) == [Item("patient/Task.r", "See tasks")]


async def test_the_page_asks_about_each_scope_and_says_where_data_goes(browser: Browser, world: World):
    await browser.authorize(request_params(world.public, SCOPE))
    await browser.log_in(world.patient_user)
    assert browser.scopes() == [
        "patient/Patient.rs",
        "patient/Observation.rs?category=laboratory",
        "patient/Condition.cruds",
        "offline_access",
    ]
    assert browser.page.text.count("(changes the record)") == 1
    assert "goes to https://app.example.org" in browser.page.text
    assert "form-action 'self' https://app.example.org;" in browser.page.headers["content-security-policy"]


async def test_what_is_unticked_is_not_granted(browser: Browser, world: World):
    await browser.authorize(request_params(world.public, SCOPE))
    await browser.log_in(world.patient_user)
    answer = sent_to_app(await browser.allow(["patient/Patient.rs"]))
    tokens = (await redeem(browser.http, world.public, answer["code"])).json()
    assert tokens["scope"] == "openid launch/patient patient/Patient.rs"
    assert "refresh_token" not in tokens


async def test_a_form_can_not_add_what_was_not_asked_for(browser: Browser, world: World):
    await browser.authorize(request_params(world.public, "launch/patient patient/Patient.rs"))
    await browser.log_in(world.patient_user)
    answer = sent_to_app(await browser.allow(["patient/Patient.rs", "user/*.cruds", "patient/*.cruds"]))
    tokens = (await redeem(browser.http, world.public, answer["code"])).json()
    assert tokens["scope"] == "launch/patient patient/Patient.rs"


@pytest.mark.parametrize("way", ["nothing ticked", "do not allow"])
async def test_who_allows_nothing_sends_the_app_away(browser: Browser, world: World, way: str):
    await browser.authorize(request_params(world.public, SCOPE))
    await browser.log_in(world.patient_user)
    answer = await (browser.allow([]) if way == "nothing ticked" else browser.submit("cancel"))
    assert sent_to_app(answer)["error"] == "access_denied"


async def test_a_request_is_answered_once(browser: Browser, world: World):
    await browser.authorize(request_params(world.public, SCOPE))
    await browser.log_in(world.patient_user)
    page = browser.page
    sent_to_app(await browser.allow())
    browser.page = page
    assert (await browser.allow()).status_code == 404


async def test_consent_can_not_be_given_before_the_login(browser: Browser, world: World):
    await browser.authorize(request_params(world.public, SCOPE))
    url = re.search(r'action="([^"]+)/login"', browser.page.text)[1]
    token = re.search(r'name="form_token" value="([^"]+)"', browser.page.text)[1]
    answer = await browser.go("POST", url + "/consent", data={"form_token": token, "scope": "patient/Patient.rs"})
    assert answer.status_code == 200
    assert "Log in" in answer.text


async def test_consent_can_not_be_given_before_a_patient_is_chosen(browser: Browser, world: World):
    await browser.authorize(request_params(world.public, SCOPE))
    await browser.log_in(world.clinician)
    url = re.search(r'action="([^"]+)/search"', browser.page.text)[1]
    token = re.search(r'name="form_token" value="([^"]+)"', browser.page.text)[1]
    answer = await browser.go("POST", url + "/consent", data={"form_token": token, "scope": "patient/Patient.rs"})
    assert "Whose record" in answer.text


async def test_a_patient_that_does_not_exist_can_not_be_chosen(browser: Browser, world: World):
    await browser.authorize(request_params(world.public, SCOPE))
    await browser.log_in(world.clinician)
    assert (await browser.submit("patient", patient="nobody")).status_code == 403


async def test_a_patient_can_not_choose_another(browser: Browser, world: World):
    await browser.authorize(request_params(world.public, SCOPE))
    await browser.log_in(world.patient_user)
    url = re.search(r'action="([^"]+)/consent"', browser.page.text)[1]
    token = re.search(r'name="form_token" value="([^"]+)"', browser.page.text)[1]
    await browser.go("POST", url + "/patient", data={"form_token": token, "patient": world.other_patient})
    assert "your own record" in browser.page.text


async def test_trusted_apps_may_ask_for_consent_all_the_same(browser: Browser, world: World):
    await browser.authorize(request_params(world.trusted, prompt="consent"))
    await browser.log_in(world.patient_user)
    assert "Do you want to give Trusted app access?" in browser.page.text


async def test_an_app_of_another_organisation_is_refused(browser: Browser, world: World):
    await world.service.clients.change(world.public.id, tenant="another")
    await browser.authorize(request_params(world.public))
    assert (await browser.log_in(world.patient_user)).status_code == 403
    await world.service.clients.change(world.public.id, tenant="*")
    assert (await browser.authorize(request_params(world.public))).status_code == 200


async def test_on_a_refused_page_somebody_else_can_log_in(browser: Browser, world: World):
    await world.service.users.change(world.clinician.name, tenant="another")
    await browser.authorize(request_params(world.public))
    await browser.log_in(world.clinician)
    assert "Log in as somebody else" in browser.page.text
    await browser.submit("switch")
    await browser.log_in(world.patient_user)
    assert "code" in sent_to_app(await browser.allow())


async def test_apps_with_access_are_listed_and_can_be_sent_away(browser: Browser, world: World):
    tokens = await tokens_for(browser, world.public, world.patient_user, SCOPE)
    await browser.go("GET", "/auth/manage")
    assert "<h2>Public app</h2>" in browser.page.text
    assert "See laboratory results" in browser.page.text
    grant = re.search(r'name="grant" value="([^"]+)"', browser.page.text)[1]
    await browser.submit("revoke", grant=grant)
    assert "No app has access in your name" in browser.page.text
    assert (await refresh(browser.http, world.public, tokens["refresh_token"])).json()["error"] == "invalid_grant"
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert (await browser.http.get(f"/fhir/Patient/{world.patient}", headers=headers)).status_code == 401


async def test_nobody_sends_away_the_apps_of_others(browser: Browser, world: World):
    tokens = await tokens_for(browser, world.public, world.patient_user, SCOPE)
    (grant,) = await world.service.grants.of_user(world.patient_user.id)
    other = Browser(browser.http)
    await other.go("GET", "/auth/manage")
    await other.log_in(world.clinician)
    token = re.search(r'name="form_token" value="([^"]+)"', other.page.text)[1]
    await other.go("POST", "/auth/manage/revoke", data={"form_token": token, "grant": grant.id})
    assert (await refresh(browser.http, world.public, tokens["refresh_token"])).status_code == 200


async def test_a_new_password_needs_the_old_one_and_ends_other_sessions(browser: Browser, world: World):
    other = Browser(browser.http)
    for one in (browser, other):
        await one.go("GET", "/auth/manage")
        await one.log_in(world.patient_user)
    new = "a much better password"
    assert (await browser.submit("password", old="wrong", new=new)).status_code == 401
    assert (await browser.submit("password", old=PASSWORD, new="short")).status_code == 422
    answer = await browser.submit("password", old=PASSWORD, new=new)
    assert "The password is changed." in answer.text
    assert "Apps with access" in (await browser.go("GET", "/auth/manage")).text
    assert "Log in" in (await other.go("GET", "/auth/manage")).text
    assert (await other.log_in(world.patient_user, PASSWORD)).status_code == 401
    assert (await other.log_in(world.patient_user, new)).status_code == 200


async def test_who_is_not_logged_in_can_do_nothing_on_the_manage_page(browser: Browser, world: World):
    await browser.go("GET", "/auth/manage")
    token = re.search(r'name="form_token" value="([^"]+)"', browser.page.text)[1]
    for action in ("revoke", "password", "logout"):
        answer = await browser.go("POST", f"/auth/manage/{action}", data={"form_token": token, "old": SECRET, "new": SECRET})
        assert "Log in" in answer.text
    await code_for(browser, request_params(world.public), world.patient_user)
