"""Patient: https://hl7.org/fhir/R4/patient.html, docs/patients.md."""

from dataclasses import replace

from fhir_server.exchange import Behaviour, Context, Draft
from fhir_server.resources.contacts import contact_issues
from fhir_server.resources.mrn import with_mrn


class PatientBehaviour(Behaviour):
    """Gives medical record numbers, and judges phone numbers and email addresses."""

    async def before_write(self, ctx: Context, draft: Draft) -> Draft:
        """Return the draft with its number.

        Raises:
            FhirError: 422, an address can not be right; 409, the number is another patient's.
        """
        settings = ctx.settings.of(ctx.tenant)
        issues = contact_issues(draft.resource, settings, previous=draft.previous.resource if draft.previous else None)
        if issues:
            draft = replace(draft, issues=(*draft.issues, *issues))
        return await with_mrn(ctx, draft, settings)
