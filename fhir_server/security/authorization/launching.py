"""Makes launch contexts for an EHR that is a registered client, and the URLs that start apps with them.

https://hl7.org/fhir/smart-app-launch/app-launch.html#launch-app-ehr-launch
"""

import json
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from authlib.oauth2.rfc6749 import InvalidRequestError, UnauthorizedClientError

from fhir_server.security.authorization.bridge import wait
from fhir_server.security.authorization.clients import ANY_TENANT, Client
from fhir_server.security.authorization.code import METHODS
from fhir_server.security.authorization.launches import LIFETIME, Launch
from fhir_server.security.authorization.requests import Reply, Request
from fhir_server.security.authorization.users import folded

if TYPE_CHECKING:
    from fhir_server.security.authorization.server import Server

_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_TENANT: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def launch_uri(client: Client, base: str, value: str) -> str:
    """Return the URL that starts an app with a launch context."""
    separator = "&" if urlsplit(client.launch_url).query else "?"
    return f"{client.launch_url}{separator}iss={quote(base, safe='')}&launch={value}"


def made(server: "Server", request: Request) -> Reply:
    """Make the launch context that a request describes.

    Raises:
        OAuth2Error: the client is no EHR, or the description can not be read.
    """
    ehr = server.authenticate_client(request, METHODS[:-1], "launch")
    if not ehr.launches:
        raise UnauthorizedClientError("The client is not registered as one that may launch apps.")
    data = request.form
    tenant = data.get("tenant", "") if ehr.tenant == ANY_TENANT else ehr.tenant
    if not _TENANT.fullmatch(tenant):
        raise InvalidRequestError("The launch has to name its tenant.")
    request.about = tenant
    app = wait(server.service.clients.get, data["app"]) if "app" in data else None
    if "app" in data and (app is None or not app.serves(tenant)):
        raise InvalidRequestError("The app that is to be launched is not registered for the organisation.")
    launch = Launch(
        tenant,
        patient=_id(data, "patient"),
        encounter=_id(data, "encounter"),
        client=app.id if app else "",
        user=folded(data.get("user", "")),
        context=_context(data),
    )
    value = wait(server.service.launches.new, launch)
    body: dict[str, Any] = {"launch": value, "iss": server.place.base, "expires_in": int(LIFETIME.total_seconds())}
    if app is not None and app.launch_url:
        body["launch_uri"] = launch_uri(app, server.place.base, value)
    return Reply(201, body, {"Cache-Control": "no-store"})


def _id(data: dict[str, str], name: str) -> str:
    found = data.get(name, "")
    if found and not _ID.fullmatch(found):
        raise InvalidRequestError(f"The parameter {name} is the id of a resource, without its type.")
    return found


def _context(data: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {name: data[name] for name in ("intent", "smart_style_url") if name in data}
    if "need_patient_banner" in data:
        found["need_patient_banner"] = data["need_patient_banner"] == "true"
    if "fhirContext" in data:
        try:
            found["fhirContext"] = json.loads(data["fhirContext"])
        except (ValueError, RecursionError):
            found["fhirContext"] = None
        if not isinstance(found["fhirContext"], list):
            raise InvalidRequestError("The parameter fhirContext is a JSON array.")
    return found
