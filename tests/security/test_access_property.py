"""No answer depends on what may not be seen.

For each of several principals there are two tenants: the whole clinic, and one that lacks all that the model says the
principal may not see. The same requests get the same answers in both.
"""

import copy
import itertools
import json
import random
import re
from dataclasses import replace
from functools import cache

import pytest
from authz_requests import TYPES, Dice, Request, some_request, trail_request
from authz_server import AuthServer, ask, default_settings, token
from authz_world import ACTORS, Actor, story

from fhir_server.interactions import conditional, create, transaction
from fhir_server.store.documents import CODEC_OPTIONS

REQUESTS, FEW = 410, 60
"""For each of twelve principals, and of two that may see nothing: 5,040, the entries of bundles and further pages not counted."""
AUDITED, FEW_AUDITED = 60, 12
"""So many more, where an audit trail is kept: 744."""
TRAIL_SHARE = 0.2
LETTERS = "cruds"
FORBIDDEN = 403
OPERATOR = Actor("an operator", {"scope": "system/*.cruds"}, lambda *_: True)
_TIMES = re.compile(r'"20[0-9]{2}-[0-9T:.+-]*Z"|"id":"[0-9a-f-]{36}"|log-[0-9a-f]{11}-[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{4}')
_CURSOR = re.compile(r"(_cursor=)[^\"&]+")


class Clinic:
    """Tenants with the same clinic, or what somebody may see of it."""

    def __init__(self, server, name):
        self.server = server
        self.name = name
        self.types = {}

    async def open(self):
        """Let the story happen in the tenant `self.name`."""
        operator = {"Authorization": "Bearer " + token({"tenant": self.name, "scope": "system/*.cruds", "sub": "founder"})}
        for method, type_, id_, resource in story(random.Random(4)):
            body = json.dumps(resource).encode() if resource else b""
            status, _, content = await ask(self.server, method, f"/fhir/{type_}/{id_}", operator, body)
            assert status in (200, 201, 204), content
        for type_ in {type_ for _, type_, _, _ in story(random.Random(4))}:
            self.types[type_] = [await self.documents(type_), await self.documents(type_ + "_history")]

    async def documents(self, collection):
        """Return the documents of the tenant."""
        found = self.server.database.collection(collection).with_options(CODEC_OPTIONS).find({"t": self.name})
        return await found.sort("_id", 1).to_list()

    async def copy(self, tenant, keep=lambda *_: True):
        """Make a tenant with those versions that `keep(type, resource)` is true for, each judged by its own content."""
        await self.server.tenants.create(tenant)
        for type_, (current, history) in self.types.items():
            versions = {(one["i"], one["v"]): one.get("r") for one in [*current, *history]}

            def content(one, versions=versions):
                return one.get("r") or versions[one["i"], one["v"] - 1]

            living = {one["i"] for one in current if keep(type_, content(one))}
            chosen = [
                [one for one in documents if one["i"] in living and keep(type_, content(one))] for documents in (current, history)
            ]
            for name, documents in zip((type_, type_ + "_history"), chosen, strict=True):
                renamed = [one | {"_id": one["_id"].replace(self.name, tenant, 1), "t": tenant} for one in documents]
                if renamed:
                    await self.server.database.collection(name).insert_many(copy.deepcopy(renamed))
            await self.server.database.accompany(tenant, [(type_, one["s"]) for one in chosen[0] if "s" in one])


@pytest.fixture(scope="session")
async def clinic(database, mongodb_uri):
    settings = default_settings("clinic0", mongodb_uri, mrn=False)
    for name in await database.list_collection_names():
        await database[name].delete_many({"t": {"$regex": "^clinic"}})
    await database["_tenants"].delete_many({"_id": {"$regex": "^clinic"}})
    server = AuthServer(settings, database)
    found = Clinic(server, "clinic0")
    await found.open()
    return found


@pytest.mark.parametrize("number", range(len(ACTORS)), ids=lambda number: ACTORS[number].name)
async def test_answers_are_as_if_what_may_not_be_seen_were_not_there(clinic, number, monkeypatch):
    actor = ACTORS[number]
    whole, part = f"clinic-{number}-whole", f"clinic-{number}-part"

    def visible(type_, resource):
        return any(actor.allows(type_, letter, resource) for letter in LETTERS)

    await clinic.copy(whole)
    await clinic.copy(part, visible)
    hidden = await _hidden(clinic, whole, visible)
    rng, ids = _dice(clinic, number, visible), _Ids(monkeypatch)
    for count in range(REQUESTS if rng.types else FEW):
        request = some_request(rng)
        answers = []
        for tenant in (whole, part):
            ids.start(count)
            answers.append(await _answers(clinic.server, tenant, actor, request))
        assert answers[0] == answers[1], f"{actor.name}: {request}"
        assert all(status < 500 for status, _, _ in answers[0]), f"{request} {answers[0]}"
        if actor.even and _is_plain(request) and answers[0][0][0] != FORBIDDEN:
            everything = await _answers(clinic.server, part, OPERATOR, request)
            assert everything == answers[0], f"{actor.name} sees too little: {request}"
    assert await _hidden(clinic, whole, visible, hidden) == hidden


@pytest.mark.parametrize("number", range(len(ACTORS)), ids=lambda number: ACTORS[number].name)
async def test_answers_and_the_audit_trail_are_as_if_what_may_not_be_seen_were_not_there(clinic, number, monkeypatch):
    actor = ACTORS[number]
    whole, part = f"clinic-{number}-whole-audited", f"clinic-{number}-part-audited"

    def visible(type_, resource):
        return any(actor.allows(type_, letter, resource) for letter in LETTERS)

    await clinic.copy(whole)
    await clinic.copy(part, visible)
    settings = default_settings("clinic0", clinic.server.settings.mongodb_uri, mrn=False, audit="all")
    server = AuthServer(settings, clinic.server.database.mongodb)
    rng, ids = _dice(clinic, 100 + number, visible), _Ids(monkeypatch)
    asked = 0
    for count in range(AUDITED if rng.types else FEW_AUDITED):
        request = trail_request(rng) if rng.random() < TRAIL_SHARE else some_request(rng)
        request = replace(request, headers={**request.headers, "X-Request-Id": f"r-{count}"})
        answers = []
        for tenant in (whole, part):
            ids.start(count)
            answers.append(await _answers(server, tenant, actor, request))
        assert answers[0] == answers[1], f"{actor.name}: {request}"
        assert all(status < 500 for status, _, _ in answers[0]), f"{request} {answers[0]}"
        asked += len(answers[0])
    trails = [await _trail(server, tenant) for tenant in (whole, part)]
    assert trails[0] == trails[1]
    assert len(trails[0]) >= asked


async def _trail(server: AuthServer, tenant: str) -> list[str]:
    """Return the events of a tenant's trail, the oldest first, but for times and their own ids."""
    found, path = [], "/fhir/AuditEvent?_sort=date&_count=500"
    bearer = token({"tenant": tenant, "sub": "auditor", "scope": "system/AuditEvent.rs"})
    while path:
        _, _, body = await ask(server, "GET", path, {"Authorization": f"Bearer {bearer}"})
        bundle = json.loads(body)
        found += [_TIMES.sub("*", json.dumps(one["resource"], separators=(",", ":"))) for one in bundle.get("entry", ())]
        path = next((one["url"].removeprefix("http://test") for one in bundle["link"] if one["relation"] == "next"), "")
    return [one for one in found if '"altId":"auditor"' not in one]


def _dice(clinic, number: int, visible) -> Dice:
    """Return random numbers that mostly fall on types of which something may be seen."""
    rng = Dice(number)
    rng.types = tuple(type_ for type_ in TYPES if any(visible(type_, one["r"]) for one in clinic.types[type_][0] if "r" in one))
    return rng


def _is_plain(request: Request) -> bool:
    """Tell whether whoever may see all that there is gets the same answer: it does not say what is not permitted."""
    path = request.path
    return (
        request.method == "GET"
        and path.partition("/")[0].partition("?")[0] in TYPES
        and "/_history?" not in path + "?"
        and "*" not in path
    )


async def _hidden(clinic, tenant, visible, known=None):
    """Return the documents that may not be seen (or those of the same keys as `known`)."""
    found = {}
    for type_ in clinic.types:
        async for one in clinic.server.database.collection(type_).find({"t": tenant}):
            resource = one.get("r") or {}
            if (one["_id"], type_) in known if known is not None else (resource and not visible(type_, resource)):
                found[one["_id"], type_] = one
    return found


@cache
def _bearer(tenant: str, claims: str) -> str:
    """Return a token that an actor keeps for all requests."""
    return token({"tenant": tenant, "sub": "actor"} | json.loads(claims))


async def _answers(server: AuthServer, tenant: str, actor: Actor, request: Request):
    """Return the answer to a request, and those to the pages that follow."""
    headers = {"Authorization": f"Bearer {_bearer(tenant, json.dumps(actor.claims))}", **actor.headers}
    found, path, answered = [], "/fhir/" + request.path, request
    for _ in range(4):
        status, sent, body = await ask(server, answered.method, path, {**headers, **answered.headers}, answered.encoded())
        kept = {name: value for name, value in sent.items() if name in ("etag", "location", "content-type", "www-authenticate")}
        text = body.decode()
        found.append((status, kept, _CURSOR.sub(r"\1*", _TIMES.sub("*", text))))
        following = re.search(r'"relation":"next","url":"http://test([^"]+)"', text)
        if not following or request.method != "GET":
            break
        kept_headers = {name: value for name, value in request.headers.items() if name == "X-Request-Id"}
        path, answered = following[1], Request("GET", "", headers=kept_headers)
    return found


class _Ids:
    """The same new ids in both tenants."""

    def __init__(self, monkeypatch):
        self._numbers = itertools.count()
        self._request = 0
        for module in (create, conditional, transaction):
            monkeypatch.setattr(module, "new_id", self._next)

    def start(self, request: int) -> None:
        self._request, self._numbers = request, itertools.count()

    def _next(self) -> str:
        return f"n{self._request}-{next(self._numbers)}"
