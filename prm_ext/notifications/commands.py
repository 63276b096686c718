"""`fhir-server notifications`: dead letters, figures, and what is known of one message."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table

from fhir_server.commands import FAILED, Data, ended, settings_with, with_mongodb
from fhir_server.config import Settings
from fhir_server.terminal import console

if TYPE_CHECKING:
    from fhir_server.loading.engine import EngineTarget
    from prm_ext.notifications.output import Figures, Stats
    from prm_ext.notifications.records import Deliveries
    from prm_ext.notifications.reviving import Dead

app = typer.Typer(
    name="notifications",
    no_args_is_help=True,
    add_completion=False,
    help="Messages to patients: dead letters, figures, and what is known of one.",
)
deliveries = typer.Typer(no_args_is_help=True, help="What is known of single messages.")
app.add_typer(deliveries, name="deliveries")

HIDDEN: Final = "…"
_SECRET: Final = frozenset({"to", "given", "body", "subject", "html", "unsubscribe_url"})
Tenant = Annotated[str, typer.Option(help="Only of this tenant.", show_default=False)]
Moment = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="A date, or a time; in UTC.", show_default=False),
]


@app.command()
def replay(
    *,
    since: Moment = None,
    reason: Annotated[str, typer.Option(help="Only what failed for this reason, such as transient.", show_default=False)] = "",
    channel: Annotated[
        str, typer.Option(help="Only what was tried over this channel: whatsapp, sms, voice, email.", show_default=False)
    ] = "",
    tenant: Tenant = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    data: Data = None,
) -> None:
    """Send once more the messages that have failed for good.

    Exit codes: 0 all of them wait to be sent, 1 some can not be sent any more, 4 MongoDB does not start.
    """
    from prm_ext.notifications.reviving import Dead  # noqa: PLC0415 -- it takes long to import

    dead = Dead(tenant, reason, channel, since.replace(tzinfo=UTC) if since is not None else None)
    found = with_mongodb(settings_with(data_dir=data), lambda settings: _replay(settings, dead, dry_run=dry_run))
    if dry_run:
        console.print(f"{found['dead']:,} messages have failed for good; nothing was changed.")
        return
    console.print(f"{found['revived']:,} messages wait to be sent, {found['refused']:,} can not be sent any more.")
    raise typer.Exit(FAILED if found["refused"] else 0)


async def _replay(settings: Settings, dead: "Dead", *, dry_run: bool) -> Counter[str]:
    from fhir_server.fhir.outcome import FhirError  # noqa: PLC0415
    from fhir_server.security.audit.own import commanded  # noqa: PLC0415
    from prm_ext.notifications.reviving import dead_letters, revive  # noqa: PLC0415
    from prm_ext.notifications.settings import NotificationSettings  # noqa: PLC0415

    count: Counter[str] = Counter()
    async with _opened(settings) as (target, found):
        if dry_run:
            count["dead"] = await found.collection.count_documents(dead.filter())
            return count
        values = NotificationSettings()  # type: ignore[call-arg]  # they come from the environment
        async with commanded(target.database, "notifications replay", tenant=dead.tenant) as note:
            async for one in dead_letters(found, dead):
                try:
                    revived = await revive(await target.context(one["t"]), found, values, one)
                except FhirError:
                    count["refused"] += 1
                else:
                    count["revived"] += revived is not None
            note.result = f"{count['revived']} messages wait to be sent, {count['refused']} can not"
    return count


@app.command()
def stats(
    *,
    date_from: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="The first day. [30 days ago]")
    ] = None,
    date_to: Annotated[datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="The last day. [today]")] = None,
    channel: Annotated[str, typer.Option(help="Only over this channel.", show_default=False)] = "",
    tenant: Annotated[str, typer.Option(help="Of this tenant. [FHIR_DEFAULT_TENANT]", show_default=False)] = "",
    data: Data = None,
) -> None:
    """Show how well messages arrive: delivery rate, delivery time, success of retries, failures."""
    first, last = (one.date() if one is not None else None for one in (date_from, date_to))
    found = with_mongodb(settings_with(data_dir=data), lambda settings: _stats(settings, tenant, first, last, channel))
    table = Table(
        "", "Messages", "Delivered", "Average s", "p95 s", "Retried", "Sent after all", "Failed", box=None, pad_edge=False
    )
    for name, figures in (("all", found), *((one.channel or "none", one) for one in found.channels)):
        table.add_row(name, *_row(figures))
    console.print(table)
    for failure, number in sorted(found.failures.items(), key=lambda one: -one[1]):
        console.print(f"  {failure}: {number:,}")


async def _stats(settings: Settings, tenant: str, first: Any, last: Any, channel: str) -> "Stats":
    from prm_ext.notifications.stats import stats_of  # noqa: PLC0415

    async with _opened(settings) as (target, found):
        ctx = await target.context(tenant or settings.default_tenant)
        return await stats_of(ctx, found, first, last, channel=channel)


def _row(figures: "Figures") -> list[str]:
    def share(value: float | None) -> str:
        return "" if value is None else f"{value:.1%}"

    def seconds(value: float | None) -> str:
        return "" if value is None else f"{value:.2f}"

    return [
        f"{figures.total:,}",
        share(figures.delivery_rate),
        seconds(figures.average_delivery_seconds),
        seconds(figures.p95_delivery_seconds),
        f"{figures.retried:,}",
        share(figures.retry_success),
        f"{figures.counts.get('failed', 0):,}",
    ]


@deliveries.command()
def show(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Id of the notification, or of a Communication.")],
    *,
    tenant: Annotated[str, typer.Option(help="Of this tenant. [FHIR_DEFAULT_TENANT]", show_default=False)] = "",
    reveal: Annotated[bool, typer.Option("--reveal", help="Show addresses and texts too.")] = False,
    data: Data = None,
) -> None:
    """Show the record of a message as it is kept, as JSON on standard output, without addresses and texts.

    Exit codes: 0 it was found, 1 there is none.
    """
    found = with_mongodb(settings_with(data_dir=data), lambda settings: _found(settings, tenant, id_, reveal=reveal))
    if not found:
        raise ended(f"There is no delivery {id_!r}.", FAILED)
    for one in found:
        typer.echo(json.dumps(one if reveal else masked(one), default=_text, indent=2, ensure_ascii=False))


async def _found(settings: Settings, tenant: str, id_: str, *, reveal: bool) -> list[dict[str, Any]]:
    from fhir_server.security.audit.own import commanded  # noqa: PLC0415

    async with _opened(settings) as (target, found):
        name = tenant or settings.default_tenant
        if reveal:
            async with commanded(target.database, "notifications deliveries show", tenant=name, about=id_, ends=False):
                return await _of(found, name, id_)
        return await _of(found, name, id_)


async def _of(found: "Deliveries", tenant: str, id_: str) -> list[dict[str, Any]]:
    exact = await found.get(f"{tenant}/{id_}")
    if exact is not None:
        return [exact]
    message = await found.by_message(id_)
    if message is not None and message["t"] == tenant:
        return [message]
    return await found.of_request(tenant, id_)


def masked(value: Any, name: str = "") -> Any:
    """Return what a record holds, with addresses and texts hidden."""
    if name in _SECRET and value:
        return HIDDEN
    if isinstance(value, Mapping):
        return {key: masked(one, key) for key, one in value.items()}
    return [masked(one) for one in value] if isinstance(value, list) else value


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


@asynccontextmanager
async def _opened(settings: Settings) -> "AsyncIterator[tuple[EngineTarget, Deliveries]]":
    from fhir_server.loading.engine import engine_target  # noqa: PLC0415 -- they take long to import
    from prm_ext.notifications.records import Deliveries  # noqa: PLC0415

    async with engine_target(settings) as target:
        found = Deliveries(target.database)
        await found.prepare()
        yield target, found
