"""`_explain=true`: how MongoDB runs a search, for operators."""

from collections.abc import Iterator
from typing import Any

from bson import json_util

from fhir_server.fhir.outcome import Issue
from fhir_server.search.access import Access, Document, present_fields, sorted_pipeline
from fhir_server.search.chain import Compiled
from fhir_server.search.sort import Order, all_of

_SCANS = frozenset({"COLLSCAN"})
_FEW = 100
_WASTE = 10
"""From so many documents examined for each one returned on, a plan deserves advice."""


async def explain(access: Access, type_: str, compiled: Compiled, order: Order, limit: int) -> list[Issue]:
    """Return the filter, the plan with its figures and, where it wastes work, an advice."""
    segment = order.segments(None, "", present_fields(compiled.filter))[0]
    scope = access.scope(type_, all_of([compiled.filter, segment.filter]))
    command: Document = {"find": type_, "filter": scope, "sort": dict(segment.sort), "limit": limit}
    if segment.computed:
        command = {"aggregate": type_, "pipeline": sorted_pipeline(scope, segment, {"s": 0}, limit), "cursor": {}}
    answer = await access.repo.database.mongodb.command(
        {"explain": {**command, "maxTimeMS": access.remaining_ms()}, "verbosity": "executionStats"}
    )
    issues = [_information(f"{type_} is searched by {json_util.dumps(scope)}, sorted by {dict(segment.sort)}.")]
    issues += [_information(f"The result is then tested by {type(join).__name__.lower()} semi-join.") for join in compiled.joins]
    return [*issues, *_plan(type_, answer)]


def _plan(type_: str, answer: Document) -> Iterator[Issue]:
    plan = answer["stages"][0]["$cursor"] if "stages" in answer else answer
    statistics = plan.get("executionStats", {})
    stages = list(_stages(plan["queryPlanner"]["winningPlan"]))
    steps = " ← ".join(stage["stage"] + (f" {stage['indexName']}" if "indexName" in stage else "") for stage in stages)
    keys, documents = statistics.get("totalKeysExamined", 0), statistics.get("totalDocsExamined", 0)
    returned, time = statistics.get("nReturned", 0), statistics.get("executionTimeMillis", 0)
    yield _information(
        f"Plan: {steps}. It examined {keys} index keys and {documents} documents for {returned} results, in {time} ms."
    )
    if _SCANS.intersection(stage["stage"] for stage in stages):
        yield _advice(f"It reads the whole collection {type_}: no index serves these parameters. Add an indexed one.")
    elif documents > _FEW and documents > _WASTE * max(returned, 1):
        yield _advice("It examines many documents for few results: add a more selective parameter, or sort by what is searched.")
    elif any(stage["stage"] == "SORT" for stage in stages) and keys > _FEW * _WASTE:
        yield _advice("It sorts all hits to return a page of them: sort by a parameter that has an index of its own.")


def _stages(plan: Document) -> Iterator[Document]:
    plan = plan.get("queryPlan", plan)
    yield plan
    below: list[Any] = [plan["inputStage"]] if "inputStage" in plan else plan.get("inputStages", [])
    for one in below:
        yield from _stages(one)


def _information(text: str) -> Issue:
    return Issue("informational", text, severity="information")


def _advice(text: str) -> Issue:
    return Issue("too-costly", text, severity="warning")
