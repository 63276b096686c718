"""Logging in: a password, and for those who have set it up a one-time password."""

from dataclasses import dataclass
from typing import Final

import structlog
from starlette.requests import Request
from starlette.responses import Response

from fhir_server.security.authorization import passwords
from fhir_server.security.authorization.attempts import Key, login_keys
from fhir_server.security.authorization.bridge import in_thread
from fhir_server.security.authorization.sessions import Session
from fhir_server.security.authorization.users import TOTP_PURPOSE, User, folded
from fhir_server.web.observe import about
from fhir_server.web.smart import recording
from fhir_server.web.smart.browser import FormError, address, drop_cookie, first, read_form, set_cookie
from fhir_server.web.smart.pages import error_page, page, see
from fhir_server.web.smart.smart import Smart, Visitor

WRONG: Final = "The name and the password do not belong together. Check both and try again."
SUSPENDED: Final = "Your organisation is suspended here at the moment, so nobody of it can log in."
WRONG_CODE: Final = "This code is not right, or was used already. Enter the one that your app shows now."


@dataclass(frozen=True, slots=True)
class Asking:
    """For what somebody is asked to log in. The form goes to `url`/login."""

    url: str
    app: str = ""
    targets: tuple[str, ...] = ()
    """Where the browser may be led once somebody is logged in, beside the pages here."""


def login_page(session: Session, asking: Asking, *, problem: str = "", status: int = 200, name: str = "") -> Response:
    """Return the page on which to log in, or to enter the one-time password."""
    return page(
        "login",
        status=status,
        targets=asking.targets,
        url=asking.url,
        app=asking.app,
        form_token=session.form_token,
        problem=problem,
        name=name,
        second=bool(session.half),
    )


class Login:
    """Logs people in."""

    def __init__(self, smart: Smart) -> None:
        self._service = smart.service
        self._smart = smart

    async def attempt(self, request: Request, visitor: Visitor, asking: Asking) -> Response:
        """Take what was entered on the login page, and lead back to the page that asked for it."""
        session = visitor.session
        try:
            values = await read_form(request, self._service.place, session)
        except FormError as error:
            return error_page(str(error), error.status)
        if "again" in values:
            await self._service.sessions.end(session)
            response = see(asking.url)
            drop_cookie(response, self._service.place)
            return response
        name = folded(first(values, "name"))[:200]
        half = await self._service.users.get(session.half) if session.half else None
        keys = (Key(f"totp:{half.id}", 5),) if half else login_keys(name, address(request, self._service.settings))
        if pause := await self._service.attempts.pause(keys):
            text = f"There were too many attempts. Wait {_duration(pause)}, then try again."
            return error_page(text, 429, retry_after=pause)
        user = await self._second(half, values) if half else await self._first(name, values)
        if user is None:
            await self._service.attempts.failed(keys)
            known = half or await self._service.users.named(name)
            if known is not None:
                about(request.scope, known.tenant)
            await recording.login(self._service, request, known, status=401, detail="totp" if half else "password")
            structlog.get_logger().warning(
                "a login failed", user=half.id if half else "", address=address(request, self._service.settings)
            )
            problem = WRONG_CODE if half else WRONG
            return login_page(session, asking, problem=problem, status=401, name="" if half else first(values, "name"))
        about(request.scope, user.tenant)
        await self._service.attempts.succeeded(keys[:1])
        if not await self._service.tenants.is_open(user.tenant):
            await recording.login(self._service, request, user, status=403, detail="suspended")
            return error_page(SUSPENDED, 403)
        if user.totp and not half:
            await self._service.sessions.set_half(session, user)
            return see(asking.url)
        await recording.login(self._service, request, user, detail="totp" if half else "password")
        structlog.get_logger().info("somebody logged in", user=user.id, tenant=user.tenant, second_factor=bool(half))
        cookie, _ = await self._service.sessions.log_in(session, user, ("pwd", "otp", "mfa") if half else ("pwd",))
        response = see(asking.url)
        set_cookie(response, self._service.place, cookie)
        return response

    async def _first(self, name: str, values: dict[str, list[str]]) -> User | None:
        password = first(values, "password")
        user = await self._service.users.named(name)
        hash_ = user.password if user is not None and user.active else ""
        if not await in_thread(passwords.matches, hash_, password) or user is None:
            return None
        if passwords.is_outdated(hash_):
            await self._service.users.change(user.name, password=await in_thread(passwords.hashed, password))
        return user

    async def _second(self, user: User, values: dict[str, list[str]]) -> User | None:
        secret = (await self._service.sealer.unseal(user.totp, f"{TOTP_PURPOSE}:{user.id}")).decode()
        counter = passwords.totp_counter(secret, first(values, "code"), self._service.now().timestamp())
        if counter is None or not user.active or not await self._service.users.use_totp(user, counter):
            return None
        return user


def _duration(seconds: int) -> str:
    if seconds < 90:  # noqa: PLR2004 -- where people begin to count in minutes
        return f"{seconds} seconds"
    return f"{seconds // 60 + 1} minutes"
