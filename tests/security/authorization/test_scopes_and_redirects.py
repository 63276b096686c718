"""What may be granted, and where people may be sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.security.authorization.grantable import PLAIN, allowed, is_scope, needs_patient, opens_data
from fhir_server.security.authorization.redirects import RedirectUriError, check_redirect_uri, form_target, origin_of

TYPES = ("*", "Patient", "Observation")
LETTERS = ("c", "r", "rs", "cud", "cruds", "read", "write", "*")
scopes = st.builds(
    lambda context, type_, letters, query: f"{context}/{type_}.{letters}{query}",
    st.sampled_from(("patient", "user", "system")),
    st.sampled_from(TYPES),
    st.sampled_from(LETTERS),
    st.sampled_from(("", "?category=laboratory", "?category=laboratory&status=final")),
).filter(is_scope)


@given(st.lists(scopes | st.sampled_from(PLAIN), max_size=6), st.lists(scopes | st.sampled_from(PLAIN), max_size=6))
def test_nothing_is_allowed_that_was_not_asked_for_or_not_registered(asked: list[str], registered: list[str]):
    found = allowed(asked, registered)
    assert set(found) <= set(asked)
    assert len(set(found)) == len(found)
    assert allowed(found, registered) == found
    for scope in set(asked) & set(registered):
        assert scope in found


@pytest.mark.parametrize(
    ("registered", "asked", "given_"),
    [
        ("patient/*.rs", "patient/Observation.rs patient/Patient.r", "patient/Observation.rs patient/Patient.r"),
        ("patient/*.rs", "patient/*.read patient/Observation.read", "patient/*.read patient/Observation.read"),
        ("patient/*.rs", "patient/*.cruds patient/*.write user/*.rs", ""),
        ("patient/*.*", "patient/*.cruds patient/*.write", "patient/*.cruds patient/*.write"),
        ("patient/Observation.rs", "patient/*.rs patient/Condition.rs", ""),
        ("patient/Observation.rs?category=laboratory", "patient/Observation.rs", ""),
        ("patient/Observation.rs", "patient/Observation.rs?category=laboratory", "patient/Observation.rs?category=laboratory"),
        ("openid launch/patient", "openid fhirUser launch/patient nonsense", "openid launch/patient"),
        ("system/*.rs", "user/*.rs patient/*.rs", ""),
        ("patient/*.rs", "patient/Nonsense.rs patient/*.sr patient/*. patient/*.rs?", ""),
    ],
)
def test_the_registered_scopes_bound_what_is_given(registered: str, asked: str, given_: str):
    assert " ".join(allowed(asked.split(), registered.split())) == given_


def test_which_scopes_need_a_patient_or_open_data():
    assert needs_patient(["patient/Patient.rs"])
    assert needs_patient(["launch/patient"])
    assert not needs_patient(["user/*.rs", "openid", "launch"])
    assert opens_data(["user/*.rs"])
    assert opens_data(["launch"])
    assert not opens_data(["openid", "fhirUser", "offline_access"])


@pytest.mark.parametrize(
    "uri",
    [
        "https://app.example.org/callback",
        "https://app.example.org:8443/callback?a=b",
        "http://127.0.0.1:3000/",
        "http://localhost/callback",
        "http://[::1]:3000/callback",
        "org.example.app:/callback",
        "com.example.growth-chart://callback",
    ],
)
def test_redirect_uris_that_may_be_registered(uri: str):
    assert check_redirect_uri(uri) == uri


@pytest.mark.parametrize(
    "uri",
    [
        "http://app.example.org/callback",
        "http://127.0.0.1.evil.example/",
        "https://app.example.org/#x",
        "https://app.example.org/callback#",
        "https://*.example.org/",
        "https://user@app.example.org/",
        "https:///callback",
        "https://app.example.org/a b",
        "https://app.example.org/é",
        'https://app.example.org/"',
        "https://app.example.org:port/",
        "javascript:alert(1)",
        "data:text/html,x",
        "myapp:/callback",
        "/callback",
        "",
        "https://[::1",
        "https://app.example.org/\n",
    ],
)
def test_redirect_uris_that_may_not(uri: str):
    with pytest.raises(RedirectUriError):
        check_redirect_uri(uri)


@given(st.text(max_size=60))
def test_every_text_is_judged(uri: str):
    try:
        assert check_redirect_uri(uri) == uri
    except RedirectUriError as error:
        assert "redirect URI" in str(error)


def test_origins_are_as_browsers_write_them():
    assert origin_of("https://APP.example.org:443/callback?a=b") == "https://app.example.org"
    assert origin_of("http://127.0.0.1:3000/x") == "http://127.0.0.1:3000"
    assert origin_of("http://[::1]:3000/x") == "http://[::1]:3000"
    assert origin_of("org.example.app:/callback") == ""
    assert form_target("org.example.app:/callback") == "org.example.app:"
    assert form_target("https://app.example.org/x") == "https://app.example.org"
