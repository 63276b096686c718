"""What a person has to do next, before an app gets its code."""

from typing import Literal

from fhir_server.security.authorization.clients import Client
from fhir_server.security.authorization.flows import Flow
from fhir_server.security.authorization.grantable import needs_patient
from fhir_server.security.authorization.sessions import Session
from fhir_server.security.authorization.users import User

Step = Literal["login", "refused", "patient", "encounter", "consent", "done"]
ERRORS: dict[Step, str] = {
    "login": "login_required",
    "refused": "access_denied",
    "patient": "interaction_required",
    "encounter": "interaction_required",
    "consent": "consent_required",
}
"""What an app is told that asked for no interaction: https://openid.net/specs/openid-connect-core-1_0.html#AuthError."""


def next_step(flow: Flow, client: Client, session: Session, user: User | None, own_patient: str) -> Step:
    """Return what comes next. `own_patient` is the only patient that the user may choose; empty for members of staff."""
    if user is None or session.auth_time is None or (flow.login_since and session.auth_time < flow.login_since):
        return "login"
    if not may_use(flow, client, user, own_patient):
        return "refused"
    if needs_patient(flow.scopes) and not flow.patient:
        return "patient"
    if "launch/encounter" in flow.scopes and not flow.encounter_chosen:
        return "encounter"
    return "done" if client.trusted and "consent" not in flow.params.get("prompt", "").split() else "consent"


def may_use(flow: Flow, client: Client, user: User, own_patient: str) -> bool:
    """Tell whether the user is one whom the app, and the launch, are for."""
    if not client.serves(user.tenant) or flow.tenant not in ("", user.tenant) or flow.only_user not in ("", user.name):
        return False
    return not (own_patient and flow.patient) or own_patient == flow.patient
