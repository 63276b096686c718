"""SearchParameter: https://hl7.org/fhir/R4/searchparameter.html."""

from fhir_server.exchange import Behaviour, Context, Draft
from fhir_server.fhir.outcome import unprocessable
from fhir_server.search.custom import from_resource
from fhir_server.search.registries import TYPE
from fhir_server.search.registry import BUILTIN


class SearchParameterBehaviour(Behaviour):
    """Refuses an active SearchParameter that could not be used."""

    async def before_write(self, ctx: Context, draft: Draft) -> Draft:
        """Return the draft as it is.

        Raises:
            FhirError: 422, with the reason why it can not be used.
        """
        resource, others = draft.resource, []
        if resource.get("type") == "composite" and resource.get("status") == "active":
            active = ctx.repo.collection(TYPE).find(
                {"t": ctx.tenant, "d": None, "s.status": "active|"}, {"r": 1}, session=ctx.repo.session
            )
            others = [document["r"] async for document in active]
        for parameter in from_resource(resource, others=others):
            taken = (ctx.registry or BUILTIN).get(parameter.resource_type, parameter.code)
            if taken is not None and taken.url != parameter.url:
                raise unprocessable(
                    f"This SearchParameter can not be used: {parameter.resource_type} has a parameter {parameter.code!r} already"
                    f" ({taken.url}); choose another code.",
                    "SearchParameter.code",
                    "duplicate",
                )
        return draft
