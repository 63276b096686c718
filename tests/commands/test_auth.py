"""`fhir-server auth`: users, clients, keys and launches, by hand."""

import json
from urllib.parse import parse_qs, urlsplit

import pymongo
import pytest
from joserfc.jwk import KeySet, RSAKey
from typer.testing import CliRunner

from fhir_server.cli import app
from fhir_server.security.authorization import passwords
from fhir_server.security.authorization.collections import digest

PASSWORD = "correct horse battery staple"


@pytest.fixture
def database(mongodb_uri, tenant):
    """A database of this test's own, since users and keys are those of all tenants."""
    with pymongo.MongoClient(mongodb_uri) as client:
        yield client[f"fhir_auth_{tenant}"]
        client.drop_database(f"fhir_auth_{tenant}")


@pytest.fixture
def auth(settings, tmp_path, monkeypatch, database):
    """A function that runs `fhir-server auth …` and returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FHIR_MONGODB_URI", settings.mongodb_uri)
    monkeypatch.setenv("FHIR_MONGODB_DATABASE", database.name)
    monkeypatch.setenv("FHIR_DEFAULT_TENANT", settings.default_tenant)
    monkeypatch.setenv("FHIR_MASTER_KEY", settings.master_key)
    monkeypatch.setenv("COLUMNS", "300")

    def run(*arguments, given=""):
        result = CliRunner().invoke(app, ["auth", *arguments], input=given)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.stdout, result.stderr

    return run


def test_a_user_is_added_listed_changed_and_removed(auth, database, tenant):
    code, _, said = auth(
        "users", "add", "Ada@Example.org", "--role", "clinician", "--fhir-user", "Practitioner/1", given=PASSWORD
    )
    assert (code, said) == (0, "Added ada@example.org.\n")
    kept = database["_auth_users"].find_one({"_id": "ada@example.org"})
    assert (kept["tenant"], kept["roles"], kept["fhir_user"], kept["active"]) == (tenant, ["clinician"], "Practitioner/1", True)
    assert passwords.matches(kept["password"], PASSWORD)
    assert "ada@example.org" in auth("users", "list")[2]
    assert auth("users", "set", "ada@example.org", "--role", "admin", "--role", "auditor", "--inactive")[0] == 0
    kept = database["_auth_users"].find_one({"_id": "ada@example.org"})
    assert (kept["roles"], kept["fhir_user"], kept["active"]) == (["admin", "auditor"], "Practitioner/1", False)
    assert auth("users", "password", "ada@example.org", given="another long password")[0] == 0
    kept = database["_auth_users"].find_one({"_id": "ada@example.org"})
    assert passwords.matches(kept["password"], "another long password")
    assert auth("users", "remove", "ada@example.org")[0] == 0
    assert database["_auth_users"].count_documents({}) == 0


def test_what_can_not_be_done_with_users_is_said(auth):
    assert auth("users", "add", "ada", given="short")[0] == 2
    assert auth("users", "add", " ", given=PASSWORD)[0] == 2
    assert auth("users", "add", "ada", "--fhir-user", "Organization/1", given=PASSWORD)[0] == 2
    assert auth("users", "add", "ada", given=PASSWORD)[0] == 0
    code, _, said = auth("users", "add", "ADA", given=PASSWORD)
    assert (code, "There is a user ada already." in said) == (2, True)
    for command in (("set", "--active"), ("password",), ("totp",), ("remove",)):
        code, _, said = auth("users", command[0], "nobody", *command[1:], given=PASSWORD)
        assert (code, "There is no user 'nobody'." in said) == (2, True)


def test_a_second_factor_is_set_up_and_taken_away(auth, database):
    auth("users", "add", "ada", given=PASSWORD)
    code, uri, _ = auth("users", "totp", "ada")
    assert code == 0
    assert uri.startswith("otpauth://totp/")
    secret = parse_qs(urlsplit(uri.strip()).query)["secret"][0]
    kept = bytes(database["_auth_users"].find_one({"_id": "ada"})["totp"])
    assert kept
    assert secret.encode() not in kept
    assert auth("users", "totp", "ada", "--off")[:2] == (0, "")
    assert bytes(database["_auth_users"].find_one({"_id": "ada"})["totp"]) == b""


def test_without_a_master_key_nothing_is_kept_that_needs_one(auth, monkeypatch):
    auth("users", "add", "ada", given=PASSWORD)
    monkeypatch.setenv("FHIR_MASTER_KEY", "")
    code, _, said = auth("users", "totp", "ada")
    assert (code, "FHIR_MASTER_KEY" in said) == (1, True)


def test_an_app_is_added_listed_and_removed(auth, database, tenant):
    uris = ("--redirect-uri", "https://app.example.org/cb", "--redirect-uri", "org.example.app:/cb")
    code, out, said = auth("clients", "add", "chart", "--name", "Chart", *uris)
    assert (code, out, said) == (0, "", "Added chart.\n")
    kept = database["_auth_clients"].find_one({"_id": "chart"})
    assert (kept["tenant"], kept["auth_method"], kept["secret"]) == (tenant, "none", "")
    assert kept["redirect_uris"] == ["https://app.example.org/cb", "org.example.app:/cb"]
    assert kept["origins"] == ["https://app.example.org"]
    assert kept["grant_types"] == ["authorization_code", "refresh_token"]
    assert "patient/*.rs" in kept["scopes"]
    assert "chart" in auth("clients", "list")[2]
    assert auth("clients", "add", "chart", *uris)[0] == 2
    assert auth("clients", "remove", "chart")[0] == 0
    assert auth("clients", "remove", "chart")[0] == 2


def test_a_secret_is_shown_once_and_can_be_replaced(auth, database):
    uri = ("--redirect-uri", "https://app.example.org/cb")
    _, first, _ = auth("clients", "add", "portal", "--secret", *uri)
    assert database["_auth_clients"].find_one({"_id": "portal"})["secret"] == digest(first.strip())
    _, second, _ = auth("clients", "secret", "portal")
    assert database["_auth_clients"].find_one({"_id": "portal"})["secret"] == digest(second.strip())
    assert first != second
    auth("clients", "add", "public", *uri)
    assert auth("clients", "secret", "public")[0] == 2
    assert auth("clients", "secret", "nobody")[0] == 2


def test_a_backend_service_registers_its_public_keys(auth, database, tmp_path):
    key = RSAKey.generate_key(2048, {"kid": "1"})
    (tmp_path / "public.json").write_text(json.dumps(KeySet([key]).as_dict(private=False)))
    (tmp_path / "private.json").write_text(json.dumps(KeySet([key]).as_dict(private=True)))
    scope = ("--scope", "system/*.rs")
    assert auth("clients", "add", "loader", "--backend", *scope, "--jwks", "public.json")[0] == 0
    kept = database["_auth_clients"].find_one({"_id": "loader"})
    assert (kept["auth_method"], kept["grant_types"], kept["scopes"]) == (
        "private_key_jwt",
        ["client_credentials"],
        ["system/*.rs"],
    )
    assert [found["kid"] for found in kept["jwks"]["keys"]] == ["1"]
    code, _, said = auth("clients", "add", "other", "--backend", *scope, "--jwks", "private.json")
    assert (code, "public keys only" in said) == (2, True)
    assert auth("clients", "add", "other", "--backend", *scope, "--jwks", "missing.json")[0] == 2
    assert auth("clients", "add", "other", "--backend", *scope)[0] == 2


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--redirect-uri", "http://app.example.org/cb"),
        ("--redirect-uri", "https://app.example.org/cb", "--scope", "patient/Nonsense.rs"),
        ("--redirect-uri", "https://app.example.org/cb", "--launch-url", "javascript:alert(1)"),
        ("--redirect-uri", "https://app.example.org/cb", "--secret", "--jwks-uri", "https://app.example.org/jwks"),
    ],
)
def test_an_app_that_could_not_work_or_would_be_unsafe_is_refused(auth, database, arguments):
    assert auth("clients", "add", "app", *arguments)[0] == 2
    assert database["_auth_clients"].count_documents({}) == 0


def test_keys_are_listed_and_rotated(auth, database):
    assert auth("keys", "list")[0] == 0
    (first,) = database["_auth_keys"].find()
    code, _, said = auth("keys", "rotate", "--after", "30")
    second = database["_auth_keys"].find_one({"_id": 2})
    assert (code, second["kid"] in said) == (0, True)
    assert (second["signs_from"] - first["signs_from"]).total_seconds() > 1700
    assert database["_auth_keys"].find_one({"_id": 1})["retires"] is not None
    listed = auth("keys", "list")[2]
    assert first["kid"] in listed
    assert second["kid"] in listed
    assert auth("keys", "rotate", "--revoke")[0] == 0
    assert [found["_id"] for found in database["_auth_keys"].find()] == [3]


def test_a_launch_url_is_printed(auth, database):
    auth(
        "clients", "add", "chart", "--redirect-uri", "https://app.example.org/cb", "--launch-url", "https://app.example.org/l?a=b"
    )
    code, url, _ = auth("launch", "chart", "--patient", "1", "--encounter", "2", "--user", "ADA")
    assert code == 0
    query = parse_qs(urlsplit(url.strip()).query)
    assert (query["a"], query["iss"]) == (["b"], ["http://127.0.0.1:8080/fhir"])
    kept = database["_auth_launches"].find_one({"_id": digest(query["launch"][0])})
    assert (kept["patient"], kept["encounter"], kept["user"], kept["client"]) == ("1", "2", "ada", "chart")
    auth("clients", "add", "plain", "--redirect-uri", "https://app.example.org/cb")
    assert auth("launch", "plain")[0] == 2
    assert auth("launch", "nobody")[0] == 2
