"""The pages of an authorization request: log in, choose a patient and a visit, consent."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fhir_server.security.authorization.clients import Client
from fhir_server.security.authorization.flows import Flow
from fhir_server.security.authorization.grantable import IDENTITY
from fhir_server.security.authorization.parts import asked_about, given, parts
from fhir_server.security.authorization.redirects import form_target, origin_of
from fhir_server.security.authorization.requests import Reply
from fhir_server.security.authorization.users import User
from fhir_server.security.authorization.words import items
from fhir_server.web.smart import recording
from fhir_server.web.smart.authorize import FLOW
from fhir_server.web.smart.browser import FormError, drop_cookie, first, read_form
from fhir_server.web.smart.finish import granted, refused
from fhir_server.web.smart.login import Asking, Login, login_page
from fhir_server.web.smart.pages import error_page, page, see
from fhir_server.web.smart.smart import Smart, Visitor
from fhir_server.web.smart.steps import ERRORS, Step, may_use, next_step

GONE: Final = "This page was open for too long, or the app has got its answer already. Go back to the app and start again."


@dataclass(frozen=True, slots=True)
class Stage:
    """Where an authorization request stands."""

    flow: Flow
    client: Client
    visitor: Visitor
    own_patient: str
    step: Step
    request: Request

    @property
    def user(self) -> User:
        """Who is logged in."""
        if self.visitor.user is None:
            raise AssertionError
        return self.visitor.user


Act = Callable[["FlowPages", Stage, dict[str, list[str]]], Awaitable[Response]]


class FlowPages:
    """Shows each request the page that comes next."""

    def __init__(self, smart: Smart, login: Login) -> None:
        self._smart = smart
        self._service = smart.service
        self._login = login

    def routes(self) -> list[Route]:
        """Return the routes."""
        acts: dict[str, Act] = {
            "search": FlowPages._found,
            "patient": FlowPages._chose_patient,
            "encounter": FlowPages._chose_encounter,
            "consent": FlowPages._consented,
            "cancel": FlowPages._cancelled,
            "switch": FlowPages._switched,
        }
        path = FLOW + "/{flow}"
        return [
            Route(path, self.show, methods=["GET"]),
            Route(path + "/login", self.log_in, methods=["POST"]),
            *(Route(f"{path}/{name}", self._acting(act), methods=["POST"]) for name, act in acts.items()),
        ]

    async def show(self, request: Request) -> Response:
        """Show the page that comes next, or send the browser to the app."""
        stage = await self._stage(request)
        if stage is None:
            return error_page(GONE, 404)
        return self._smart.keep(await self._shown(stage), stage.visitor)

    async def log_in(self, request: Request) -> Response:
        """Take a password, or a one-time password."""
        stage = await self._stage(request)
        if stage is None:
            return error_page(GONE, 404)
        return await self._login.attempt(request, stage.visitor, self._asking(stage))

    def _acting(self, act: Act) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            stage = await self._stage(request)
            if stage is None:
                return error_page(GONE, 404)
            try:
                values = await read_form(request, self._service.place, stage.visitor.session)
            except FormError as error:
                return error_page(str(error), error.status)
            if stage.step == "login":
                return see(self._url(stage))
            return await act(self, stage, values)

        return endpoint

    async def _stage(self, request: Request) -> Stage | None:
        visitor = await self._smart.visitor(request)
        flow = await self._service.flows.get(request.path_params["flow"])
        client = await self._service.clients.get(flow.client) if flow else None
        if flow is None or client is None:
            return None
        own = await self._smart.directory.own_patient(visitor.user) if visitor.user else ""
        step = next_step(flow, client, visitor.session, visitor.user, own)
        return Stage(flow, client, visitor, own, step, request)

    def _url(self, stage: Stage) -> str:
        return self._service.place.url(f"{FLOW}/{stage.flow.id}")

    def _asking(self, stage: Stage) -> Asking:
        return Asking(self._url(stage), stage.client.name, (form_target(stage.flow.params["redirect_uri"]),))

    def _page(self, template: str, stage: Stage, *, status: int = 200, **values: Any) -> Response:
        """Return a page whose forms may lead to the app in the end."""
        asking = self._asking(stage)
        return page(
            template,
            status=status,
            targets=asking.targets,
            url=asking.url,
            app=asking.app,
            form_token=stage.visitor.session.form_token,
            user=stage.user.display or stage.user.name,
            **values,
        )

    async def _shown(self, stage: Stage) -> Response:
        if stage.step == "patient" and stage.own_patient:
            await self._service.flows.change(stage.flow.id, patient=stage.own_patient)
            return see(self._url(stage))
        if stage.step == "done":
            return await self._done(stage, stage.flow.scopes)
        if "none" in stage.flow.params.get("prompt", "").split():
            await self._service.flows.finish(stage.flow.id)
            return self._to_app(await refused(self._service, stage.flow.params, ERRORS[stage.step]))
        if stage.step == "login":
            return login_page(stage.visitor.session, self._asking(stage))
        if stage.step == "refused":
            return self._refused_page(stage)
        if stage.step == "patient":
            return await self._patient_page(stage, "")
        if stage.step == "encounter":
            return await self._encounter_page(stage)
        return await self._consent_page(stage)

    def _refused_page(self, stage: Stage) -> Response:
        return self._page("refused", stage, status=403)

    async def _patient_page(self, stage: Stage, text: str) -> Response:
        return self._page("patient", stage, text=text, found=await self._smart.directory.patients(stage.user, text))

    async def _found(self, stage: Stage, values: dict[str, list[str]]) -> Response:
        if stage.step != "patient":
            return see(self._url(stage))
        return await self._patient_page(stage, first(values, "text")[:200])

    async def _chose_patient(self, stage: Stage, values: dict[str, list[str]]) -> Response:
        chosen = first(values, "patient")
        if stage.step == "patient":
            if await self._smart.directory.patient(stage.user, chosen) is None:
                return error_page("There is no such patient among those that you may see.", 403)
            await self._service.flows.change(stage.flow.id, patient=chosen)
        return see(self._url(stage))

    async def _encounter_page(self, stage: Stage) -> Response:
        found = await self._smart.directory.encounters(stage.user, stage.flow.patient) if stage.flow.patient else []
        if not found:
            await self._service.flows.change(stage.flow.id, encounter_chosen=True)
            return see(self._url(stage))
        return self._page("encounter", stage, found=found)

    async def _chose_encounter(self, stage: Stage, values: dict[str, list[str]]) -> Response:
        chosen = first(values, "encounter")
        if stage.step == "encounter":
            found = await self._smart.directory.encounters(stage.user, stage.flow.patient) if stage.flow.patient else []
            if chosen and chosen not in {one.id for one in found}:
                return error_page("There is no such visit of this patient among those that you may see.", 403)
            await self._service.flows.change(stage.flow.id, encounter=chosen, encounter_chosen=True)
        return see(self._url(stage))

    async def _consent_page(self, stage: Stage) -> Response:
        patient = await self._smart.directory.patient(stage.user, stage.flow.patient) if stage.flow.patient else None
        if stage.flow.patient and patient is None:
            return self._refused_page(stage)
        redirect_uri, asked = stage.flow.params["redirect_uri"], asked_about(stage.flow.scopes)
        return self._page(
            "consent",
            stage,
            patient=patient,
            own=bool(stage.own_patient) and stage.own_patient == stage.user.patient,
            items=items(asked),
            parts={scope: parts(scope) for scope in asked},
            identity=bool(set(IDENTITY) & set(stage.flow.scopes)),
            destination=origin_of(redirect_uri) or redirect_uri,
        )

    async def _consented(self, stage: Stage, values: dict[str, list[str]]) -> Response:
        if stage.step != "consent":
            return see(self._url(stage))
        scopes = given(stage.flow.scopes, set(values.get("scope", ())), set(values.get("part", ())))
        if asked_about(stage.flow.scopes) and not asked_about(scopes):
            return await self._cancelled(stage, values)
        return await self._done(stage, scopes)

    async def _cancelled(self, stage: Stage, _values: dict[str, list[str]]) -> Response:
        await self._service.flows.finish(stage.flow.id)
        return self._to_app(await refused(self._service, stage.flow.params, "access_denied"))

    async def _switched(self, stage: Stage, _values: dict[str, list[str]]) -> Response:
        await self._service.sessions.end(stage.visitor.session)
        response = see(self._url(stage))
        drop_cookie(response, self._service.place)
        return response

    async def _done(self, stage: Stage, scopes: tuple[str, ...]) -> Response:
        if not may_use(stage.flow, stage.client, stage.user, stage.own_patient):
            return self._refused_page(stage)
        await recording.changed(self._service, stage.request, stage.user, "consent", stage.client.id, " ".join(scopes))
        return self._to_app(await granted(self._service, stage.flow, stage.visitor.session, stage.user, scopes))

    def _to_app(self, reply: Reply) -> Response:
        return see(reply.location) if reply.location else error_page("The app is not registered any more.")
