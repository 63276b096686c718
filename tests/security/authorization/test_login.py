"""Logging in: passwords, one-time passwords, throttling, sessions."""

from datetime import UTC, datetime, timedelta

import pyotp
import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import VerifyMismatchError
from auth_world import PASSWORD, Browser, World, client_for, request_params, sent_to_app
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from fhir_server.security.authorization import passwords
from fhir_server.security.authorization.attempts import Attempts, Key, login_keys
from fhir_server.security.authorization.users import TOTP_PURPOSE, User, UserExistsError, folded


async def test_a_wrong_password_is_told_in_the_same_words_as_a_wrong_name(browser: Browser, world: World):
    texts = []
    for name, password in ((world.clinician.name, "wrong password"), ("nobody", PASSWORD), ("", "")):
        await browser.authorize(request_params(world.public))
        answer = await browser.submit("login", name=name, password=password)
        assert answer.status_code == 401
        texts.append("do not belong together" in answer.text)
    assert texts == [True, True, True]


async def test_the_name_is_found_however_it_is_written(browser: Browser, world: World):
    await browser.authorize(request_params(world.trusted))
    answer = await browser.submit("login", name=f"  {world.patient_user.name.upper()} ", password=PASSWORD)
    assert "code" in sent_to_app(answer)


async def test_what_was_entered_comes_back_escaped(browser: Browser, world: World):
    await browser.authorize(request_params(world.public))
    answer = await browser.submit("login", name='"><script>alert(1)</script>', password="x")
    assert "<script>" not in answer.text
    assert "&lt;script&gt;" in answer.text


async def test_somebody_switched_off_can_not_log_in_and_is_logged_out(browser: Browser, world: World):
    await browser.authorize(request_params(world.public))
    await browser.log_in(world.patient_user)
    await world.service.users.change(world.patient_user.name, active=False)
    assert "Log in" in (await browser.authorize(request_params(world.public))).text
    assert (await browser.log_in(world.patient_user)).status_code == 401


async def test_guessing_is_slowed_down_even_for_the_right_password(browser: Browser, world: World):
    await browser.authorize(request_params(world.public))
    for _ in range(6):
        answer = await browser.log_in(world.clinician, "wrong password")
        if answer.status_code != 401:
            break
        await browser.authorize(request_params(world.public))
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 3
    assert "too many attempts" in answer.text
    await browser.authorize(request_params(world.public))
    assert (await browser.log_in(world.clinician)).status_code == 429


async def test_a_login_by_password_and_one_time_password(browser: Browser, world: World):
    secret = passwords.new_totp_secret()
    user = world.patient_user
    sealed = await world.service.sealer.seal(secret.encode(), f"{TOTP_PURPOSE}:{user.id}")
    await world.service.users.change(user.name, totp=sealed)
    await browser.authorize(request_params(world.trusted, "openid launch/patient patient/*.rs"))
    answer = await browser.log_in(user)
    assert "Enter your one-time code" in answer.text
    assert (await browser.submit("login", code="000000")).status_code == 401
    code = pyotp.TOTP(secret).now()
    assert "code" in sent_to_app(await browser.submit("login", code=code))
    other = Browser(browser.http)
    await other.authorize(request_params(world.trusted))
    await other.log_in(user)
    answer = await other.submit("login", code=code)
    assert answer.status_code == 401
    assert "used already" in answer.text


async def test_a_password_alone_opens_nothing_where_a_second_factor_is_asked_for(browser: Browser, world: World):
    user = world.patient_user
    sealed = await world.service.sealer.seal(passwords.new_totp_secret().encode(), f"{TOTP_PURPOSE}:{user.id}")
    await world.service.users.change(user.name, totp=sealed)
    await browser.authorize(request_params(world.public))
    await browser.log_in(user)
    assert "one-time code" in (await browser.authorize(request_params(world.public))).text
    assert "one-time code" in (await browser.go("GET", "/auth/manage")).text
    for _ in range(6):
        answer = await browser.submit("login", code="000000")
        if answer.status_code == 429:
            break
    assert answer.status_code == 429


async def test_who_has_no_code_at_hand_can_start_again_as_somebody_else(browser: Browser, world: World):
    user = world.clinician
    sealed = await world.service.sealer.seal(passwords.new_totp_secret().encode(), f"{TOTP_PURPOSE}:{user.id}")
    await world.service.users.change(user.name, totp=sealed)
    await browser.authorize(request_params(world.trusted))
    await browser.log_in(user)
    assert "Login name" in (await browser.submit("login", again="yes")).text
    assert "code" in sent_to_app(await browser.log_in(world.patient_user))


async def test_logins_are_logged_without_what_was_entered(browser: Browser, world: World):
    await browser.authorize(request_params(world.public))
    with capture_logs() as logs:
        await browser.submit("login", name="a password typed as a name", password="another password")
        await browser.log_in(world.patient_user)
        await browser.allow()
    events = [entry for entry in logs if entry["event"] != "request"]
    assert [entry["event"] for entry in events] == ["a login failed", "somebody logged in", "access was granted"]
    assert events[1]["user"] == world.patient_user.id
    assert "password" not in repr(logs)
    assert PASSWORD not in repr(logs)


async def test_prompt_none_logs_nobody_in(browser: Browser, world: World):
    answer = sent_to_app(await browser.authorize(request_params(world.trusted, prompt="none")))
    assert answer["error"] == "login_required"
    await browser.authorize(request_params(world.public))
    await browser.log_in(world.clinician)
    answer = sent_to_app(await browser.authorize(request_params(world.trusted, prompt="none")))
    assert answer["error"] == "interaction_required"
    answer = sent_to_app(await browser.authorize(request_params(world.public, "openid user/*.rs", prompt="none")))
    assert answer["error"] == "consent_required"


@pytest.mark.parametrize("changes", [{"prompt": "login"}, {"max_age": "0"}])
async def test_an_app_may_ask_for_a_new_login(browser: Browser, world: World, changes: dict[str, str]):
    await browser.authorize(request_params(world.trusted))
    await browser.log_in(world.patient_user)
    assert "Log in" in (await browser.authorize(request_params(world.trusted, **changes))).text
    assert "code" in sent_to_app(await browser.log_in(world.patient_user))


@pytest.mark.parametrize("changes", [{"prompt": "none login"}, {"prompt": "create"}, {"max_age": "-1"}, {"max_age": "soon"}])
async def test_what_prompt_and_max_age_can_not_mean_is_refused(browser: Browser, world: World, changes: dict[str, str]):
    assert sent_to_app(await browser.authorize(request_params(world.public, **changes)))["error"] == "invalid_request"


async def test_a_session_ends_with_its_time(browser: Browser, world: World, settings):
    await browser.authorize(request_params(world.public))
    await browser.log_in(world.patient_user)
    sessions = world.service.database.collection("_auth_sessions")
    session = await sessions.find_one({"user": world.patient_user.id})
    length = session["expires"] - session["auth_time"]
    assert length.total_seconds() == settings.auth_session_minutes * 60
    await sessions.update_one({"_id": session["_id"]}, {"$set": {"expires": session["auth_time"]}})
    assert "Log in" in (await browser.authorize(request_params(world.public))).text


async def test_the_cookie_is_for_this_server_alone(browser: Browser, settings, database):
    answer = await browser.send("GET", "/auth/manage")
    cookie = answer.headers["set-cookie"].lower()
    assert "fhir-session=" in cookie
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    async with client_for(settings.model_copy(update={"base_url": "https://ehr.example.org/fhir"}), database) as web:
        cookie = (await web.get("/auth/manage")).headers["set-cookie"]
    assert cookie.startswith("__Host-fhir-session=")
    assert "secure" in cookie.lower()
    assert "path=/" in cookie.lower()
    assert "domain" not in cookie.lower()


def test_a_password_is_long_and_not_the_name():
    for weak in ("short", "a" * 11, "aaaaaaaaaaaaaaaa", "ada@example.org 1", "x" * 1025):
        with pytest.raises(passwords.WeakPasswordError):
            passwords.hashed(weak, "ada@example.org")
    assert passwords.hashed("correct horse battery").startswith("$argon2id$")


def test_nobody_without_a_password_matches_one():
    assert not passwords.matches("", "a password that nobody has")
    assert not passwords.matches("no hash", "anything")


def test_what_nobody_has_costs_as_much_to_check_as_what_somebody_has():
    nobody, somebody = passwords._of_nobody(), passwords.hashed(PASSWORD)
    assert extract_parameters(nobody) == extract_parameters(somebody)
    with pytest.raises(VerifyMismatchError):  # It was hashed and compared, and not refused before.
        PasswordHasher().verify(nobody, PASSWORD)


@given(st.text(max_size=40))
@hypothesis_settings(max_examples=200)
def test_folding_a_name_twice_changes_nothing(name: str):
    assert folded(folded(name)) == folded(name)


def test_a_one_time_password_is_good_for_a_step_before_and_after():
    secret = passwords.new_totp_secret()
    code = pyotp.TOTP(secret).at(1_000_000_020)
    counter = 1_000_000_020 // 30
    assert [passwords.totp_counter(secret, code, 1_000_000_020 + 30 * step) for step in (-2, -1, 0, 1, 2)] == [
        None,
        counter,
        counter,
        counter,
        None,
    ]
    assert passwords.totp_counter(secret, "12345", 1_000_000_020) is None
    assert passwords.totp_counter(secret, "é" * 6, 1_000_000_020) is None


async def test_two_users_do_not_share_a_name(world: World):
    with pytest.raises(UserExistsError):
        await world.service.users.add(User(world.clinician.name, "another"))


async def test_pauses_double_and_are_bounded_and_forgotten(world: World):
    now = datetime.now(UTC).replace(microsecond=0)
    attempts = Attempts(world.service.database, lambda: now)
    key = Key(f"test:{world.tenant}", 3)
    pauses = []
    for _ in range(16):
        await attempts.failed([key])
        pauses.append(await attempts.pause([key]))
        now += timedelta(seconds=pauses[-1])
    assert pauses[:7] == [0, 0, 3, 5, 9, 17, 33]
    assert pauses[-1] == 901
    assert await attempts.pause([key]) == 0
    await attempts.succeeded([key])
    await attempts.failed([key])
    assert await attempts.pause([key]) == 0


def test_an_address_has_more_room_than_a_name_from_it():
    pair, address, name = login_keys("ada", "192.0.2.1")
    assert pair.free < name.free < address.free
    assert len({pair.value, address.value, name.value}) == 3
