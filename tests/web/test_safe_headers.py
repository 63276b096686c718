"""Headers by which browsers are careful."""

import httpx
import pytest


@pytest.mark.parametrize("path", ["fhir/metadata", "fhir/Patient", "fhir/Patient/absent", "fhir/nonsense", "api/v1/prm/patients"])
async def test_every_answer_of_data_is_kept_from_browsers(http: httpx.AsyncClient, path: str) -> None:
    """Nothing is sniffed, framed, run, or told to other sites, nor kept by shared caches."""
    headers = (await http.get(f"http://test/{path}")).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"].split(",")[0] in ("private", "no-store")


async def test_pages_and_what_is_not_there_are_kept_likewise(http: httpx.AsyncClient) -> None:
    """Also answers of the framework have the headers."""
    for path in ("", "nothing/here", "health/live"):
        headers = (await http.get(f"http://test/{path}")).headers
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
