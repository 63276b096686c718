"""Patient: https://hl7.org/fhir/R4/patient.html, docs/patients.md."""

from dataclasses import replace

from fhir_server.exchange import Behaviour, Context, Draft
from fhir_server.fhir.outcome import Issue
from fhir_server.resources.contacts import contact_issues
from fhir_server.resources.duplicates import after_create, before_create
from fhir_server.resources.mrn import with_mrn
from fhir_server.store.versions import Version


class PatientBehaviour(Behaviour):
    """Gives medical record numbers, judges phone numbers and email addresses, and looks for duplicates."""

    async def before_write(self, ctx: Context, draft: Draft) -> Draft:
        """Return the draft with its number.

        Raises:
            FhirError: 422, an address can not be right; 409, the number is another patient's, or the
                patient is probably there already.
        """
        settings = ctx.settings.of(ctx.tenant)
        issues = contact_issues(draft.resource, settings, previous=draft.previous)
        if issues:
            draft = replace(draft, issues=(*draft.issues, *issues))
        if draft.creates and settings.duplicates == "reject":
            await before_create(ctx, draft.resource)
        return await with_mrn(ctx, draft, settings)

    async def after_write(self, ctx: Context, version: Version, previous: Version | None) -> tuple[Issue, ...]:
        """Look for those that a new patient duplicates."""
        is_new = not version.deleted and (previous is None or previous.deleted)
        return await after_create(ctx, version) if is_new else ()
