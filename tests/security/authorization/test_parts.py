"""Allowing some of a scope for every type: docs/security/smart.md."""

import re

import pytest
from auth_world import Browser, World, redeem, refresh, request_params, sent_to_app, tokens_for
from hypothesis import given as example
from hypothesis import strategies

from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.security.authorization.grantable import covers
from fhir_server.security.authorization.parts import asked_about, given, opened, parts
from fhir_server.security.scopes import parse

SCOPE = "openid launch/patient patient/*.rs patient/Patient.u offline_access"


def ticked(scope: str, *without: str) -> set[str]:
    """Return the values of all parts of a scope but these."""
    return {part.value for part in parts(scope)} - {f"{scope} {name}" for name in without}


def test_a_scope_for_every_type_has_a_part_for_each_that_has_words() -> None:
    """The parts are in the order of their words, and the last one holds all that has none."""
    found = parts("patient/*.rs")
    texts = [part.text for part in found]
    assert {"patient/*.rs Observation", "patient/*.rs Condition", "patient/*.rs Practitioner"} <= {one.value for one in found}
    assert (found[-1].value, found[-1].text) == ("patient/*.rs *", "everything else")
    assert texts[:-1] == sorted(texts[:-1], key=str.casefold)
    assert len(set(texts)) == len(texts)


def test_parts_are_of_what_the_scope_opens() -> None:
    """In no record are tasks and free appointments, and staff can not be written by the scope of a patient."""
    assert not {"Task", "Slot"} & opened("patient", "rs")
    assert "Practitioner" in opened("patient", "rs") - opened("patient", "cud")
    assert opened("user", "r") == RESOURCE_TYPES
    assert parts("patient/Observation.rs") == parts("openid") == parts("nonsense") == ()


@pytest.mark.parametrize(
    ("scopes", "asked"),
    [
        ("openid launch patient/Patient.r patient/Patient.r", "patient/Patient.r"),
        ("patient/Observation.rs patient/*.rs patient/Condition.cud", "patient/*.rs patient/Condition.cud"),
        ("patient/*.read patient/*.rs patient/*.r", "patient/*.read"),
        ("patient/*.r patient/*.rs", "patient/*.rs"),
        ("patient/*.rs user/*.rs offline_access", "patient/*.rs user/*.rs offline_access"),
        ("patient/*.rs?_security=N patient/*.rs", "patient/*.rs"),
        ("patient/*.rs?_security=N patient/Observation.rs", "patient/*.rs?_security=N patient/Observation.rs"),
    ],
)
def test_what_lies_within_another_is_not_asked_about(scopes: str, asked: str) -> None:
    """Nobody is asked twice about the same, and what is refused in one place is not given in another."""
    assert asked_about(scopes.split()) == asked.split()


def test_all_parts_give_the_scope_as_it_was_asked_for() -> None:
    """Nothing is divided that does not have to be."""
    asked = SCOPE.split()
    assert given(asked, asked_about(asked), ticked("patient/*.rs")) == tuple(asked)


def test_a_part_that_is_refused_is_left_out_in_every_way() -> None:
    """Scopes of its type within the divided one go too; all other types stay, those without words as well."""
    asked = [
        "patient/*.rs",
        "patient/Observation.r",
        "patient/Observation.rs?category=laboratory",
        "patient/Goal.r",
        "patient/Flag.s",
    ]
    found = given(asked, asked_about(asked), ticked("patient/*.rs", "Observation"))
    assert not [scope for scope in found if "Observation" in scope]
    assert {"patient/Goal.r", "patient/Flag.s", "patient/Goal.rs", "patient/Flag.rs", "patient/ValueSet.rs"} <= set(found)
    assert {scope.partition("/")[2].partition(".")[0] for scope in found} == opened("patient", "rs") - {"Observation"}


def test_types_without_words_are_one_part() -> None:
    """Who does not allow everything else gives the types that are named, and nothing more."""
    found = given(["patient/*.read"], ["patient/*.read"], ticked("patient/*.read", "*"))
    assert "patient/Observation.read" in found
    assert not {"patient/Flag.read", "patient/ValueSet.read"} & set(found)


def test_search_parameters_of_a_scope_stay_with_its_parts() -> None:
    """A narrowed scope is divided into narrowed ones."""
    scope = "patient/*.rs?_security=N"
    assert given([scope], [scope], {f"{scope} Condition"}) == ("patient/Condition.rs?_security=N",)


@example(strategies.data())
def test_nothing_is_given_beyond_what_was_asked_for_and_allowed(data: strategies.DataObject) -> None:
    """Each scope that is given is covered by one that was asked for and allowed, and names no type that was refused."""
    kinds = ("patient/*.rs", "patient/*.read", "patient/*.cruds", "user/*.r", "patient/Goal.rs", "user/Goal.r", "patient/Flag.r")
    asked = data.draw(strategies.lists(strategies.sampled_from(kinds), unique=True))
    allowed = data.draw(strategies.sets(strategies.sampled_from([*kinds, "system/*.cruds"])))
    values = [part.value for scope in asked for part in parts(scope)]
    chosen = set(data.draw(strategies.lists(strategies.sampled_from(values), unique=True))) if values else set()
    for scope in given(asked, allowed, chosen):
        narrow = parse(scope)
        assert narrow is not None
        asked_parsed = [(one, wide) for one in asked if (wide := parse(one)) is not None and covers(wide, narrow)]
        assert asked_parsed
        around = [one for one in asked_about(asked) if one in allowed and (wide := parse(one)) and covers(wide, narrow)]
        assert around
        if parts(around[0]) and narrow.type == "Goal":
            assert any(f"{one} Goal" in chosen or one == scope for one in around)


async def test_a_person_can_refuse_one_kind_of_information(browser: Browser, world: World) -> None:
    """What is unticked within "everything" is not granted, can not be read, and stays out when the token is refreshed."""
    await browser.authorize(request_params(world.public, SCOPE))
    await browser.log_in(world.patient_user)
    assert browser.scopes() == ["patient/*.rs", "patient/Patient.u", "offline_access"]
    assert browser.page is not None
    assert "See everything in the record" in browser.page.text
    assert "Lab results, vital signs and other measurements" in browser.page.text
    left = [value for value in browser.parts() if value != "patient/*.rs Observation"]
    tokens = (await redeem(browser.http, world.public, sent_to_app(await browser.allow(parts=left))["code"])).json()
    scopes = tokens["scope"].split()
    assert {"openid", "launch/patient", "patient/Condition.rs", "patient/Flag.rs", "patient/Patient.u", "offline_access"} <= set(
        scopes
    )
    assert not [scope for scope in scopes if "*" in scope or "Observation" in scope]
    again = (await refresh(browser.http, world.public, tokens["refresh_token"])).json()
    assert again["scope"] == tokens["scope"]
    for found in (tokens, again):
        headers = {"Authorization": f"Bearer {found['access_token']}"}
        assert (await browser.http.get(f"/fhir/Condition?patient={world.patient}", headers=headers)).status_code == 200
        assert (await browser.http.get(f"/fhir/Observation?patient={world.patient}", headers=headers)).status_code == 403
        assert (await browser.http.get(f"/fhir/Patient/{world.patient}", headers=headers)).status_code == 200


async def test_a_refresh_can_not_bring_back_what_was_refused(browser: Browser, world: World) -> None:
    """Neither the scope for every type nor that of the type was granted."""
    await browser.authorize(request_params(world.public, SCOPE))
    await browser.log_in(world.patient_user)
    left = [value for value in browser.parts() if value != "patient/*.rs Observation"]
    tokens = (await redeem(browser.http, world.public, sent_to_app(await browser.allow(parts=left))["code"])).json()
    for scope in ("patient/*.rs", "patient/Observation.rs"):
        answer = await refresh(browser.http, world.public, tokens["refresh_token"], scope=scope)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")
    answer = await refresh(browser.http, world.public, tokens["refresh_token"], scope="patient/Condition.rs")
    assert answer.json()["scope"] == "patient/Condition.rs"


async def test_who_allows_everything_gives_the_scope_itself(browser: Browser, world: World) -> None:
    """Apps that compare what they got with what they asked for find it."""
    tokens = await tokens_for(browser, world.public, world.patient_user, SCOPE)
    assert tokens["scope"] == SCOPE


async def test_parts_without_their_scope_give_nothing(browser: Browser, world: World) -> None:
    """Who unticks the whole need not untick its parts, and nothing else is the same as refusing."""
    await browser.authorize(request_params(world.public, "launch/patient patient/*.rs"))
    await browser.log_in(world.patient_user)
    assert sent_to_app(await browser.allow(scopes=[]))["error"] == "access_denied"
    other = Browser(browser.http)
    await other.authorize(request_params(world.public, "launch/patient patient/*.rs"))
    await other.log_in(world.patient_user)
    assert sent_to_app(await other.allow(parts=[]))["error"] == "access_denied"


async def test_what_was_granted_in_parts_is_shown_where_it_can_be_taken_away(browser: Browser, world: World) -> None:
    """The page of apps lists the kinds of information that are left."""
    await browser.authorize(request_params(world.public, SCOPE))
    await browser.log_in(world.patient_user)
    chosen = ["patient/*.rs Condition", "patient/*.rs Immunization"]
    await redeem(browser.http, world.public, sent_to_app(await browser.allow(parts=chosen))["code"])
    await browser.go("GET", "/auth/manage")
    assert browser.page is not None
    assert re.findall(r"See [a-z ]+", browser.page.text) == ["See health problems and diagnoses", "See vaccinations"]
