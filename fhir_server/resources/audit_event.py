"""AuditEvent: https://hl7.org/fhir/R4/auditevent.html. Clients write their own; the ids of the audit trail are not theirs."""

from fhir_server.exchange import Behaviour, Context, Draft
from fhir_server.fhir.outcome import method_not_allowed
from fhir_server.interactions.recorded import is_recorded


class AuditEvents(Behaviour):
    """Keeps clients from writing what looks like an event of the audit trail."""

    async def before_write(self, ctx: Context, draft: Draft) -> Draft:
        """Refuse the ids of the trail.

        Raises:
            FhirError: 405.
        """
        del ctx
        if draft.names_its_id and is_recorded(draft.id):
            raise method_not_allowed(draft.method, f"AuditEvent/{draft.id}, which is of the audit trail", "GET, HEAD")
        return draft
