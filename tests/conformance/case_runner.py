"""Runs request and expectation cases, whose format is described at the head of `cases.yaml`."""

import copy
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import fhirpathpy
import httpx
from fhirpathpy.models import models

from tests.conformance.case_expectations import Answer, mistakes

Case = dict[str, Any]
_VARIABLE = re.compile(r"\$\{([\w.]+)\}")
_LEFT_IN_URLS = "/?&=%:,$*+()~!@;'"
_MOST_PAGES = 60


class CaseRunner:
    """Runs cases against one server, whose fixtures are made once."""

    def __init__(self, http: httpx.AsyncClient, fixtures: Mapping[str, list[dict[str, Any]]]) -> None:
        self._http = http
        self._fixtures = fixtures
        self._base = str(http.base_url).rstrip("/")
        self._tag = f"t{uuid.uuid4().hex[:10]}"
        self._made: set[str] = set()
        self._aliases: dict[str, str] = {}

    async def run(self, case: Case) -> list[str]:
        """Return what is not as the case expects it, after the first step that fails."""
        fixture = case.get("fixture")
        if fixture and fixture not in self._made:
            await self._make(fixture)
        variables = self._variables(fixture or "none")
        for number, step in enumerate(case["steps"]):
            wrong = await self._step(step, variables)
            if wrong:
                return [f"step {number}: {text}" for text in wrong]
        return []

    async def _step(self, step: dict[str, Any], variables: dict[str, Any]) -> list[str]:
        wrong: list[str] = []
        for item in self._items(step, variables):
            known = variables | item
            answer = await self._send(self._filled(step["request"], known))
            expected = self._filled(step.get("expect") or {}, known)
            pages = await self._pages(answer) if expected.get("pages") else [answer]
            wrong += mistakes(expected, Answer(pages, self._aliases))
            if "save" in step:
                variables[step["save"]] = _json(answer)
        return wrong

    def _items(self, step: dict[str, Any], variables: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if "foreach" not in step:
            yield {}
            return
        found = fhirpathpy.evaluate(variables[step["from"]], step["foreach"], {}, models["r4"])
        assert found, f"{step['foreach']} finds nothing"
        yield from ({"item": item} for item in found)

    def _variables(self, fixture: str) -> dict[str, Any]:
        common = {"tag": self._tag, "ftag": f"{self._tag}-{fixture}", "base": self._base}
        return common | {"uuid1": str(uuid.uuid4()), "uuid2": str(uuid.uuid4())}

    async def _make(self, fixture: str) -> None:
        self._made.add(fixture)
        variables = self._variables(fixture)
        for described in self._fixtures[fixture]:
            resource = self._filled(copy.deepcopy(described["resource"]), variables)
            tags = resource.setdefault("meta", {}).setdefault("tag", [])
            tags.append({"system": "urn:cases", "code": variables["ftag"]})
            answer = await self._send({"method": "POST", "path": resource["resourceType"], "body": resource})
            assert answer.status_code == 201, (described["alias"], answer.text)
            self._aliases[described["alias"]] = f"{resource['resourceType']}/{answer.json()['id']}"

    async def _send(self, request: dict[str, Any]) -> httpx.Response:
        headers = {"Accept": "application/fhir+json"}
        content = None
        if "body" in request:
            content, headers["Content-Type"] = json.dumps(request["body"]), "application/fhir+json"
        if "raw" in request:
            content = _repeated(request["raw"])
        headers |= request.get("headers") or {}
        return await self._http.request(request["method"], self._url(request["path"]), content=content, headers=headers)

    def _url(self, path: str) -> str:
        if path.startswith("http"):
            return path
        return self._base + ("/" if path and not path.startswith("?") else "") + quote(path, safe=_LEFT_IN_URLS)

    async def _pages(self, answer: httpx.Response) -> list[httpx.Response]:
        pages = [answer]
        while len(pages) <= _MOST_PAGES:
            following = [link["url"] for link in _json(pages[-1]).get("link", ()) if link["relation"] == "next"]
            if not following:
                return pages
            pages.append(await self._send({"method": "GET", "path": following[0]}))
        raise AssertionError(f"more than {_MOST_PAGES} pages")

    def _filled(self, value: Any, variables: Mapping[str, Any]) -> Any:
        if isinstance(value, str):
            return _VARIABLE.sub(lambda found: str(self._value(found[1], variables)), value)
        if isinstance(value, list):
            return [self._filled(item, variables) for item in value]
        if isinstance(value, dict):
            return {name: self._filled(item, variables) for name, item in value.items()}
        return value

    def _value(self, name: str, variables: Mapping[str, Any]) -> Any:
        first, *rest = name.split(".")
        if first in self._aliases:
            return {"id": self._aliases[first].partition("/")[2], "ref": self._aliases[first]}[rest[0]]
        found = variables[first]
        if rest[:1] == ["link"]:
            return next(link["url"] for link in found["link"] if link["relation"] == rest[1])
        for step in rest:
            found = found[step]
        return found


def _repeated(raw: str) -> str:
    if not raw.startswith("@repeat:"):
        return raw
    before, opening, count, middle, closing = raw.removeprefix("@repeat:").split("|")
    return before + opening * int(count) + middle * int(count) + closing


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return {}
