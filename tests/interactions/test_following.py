"""What a behaviour may do before and after a write, through every way that writes."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from fhir_server.engine import handle
from fhir_server.exchange import Behaviour, Call, Context, Draft, Prefer
from fhir_server.fhir.outcome import FhirError, Issue, unprocessable
from fhir_server.interactions.following import transacted
from fhir_server.search.index import index_models
from fhir_server.store.commit import Committer
from fhir_server.store.database import Database
from fhir_server.store.repository import Repository
from fhir_server.store.versions import Version


class Recorder(Behaviour):
    """Remembers what it was asked, and whether it was durable by then."""

    def __init__(self) -> None:
        self.drafts: list[tuple[str, bool, bool]] = []
        self.followed: list[tuple[str, int, int, bool]] = []
        self.failing = False
        self.seen: list[bool] = []

    async def before_write(self, ctx: Context, draft: Draft) -> Draft:
        """Remember, and change or refuse."""
        del ctx
        self.drafts.append((draft.method, draft.creates, draft.names_its_id))
        if draft.resource.get("language") == "xx":
            raise unprocessable("No such language.", "Basic.language")
        changed = draft.resource | {"implicitRules": "urn:rules"}
        return replace(draft, resource=changed, issues=(Issue("informational", "before", (), "warning"),))

    async def after_write(self, ctx: Context, version: Version, previous: Version | None) -> tuple[Issue, ...]:
        """Remember, and fail where that is wanted."""
        self.followed.append((version.method, version.number, previous.number if previous else 0, version.deleted))
        assert ctx.repo.session is None
        found = await ctx.repo.current(version.type, version.id)
        self.seen.append(found is not None and found.number >= version.number)
        if self.failing:
            raise RuntimeError("out of order")
        return (Issue("informational", "after", (), "information"),)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def ctx(settings: Settings, database: AsyncDatabase[dict[str, Any]], recorder: Recorder) -> Context:
    store = Database(database, settings, index_models)
    return Context(
        repo=Repository(store, Committer(store), settings.default_tenant),
        settings=settings.model_copy(update={"multiple_delete": True}),
        dispatch=handle,
        base_url="http://test/fhir",
        behaviours={"Basic": recorder},
    )


def basic(**members: Any) -> dict[str, Any]:
    return {"resourceType": "Basic", "code": {"text": "x"}} | members


def texts(issues: Any) -> list[str]:
    return [issue.diagnostics for issue in issues if issue.diagnostics in ("before", "after")]


@pytest.mark.parametrize(
    ("call", "draft", "followed"),
    [
        (Call("create", "Basic", resource=basic()), ("POST", True, False), ("POST", 1, 0, False)),
        (Call("create", "Basic", resource=basic(id="ignored")), ("POST", True, False), ("POST", 1, 0, False)),
        (Call("create", "Basic", resource=basic(), if_none_exist="code=y"), ("POST", True, False), ("POST", 1, 0, False)),
        (Call("update", "Basic", "a", resource=basic(id="a")), ("PUT", True, True), ("PUT", 1, 0, False)),
        (Call("update", "Basic", params=(("code", "y"),), resource=basic()), ("PUT", True, False), ("PUT", 1, 0, False)),
        (Call("update", "Basic", params=(("code", "y"),), resource=basic(id="a")), ("PUT", True, True), ("PUT", 1, 0, False)),
    ],
)
async def test_whatever_creates_runs_both_hooks_once(
    ctx: Context, recorder: Recorder, call: Call, draft: tuple[Any, ...], followed: tuple[Any, ...]
) -> None:
    reply = await handle(ctx, call)
    assert reply.status == 201
    assert (reply.resource or {})["implicitRules"] == "urn:rules"
    assert texts(reply.issues) == ["before", "after"]
    assert (recorder.drafts, recorder.followed, recorder.seen) == ([draft], [followed], [True])


async def test_changes_and_deletions_are_followed_too(ctx: Context, recorder: Recorder) -> None:
    await handle(ctx, Call("update", "Basic", "a", resource=basic(id="a")))
    await handle(ctx, Call("update", "Basic", "a", resource=basic(id="a", language="de")))
    await handle(ctx, Call("patch", "Basic", "a", resource=[{"op": "remove", "path": "/language"}]))
    gone = await handle(ctx, Call("delete", "Basic", "a"))
    again = await handle(ctx, Call("delete", "Basic", "a"))
    assert recorder.drafts == [("PUT", True, True), ("PUT", False, True), ("PATCH", False, True)]
    assert recorder.followed == [("PUT", 1, 0, False), ("PUT", 2, 1, False), ("PATCH", 3, 2, False), ("DELETE", 4, 3, True)]
    assert (texts(gone.issues), texts(again.issues)) == (["after"], [])


async def test_a_conditional_delete_is_followed_for_each_resource(ctx: Context, recorder: Recorder) -> None:
    for id_ in "ab":
        await handle(ctx, Call("update", "Basic", id_, resource=basic(id=id_, identifier=[{"value": "same"}])))
    reply = await handle(ctx, Call("delete", "Basic", params=(("identifier", "same"),)))
    assert texts(reply.issues) == ["after", "after"]
    assert recorder.followed[2:] == [("DELETE", 2, 1, True)] * 2


@pytest.mark.parametrize("kind", ["batch", "transaction"])
@pytest.mark.parametrize("condition", [None, "code=y"])
async def test_entries_of_bundles_are_followed_after_the_commit_of_the_whole(
    ctx: Context, recorder: Recorder, kind: str, condition: str | None
) -> None:
    request = {"method": "POST", "url": "Basic"} | ({"ifNoneExist": condition} if condition else {})
    entries = [
        {"resource": basic(), "request": request},
        {"resource": basic(id="a"), "request": {"method": "PUT", "url": "Basic/a"}},
    ]
    bundle = {"resourceType": "Bundle", "type": kind, "entry": entries}
    reply = await handle(ctx, Call("transaction", resource=bundle, prefer=Prefer(return_="OperationOutcome")))
    assert reply.resource is not None
    outcomes = [entry["response"]["outcome"]["issue"] for entry in reply.resource["entry"]]
    assert [[issue["diagnostics"] for issue in issues] for issues in outcomes] == [["before", "after"]] * 2
    assert sorted(recorder.followed) == [("POST", 1, 0, False), ("PUT", 1, 0, False)]
    assert recorder.seen == [True, True]


async def test_a_refusal_before_the_write_keeps_a_whole_transaction_from_happening(ctx: Context, recorder: Recorder) -> None:
    entries = [
        {"resource": basic(id="a"), "request": {"method": "PUT", "url": "Basic/a"}},
        {"resource": basic(id="b", language="xx"), "request": {"method": "PUT", "url": "Basic/b"}},
    ]
    with pytest.raises(FhirError) as refused:
        await handle(ctx, Call("transaction", resource={"resourceType": "Bundle", "type": "transaction", "entry": entries}))
    assert (refused.value.status, refused.value.issues[0].expression) == (422, ("Bundle.entry[1].resource.language",))
    assert (recorder.followed, await ctx.repo.current("Basic", "a")) == ([], None)


async def test_a_failure_after_the_write_leaves_it_written_and_is_said(ctx: Context, recorder: Recorder) -> None:
    recorder.failing = True
    reply = await handle(ctx, Call("update", "Basic", "a", resource=basic(id="a")))
    assert reply.status == 201
    assert [(issue.severity, issue.code) for issue in reply.issues] == [("warning", "informational"), ("warning", "incomplete")]
    assert "out of order" not in str(reply.issues)


async def test_writes_of_an_inner_transaction_are_followed_by_the_outer_one(ctx: Context, recorder: Recorder) -> None:
    async def work(inner: Context) -> Any:
        reply = await handle(inner, Call("create", "Basic", resource=basic(), if_none_exist="code=y"))
        await handle(inner, Call("update", "Basic", "a", resource=basic(id="a")))
        assert recorder.followed == []
        return reply

    await ctx.repo.prepare(["Basic"])
    reply = await transacted(ctx, work)
    assert texts(reply.issues) == ["before", "after", "after"]
    assert recorder.followed == [("POST", 1, 0, False), ("PUT", 1, 0, False)]


async def test_of_creators_with_one_condition_only_the_one_that_creates_is_followed(ctx: Context, recorder: Recorder) -> None:
    call = Call("create", "Basic", resource=basic(identifier=[{"value": "1"}]), if_none_exist="identifier=1")
    replies = await asyncio.gather(*(handle(ctx, call) for _ in range(8)))
    assert sorted(reply.status for reply in replies) == [200] * 7 + [201]
    assert len(recorder.followed) == 1
