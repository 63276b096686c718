"""Where the server listens, and with which settings it does not start."""

import pytest
from authz_server import default_settings
from pydantic import ValidationError

from fhir_server.main import RefusedError, refuse_unprotected


def test_without_authentication_it_listens_on_loopback_only():
    with pytest.raises(RefusedError, match="FHIR_AUTH=builtin"):
        refuse_unprotected(default_settings("t", "", host="0.0.0.0"))
    refuse_unprotected(default_settings("t", "", host="127.0.0.1"))


@pytest.mark.parametrize(
    "changes",
    [{"auth": "builtin"}, {"auth_issuers": "https://id.test", "auth_audience": "a"}, {"allow_unauthenticated": True}],
)
def test_it_listens_everywhere_where_tokens_are_asked_for_or_an_operator_says_so(changes):
    refuse_unprotected(default_settings("t", "", host="0.0.0.0", **changes))


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"auth_issuers": "https://id.test"}, "FHIR_AUTH_AUDIENCE or FHIR_BASE_URL"),
        ({"auth_introspection_url": "https://id.test/i"}, "FHIR_AUTH_AUDIENCE or FHIR_BASE_URL"),
        ({"auth_mtls_header": "X-Subject"}, "FHIR_TRUSTED_PROXIES"),
    ],
)
def test_settings_that_would_let_the_wrong_ones_in_are_refused(changes, missing):
    with pytest.raises(ValidationError, match=missing):
        default_settings("t", "", **changes)
