"""Communication: https://hl7.org/fhir/R4/communication.html."""

from typing import Final

from fhir_server.exchange import Behaviour, Context, Draft
from fhir_server.resources.unique import with_unique

PROVIDER: Final = "urn:prm:provider:"
"""Before the name of a provider: the system of the ids that it gives to messages."""


class CommunicationBehaviour(Behaviour):
    """Keeps one message of a provider from becoming two Communications."""

    async def before_write(self, ctx: Context, draft: Draft) -> Draft:
        """Return the draft with claims for the provider's ids.

        Raises:
            FhirError: 409, another Communication is about the same message.
        """
        return await with_unique(ctx, draft, "Communication", _is_of_provider)


def _is_of_provider(system: str) -> bool:
    return system.startswith(PROVIDER)
