"""What all pages share: the service, the directory, and who is logged in."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from fhir_server.security.authorization.service import Service
from fhir_server.security.authorization.sessions import Session
from fhir_server.security.authorization.users import User
from fhir_server.web.observe import about
from fhir_server.web.smart.browser import session_cookie, set_cookie
from fhir_server.web.smart.directory import Directory


@dataclass(frozen=True, slots=True)
class Visitor:
    """A browser's session, and who is logged in with it."""

    session: Session
    user: User | None = None
    new_cookie: str = ""
    """The value of the cookie, where the browser has not got it yet."""


@dataclass(frozen=True, slots=True)
class Smart:
    """The authorization server, as its pages use it."""

    service: Service
    directory: Directory

    async def visitor(self, request: Request) -> Visitor:
        """Return who is there; a session is begun for those that have none."""
        await self.service.prepare()
        session = await self.service.sessions.get(session_cookie(request, self.service.place))
        if session is None:
            cookie, session = await self.service.sessions.begin()
            return Visitor(session, new_cookie=cookie)
        user = await self.service.users.get(session.user) if session.user else None
        there = user is not None and user.active and await self.service.tenants.is_open(user.tenant)
        if user is None or not there:
            return Visitor(session)
        about(request.scope, user.tenant)
        return Visitor(session, user)

    def keep(self, response: Response, visitor: Visitor) -> Response:
        """Return the response, with the cookie where the browser has not got it yet."""
        if visitor.new_cookie:
            set_cookie(response, self.service.place, visitor.new_cookie)
        return response
