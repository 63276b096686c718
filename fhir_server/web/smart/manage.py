"""The page on which people see which apps have access, and take it away: the `management_endpoint` of SMART."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fhir_server.security.authorization import passwords
from fhir_server.security.authorization import place as paths
from fhir_server.security.authorization.attempts import Key
from fhir_server.security.authorization.bridge import in_thread
from fhir_server.security.authorization.grants import Grant
from fhir_server.security.authorization.users import User
from fhir_server.security.authorization.words import items
from fhir_server.web.smart import recording
from fhir_server.web.smart.browser import FormError, drop_cookie, first, read_form, set_cookie
from fhir_server.web.smart.login import Asking, Login, login_page
from fhir_server.web.smart.pages import error_page, page, see
from fhir_server.web.smart.smart import Smart, Visitor

Act = Callable[["ManagePages", Request, Visitor, User, dict[str, list[str]]], Awaitable[Response]]


class ManagePages:
    """What somebody may do with their own account."""

    def __init__(self, smart: Smart, login: Login) -> None:
        self._smart = smart
        self._service = smart.service
        self._login = login
        self._url = smart.service.place.url(paths.MANAGE)

    def routes(self) -> list[Route]:
        """Return the routes."""
        acts: dict[str, Act] = {
            "revoke": ManagePages._revoke,
            "password": ManagePages._password,
            "logout": ManagePages._log_out,
        }
        return [
            Route(paths.MANAGE, self.show, methods=["GET"]),
            Route(paths.MANAGE + "/login", self.log_in, methods=["POST"]),
            *(Route(f"{paths.MANAGE}/{name}", self._acting(act), methods=["POST"]) for name, act in acts.items()),
        ]

    async def show(self, request: Request) -> Response:
        """Show who has access, or ask to log in."""
        visitor = await self._smart.visitor(request)
        if visitor.user is None:
            return self._smart.keep(login_page(visitor.session, Asking(self._url)), visitor)
        return await self._page(visitor, visitor.user)

    async def log_in(self, request: Request) -> Response:
        """Take what was entered on the login page."""
        return await self._login.attempt(request, await self._smart.visitor(request), Asking(self._url))

    def _acting(self, act: Act) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            visitor = await self._smart.visitor(request)
            try:
                values = await read_form(request, self._service.place, visitor.session)
            except FormError as error:
                return error_page(str(error), error.status)
            if visitor.user is None:
                return see(self._url)
            return await act(self, request, visitor, visitor.user, values)

        return endpoint

    async def _page(self, visitor: Visitor, user: User, *, status: int = 200, problem: str = "", done: str = "") -> Response:
        return page(
            "manage",
            status=status,
            url=self._url,
            form_token=visitor.session.form_token,
            user=user.display or user.name,
            apps=[await self._app(user, grant) for grant in await self._service.grants.of_user(user.id)],
            problem=problem,
            done=done,
        )

    async def _app(self, user: User, grant: Grant) -> dict[str, Any]:
        client = await self._service.clients.get(grant.client)
        patient = await self._smart.directory.patient(user, grant.patient) if grant.patient else None
        return {
            "id": grant.id,
            "name": client.name if client else grant.client,
            "since": grant.created,
            "used": grant.used,
            "patient": patient.title if patient else "",
            "items": items(grant.scopes),
        }

    async def _revoke(self, request: Request, visitor: Visitor, user: User, values: dict[str, list[str]]) -> Response:
        grant = await self._service.grants.get(first(values, "grant"))
        if grant is not None and grant.user == user.id:
            await self._service.grants.revoke(grant.id)
            await recording.changed(self._service, request, user, "revoke", grant.client, grant.scope)
        return await self._page(visitor, user, done="The app has no access any more.")

    async def _password(self, request: Request, visitor: Visitor, user: User, values: dict[str, list[str]]) -> Response:
        key = Key(f"password:{user.id}", 5)
        if pause := await self._service.attempts.pause([key]):
            return error_page("There were too many attempts. Try again later.", 429, retry_after=pause)
        if not await in_thread(passwords.matches, user.password, first(values, "old")):
            await self._service.attempts.failed([key])
            return await self._page(visitor, user, status=401, problem="The present password is not right.")
        try:
            hash_ = await in_thread(passwords.hashed, first(values, "new"), user.name)
        except passwords.WeakPasswordError as error:
            return await self._page(visitor, user, status=422, problem=str(error))
        await self._service.users.change(user.name, password=hash_)
        await recording.changed(self._service, request, user, "password")
        # Whoever knew the old password may be logged in elsewhere.
        await self._service.sessions.end_all_of(user.id)
        cookie, session = await self._service.sessions.log_in(visitor.session, user, visitor.session.amr)
        response = await self._page(Visitor(session, user), user, done="The password is changed.")
        set_cookie(response, self._service.place, cookie)
        return response

    async def _log_out(self, request: Request, visitor: Visitor, user: User, _values: dict[str, list[str]]) -> Response:
        await self._service.sessions.end(visitor.session)
        await recording.logout(self._service, request, user)
        response = see(self._url)
        drop_cookie(response, self._service.place)
        return response
