"""`/api/v1/prm/notifications/preferences`: which kinds of messages a patient wants, over which channels.

They are Consents: docs/notifications/consent.md.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from fhir_server.exchange import Call, Context, Resource
from prm_ext.common.context import CurrentContext
from prm_ext.common.problems import RESPONSES, ProblemRoute
from prm_ext.notifications.channels.channel import CHANNELS, Channel
from prm_ext.notifications.consent import preferences, set_preference
from prm_ext.notifications.means import MeansOf
from prm_ext.notifications.schemas import Kind


class PreferenceOut(BaseModel):
    """Whether one kind of message comes over one channel."""

    category: str = Field(description="Such as `appointment-reminder` or `health-tips`.")
    channel: Channel
    allowed: bool
    consent: str | None = Field(default=None, description="The Consent that denies it, such as `Consent/1`.")


class PreferencesOut(BaseModel):
    """All kinds over all channels."""

    patient_id: str
    items: list[PreferenceOut]


class PreferenceIn(BaseModel):
    """What a patient wants, or does not want."""

    model_config = ConfigDict(extra="forbid")

    category: Kind | Literal[""] = Field(default="", description="Empty: all kinds.")
    channel: Channel | Literal[""] = Field(default="", description="Empty: all channels.")
    allowed: bool


class PreferencesIn(BaseModel):
    """Preferences, in the order in which they are set."""

    model_config = ConfigDict(extra="forbid")

    items: list[PreferenceIn] = Field(min_length=1, max_length=100)


def preferences_router(means: MeansOf) -> APIRouter:
    """Return the routes."""
    router = APIRouter(route_class=ProblemRoute, responses=RESPONSES, tags=["Notifications"])

    async def shown(ctx: Context, patient: Resource) -> PreferencesOut:
        found = await means(ctx)
        pairs = {channel: found.providers.of(ctx.tenant, channel) for channel in CHANNELS}
        senders: Mapping[Channel, str] = {channel: pair[1] for channel, pair in pairs.items() if pair is not None}
        wanted = await preferences(ctx, patient, senders)
        items = [
            PreferenceOut(category=one.kind, channel=one.channel, allowed=one.allowed, consent=one.consent or None)
            for one in wanted
        ]
        return PreferencesOut(patient_id=patient["id"], items=items)

    @router.get("/preferences/{patient_id}", summary="What a patient wants to hear of")
    async def read(ctx: CurrentContext, patient_id: str) -> PreferencesOut:
        """Tell for each kind of message and each channel whether the patient is written to."""
        return await shown(ctx, await _patient(ctx, patient_id))

    @router.patch("/preferences/{patient_id}", summary="Set what a patient wants to hear of")
    async def change(ctx: CurrentContext, patient_id: str, body: PreferencesIn) -> PreferencesOut:
        """Turn kinds of messages, or channels, off or on; what a patient refused from a phone by STOP stays refused."""
        patient = await _patient(ctx, patient_id)
        await _set(ctx, patient_id, body.items)
        return await shown(ctx, patient)

    return router


async def _patient(ctx: Context, id_: str) -> Resource:
    return (await ctx.dispatch(ctx, Call("read", "Patient", id_))).resource or {}


async def _set(ctx: Context, patient: str, items: Sequence[PreferenceIn]) -> None:
    for one in items:
        await set_preference(ctx, patient, kind=one.category, channel=one.channel, allowed=one.allowed)
