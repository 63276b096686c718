"""Access tokens: https://www.rfc-editor.org/rfc/rfc6750, https://www.rfc-editor.org/rfc/rfc8725."""

import base64
import hmac
import json
import time

import httpx
import pytest
from authz_server import AUDIENCE, ISSUER, KEY, StaticIssuer, default_settings, token
from joserfc.jwk import ECKey, RSAKey

from fhir_server.fhir.outcome import FhirError
from fhir_server.security.issuers import RemoteIssuer
from fhir_server.security.tokens import Tokens

OTHER = "https://other.test"


def tokens(issuer=None, **changes):
    """Return what judges tokens of one issuer."""
    changes.setdefault("base_url", AUDIENCE)
    return Tokens(default_settings("t", "", **changes), issuer or StaticIssuer(), own_audience=AUDIENCE)


async def refused(judge, text):
    with pytest.raises(FhirError) as error:
        await judge.principal(text)
    assert error.value.status == 401
    assert 'error="invalid_token"' in error.value.headers["WWW-Authenticate"]
    return error.value.issues[0].diagnostics


async def test_a_good_token_says_who_is_asking():
    claims = {
        "sub": "u1",
        "client_id": "app",
        "scope": "openid patient/*.rs",
        "tenant": "clinic",
        "roles": ["clinician"],
        "fhirUser": "http://test/fhir/Practitioner/d1",
        "patient": "p1",
        "encounter": "Encounter/e1",
    }
    found = await tokens().principal(token(claims))
    assert (found.id, found.client, found.tenant, found.issuer) == ("u1", "app", "clinic", ISSUER)
    assert found.scopes == {"openid", "patient/*.rs"}
    assert (found.roles, found.fhir_user, found.patient, found.encounter) == ({"clinician"}, "Practitioner/d1", "p1", "e1")


async def test_without_a_tenant_it_is_the_default_one():
    assert (await tokens().principal(token({}))).tenant == "t"


@pytest.mark.parametrize("tenant", ["", "a/b", "a" * 65, 7, ["a"]])
async def test_a_claim_that_names_no_tenant_is_no_token(tenant):
    assert "names no tenant" in await refused(tokens(), token({"tenant": tenant}))


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": int(time.time()) - 120}, "expired_token"),
        ({"exp": None}, "missing_claim"),
        ({"nbf": int(time.time()) + 86_400}, "invalid_claim"),
        ({"iat": int(time.time()) + 86_400}, "invalid_claim"),
        ({"aud": "https://else.test"}, "another audience"),
        ({"aud": None}, "another audience"),
        ({"aud": []}, "another audience"),
        ({"aud": {"a": 1}}, "invalid_claim"),
        ({"iss": OTHER}, "not one of an issuer that is known here"),
        ({"sub": ""}, "neither a subject nor a client"),
        ({"sub": 5}, "invalid_claim"),
    ],
)
async def test_claims_that_do_not_fit_are_refused(claims, reason):
    assert reason in await refused(tokens(), token(claims))


async def test_clocks_may_differ_a_little():
    now = int(time.time())
    assert (await tokens().principal(token({"exp": now - 10, "nbf": now + 10}))).id == "somebody"
    assert "expired" in await refused(tokens(auth_leeway_seconds=0), token({"exp": now - 10}))


async def test_one_of_several_audiences_is_enough():
    assert (await tokens().principal(token({"aud": ["https://else.test", AUDIENCE + "/"]}))).id == "somebody"


def forged(algorithm, signature):
    """Return a token with that algorithm in its header, signed by a function of what is signed."""
    parts = ({"alg": algorithm, "kid": "k1"}, {"iss": ISSUER, "aud": AUDIENCE, "sub": "x", "exp": 9_000_000_000})
    signed = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    return f"{signed}.{base64.urlsafe_b64encode(signature(signed.encode())).decode().rstrip('=')}"


@pytest.mark.parametrize(
    "text",
    [
        forged("none", lambda _: b""),
        token({}, key=ECKey.generate_key("P-256", {"kid": "k1"})),
        token({}, header={"kid": "unknown"}, key=ECKey.generate_key("P-256")),
        token({})[:-4] + "AAAA",
        forged("HS256", lambda signed: hmac.digest(KEY.as_pem(private=False), signed, "sha256")),
    ],
    ids=["none", "another key", "unknown kid", "changed", "public key as secret"],
)
async def test_signatures_that_do_not_hold_are_refused(text):
    assert await refused(tokens(), text) == "The signature of the token is not valid."


async def test_an_algorithm_that_is_not_allowed_is_refused():
    assert "signature" in await refused(tokens(auth_algorithms="RS256"), token({}))


async def test_a_token_of_another_kind_is_no_access_token():
    assert await refused(tokens(), token({}, header={"typ": "logout+jwt"})) == "The token is no access token."


@pytest.mark.parametrize("text", ["x", "a.b.c", "..", "é.é.é", "a" * 20_000, "e30.bnVsbA.x", "e30.WzFd.x"])
async def test_nonsense_is_refused(text):
    await refused(tokens(), text)


async def test_a_revoked_token_is_refused_when_it_is_looked_at_again():
    issuer = StaticIssuer()
    judge = tokens(issuer, auth_cache_seconds=0)
    text = token({"jti": "j1"})
    assert (await judge.principal(text)).id == "somebody"
    issuer.revoked.add("j1")
    assert await refused(judge, text) == "The token has been revoked."


async def test_a_verified_token_is_not_verified_again_until_it_expires():
    issuer, moment = StaticIssuer(), [time.time()]
    judge = Tokens(default_settings("t", "", base_url=AUDIENCE), issuer, own_audience=AUDIENCE, now=lambda: moment[0])
    text = token({"exp": int(moment[0]) + 10})
    await judge.principal(text)
    await judge.principal(text)
    assert issuer.asked == 1
    moment[0] += 11
    await judge.principal(text)
    assert issuer.asked == 2
    moment[0] += 60
    assert "expired" in await refused(judge, text)


async def test_roles_and_tenant_of_others_stand_where_the_settings_say():
    key = RSAKey.generate_key(2048, {"kid": "r1"})
    served = httpx.MockTransport(lambda _: httpx.Response(200, json={"keys": [key.as_dict(private=False)]}))
    settings = default_settings(
        "t",
        "",
        base_url=AUDIENCE,
        auth_issuers=f"{OTHER}|{OTHER}/jwks",
        auth_roles_claim="realm_access.roles",
        auth_tenant_claim="org.id",
    )
    claims = {"iss": OTHER, "realm_access": {"roles": ["admin"]}, "org": {"id": "north"}, "roles": ["patient"], "tenant": "x"}
    found = await Tokens(settings, transport=served).principal(token(claims, key=key, header={"alg": "RS256", "kid": "r1"}))
    assert (found.roles, found.tenant) == ({"admin"}, "north")


async def test_keys_are_found_by_discovery_kept_and_fetched_again_for_a_new_one():
    served, asked, moment = [KEY], [], [0.0]

    def answer(request):
        asked.append(request.url.path)
        if request.url.path.endswith("openid-configuration"):
            return httpx.Response(200, json={"issuer": OTHER, "jwks_uri": f"{OTHER}/keys"})
        return httpx.Response(200, json={"keys": [key.as_dict(private=False) for key in served] + [{"kty": "oct", "k": "AAAA"}]})

    issuer = RemoteIssuer(OTHER, transport=httpx.MockTransport(answer), clock=lambda: moment[0])
    assert [key["kid"] for key in await issuer.keys()] == ["k1"]
    assert [key["kid"] for key in await issuer.keys()] == ["k1"]
    assert asked == ["/.well-known/openid-configuration", "/keys"]
    served.append(ECKey.generate_key("P-256", {"kid": "k2"}))
    assert len(await issuer.keys(fresh=True)) == 1
    moment[0] = 31.0
    assert len(await issuer.keys(fresh=True)) == 2


async def test_a_discovery_document_of_somebody_else_is_not_believed():
    served = httpx.MockTransport(
        lambda _: httpx.Response(200, json={"issuer": "https://evil.test", "jwks_uri": "https://evil.test/k"})
    )
    with pytest.raises(FhirError) as error:
        await RemoteIssuer(OTHER, transport=served).keys()
    assert error.value.status == 503


async def test_known_keys_serve_on_while_the_issuer_does_not_answer():
    up, moment = [True], [0.0]

    def answer(_):
        return httpx.Response(200, json={"keys": [KEY.as_dict(private=False)]}) if up[0] else httpx.Response(500)

    issuer = RemoteIssuer(OTHER, f"{OTHER}/jwks", transport=httpx.MockTransport(answer), clock=lambda: moment[0])
    await issuer.keys()
    up[0], moment[0] = False, 4000.0
    assert [key["kid"] for key in await issuer.keys()] == ["k1"]


def introspecting(answer, **changes):
    """Return what judges opaque tokens by an endpoint that answers so."""
    settings = default_settings(
        "t",
        "",
        base_url=AUDIENCE,
        auth_introspection_url="https://id.test/introspect",
        auth_introspection_client="me",
        auth_introspection_secret="secret",
        **changes,
    )
    return Tokens(settings, transport=httpx.MockTransport(answer))


async def test_opaque_tokens_are_introspected_as_the_client_of_the_settings():
    seen = []

    def answer(request):
        seen.append((request.headers["authorization"], request.content))
        return httpx.Response(
            200, json={"active": True, "sub": "u1", "scope": "user/*.rs", "org_id": "north", "client_id": "app"}
        )

    judge = introspecting(answer)
    found = await judge.principal("opaque")
    assert (found.id, found.tenant, found.scopes) == ("u1", "north", {"user/*.rs"})
    await judge.principal("opaque")
    assert seen == [("Basic " + base64.b64encode(b"me:secret").decode(), b"token=opaque&token_type_hint=access_token")]


@pytest.mark.parametrize(
    "found",
    [
        {"active": False},
        {},
        {"active": "true", "sub": "x"},
        [],
        {"active": True, "sub": "x", "exp": 1},
        {"active": True, "sub": "x", "aud": "y"},
    ],
)
async def test_tokens_that_are_not_active_are_refused(found):
    await refused(introspecting(lambda _: httpx.Response(200, json=found)), "opaque")


async def test_without_an_answer_nobody_is_let_in():
    with pytest.raises(FhirError) as error:
        await introspecting(lambda _: httpx.Response(500)).principal("opaque")
    assert error.value.status == 503
