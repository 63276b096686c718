"""A search has a time, and MongoDB ends it then: docs/search/README.md."""

from typing import Any

import pytest

from fhir_server.config import Settings
from fhir_server.search.access import Access
from tests.conftest import client_of

SLOW = {"$expr": {"$function": {"body": "function() { sleep(300); return true }", "args": [], "lang": "js"}}}


@pytest.mark.parametrize("query", ["gender=male", "gender=male&_sort=birthdate", "gender:not=female&_total=accurate"])
async def test_a_search_that_takes_too_long_is_ended_in_the_database(
    settings: Settings, database: Any, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    """It is answered with 503 and a hint, and nothing of it goes on in MongoDB."""
    original = Access.scope
    monkeypatch.setattr(Access, "scope", lambda self, type_, filter_: {"$and": [original(self, type_, filter_), SLOW]})
    async with client_of(settings.model_copy(update={"search_timeout_ms": 100}), database) as http:
        for _ in range(5):
            await http.post("Patient", json={"resourceType": "Patient", "gender": "male"})
        answer = await http.get(f"Patient?{query}")
    issue = answer.json()["issue"][0]
    assert (answer.status_code, issue["code"]) == (503, "too-costly")
    assert "Narrow it" in issue["diagnostics"]
    running = await database.client.admin.aggregate([{"$currentOp": {}}])
    assert [one async for one in running if settings.default_tenant in repr(one.get("command")) and one.get("active")] == []
